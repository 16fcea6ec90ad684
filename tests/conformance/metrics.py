"""PSNR, SSIM and the Y channel: family ``metric``."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import numpy as np
import torch

from darkroom.filters.color import luma, rgb_to_ycbcr
from darkroom.metrics.fidelity import PSNR, SSIM

from . import Case, adapter
from .recipes import Absent, inputs


@adapter("metric")
def metric(case: Case) -> dict[str, Any]:
    """Not compared: originals that round Y first (``metricsdict``, ``ppon``) or add 1e-8 to the error (``psnr_pt``)."""
    if case.path.stem.startswith("util_"):
        return _ycbcr(case)
    prediction, target = _images(case)
    found = {}
    for name in case.data["values"]:
        match = re.fullmatch(r"(?:trainner|basicsr)_(psnr|ssim|ssim_pt)_crop(\d+)(_y)?", name)
        if match:
            kind = PSNR if match[1] == "psnr" else SSIM
            found[name] = kind(int(match[2]), "y" if match[3] else "rgb")(prediction, target)
    return found


def _images(case: Case) -> tuple[torch.Tensor, torch.Tensor]:
    given = {name: image.numpy() for name, image in inputs(case).items()}
    if "hr" not in given:
        return _rgb(given["a"]), _rgb(given["b"])
    import cv2

    height, width = (side - side % 4 for side in given["hr"].shape[:2])
    sr = cv2.resize(given["lr"], None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    if hashlib.sha256(sr.tobytes()).hexdigest() != case.data["sr_sha256"]:
        raise Absent("the OpenCV that enlarges to the same pixels as the vector's")
    return _rgb(sr), _rgb(given["hr"][:height, :width])


def _rgb(bgr: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(bgr[..., ::-1])).movedim(-1, 0) / 255


def _ycbcr(case: Case) -> dict[str, Any]:
    """``trainner_*_float``: to [0, 1]; ``basicsr_*_float``: to 0..255."""
    image = inputs(case)["a"].flip(-1).movedim(-1, 0)
    whole = rgb_to_ycbcr(image)
    y = luma(image / 255)
    found = {
        "trainner_y_uint8": whole[0],
        "trainner_ycbcr_uint8": whole.movedim(0, -1),
        "trainner_y_float": y[0],
        "basicsr_y_float": 255 * y.movedim(0, -1),
    }
    return {name: value for name, value in found.items() if name in case.data["outputs"]}
