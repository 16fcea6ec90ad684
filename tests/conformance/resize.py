"""Resizing: BasicSR's and SRFlow's (MATLAB's imresize) in full, traiNNer's in the interior.

The vectors name neither scale nor input: both follow from the name of an output (``x3``, ``odd_x4``, ``up_mitchell``)
and its shape.
"""

from __future__ import annotations

import math
import re

import numpy as np

from darkroom.filters.resize import KERNELS, Kernel, imresize

from . import Case, adapter
from .recipes import Part, inputs

# the original cuts the bell off at half of its support, which leaves a step in it
CUT_BELL = Kernel(lambda x: np.where(np.abs(x) <= 0.75, KERNELS["bell"].function(x), 0), 1.5)


def arguments(case, name, image):
    """(part of the image, scale) of an output, or None where the shape says that the original means another."""
    shape = tuple(case.data["outputs"][name]["shape"][:2])
    tokens = name.split("_")
    enlarge = "up" in case.path.stem.split("_") or any(t.startswith("up") for t in tokens)
    factor = next((float(m[1]) for t in tokens if (m := re.fullmatch(r"(?:x|up)(\d+(?:\.\d+)?)", t))), 2.0)
    scale = factor if enlarge else 1 / factor
    h, w = image.shape[:2]
    sides = [(47, 37)] if "odd" in tokens else [(h, w), (h // 2, w // 2), (h // 4, w // 4)]
    fitting = [s for s in sides if tuple(math.ceil(n * scale - 1e-9) for n in s) == shape]
    return (image[: fitting[0][0], : fitting[0][1]], scale) if fitting else None


def interior(ours, kernel, scale):
    """What depends on no pixel beyond the border, clipped as the original clips."""
    reach = math.ceil((kernel.width / 2 / min(scale, 1) + 1) * scale)
    inner = (slice(reach, -reach), slice(reach, -reach))
    return Part(np.clip(ours, 0, 1)[inner], inner)


@adapter("imresize")
def imresize_case(case: Case):
    image = inputs(case)["img"].numpy()
    faulty_border = "traiNNer" in case.data["reference"]
    out = {}
    for name, reference in case.arrays.items():
        found = arguments(case, name, image)
        if found is None or reference.max() > 2:  # 0..255: the original truncates instead of rounding
            continue
        part, scale = found
        tokens = name.split("_")
        kernel = KERNELS[next((t for t in tokens if t in KERNELS), "cubic")]
        if faulty_border and kernel is KERNELS["bell"]:
            kernel = CUT_BELL
        part = part[:, :, 1] if "gray" in tokens else part
        ours = imresize(part, scale, kernel=kernel, antialias="noaa" not in tokens)
        if not faulty_border:
            out[name] = ours
        elif all(float(n * scale).is_integer() for n in part.shape[:2]):  # else it also aligns otherwise
            out[name] = interior(ours, kernel, scale)
    return out
