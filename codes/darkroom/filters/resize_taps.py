"""Resizing as sums of few pixels along each axis: antialiased kernels, and what OpenCV calls interpolation.

The antialiased kernels are those of ``resize``. OpenCV's look at the same few pixels however much an image shrinks,
except for ``area``, which is the mean over what an output pixel covers. ``nearest_aligned`` is the aligned variant of
nearest sampling of K. Zhang et al., "Designing a Practical Degradation Model for Deep Blind Image Super-Resolution",
ICCV 2021, section 3.2: sampling every s-th pixel shifts an image by (s - 1) / 2 pixels, so the Gaussian that blurs it
before is shifted by as much, linearly interpolated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .resize import KERNELS, Kernel, cubic

Array = np.ndarray[Any, np.dtype[Any]]


class Line(NamedTuple):
    """How rows or columns are resized."""

    kernel: str
    """What ``kernel_name`` gives, or ``ENLARGING_AREA``."""
    length: int
    out: int
    sigma: float = 0.0
    """Of the Gaussian of ``nearest_aligned``, in pixels of the source; 0 is none."""

    def centres(self) -> Array:
        """(out, 1): where output pixels are in the source, whose pixels are at the integers. Edges of both coincide."""
        return ((np.arange(self.out) + 0.5) / (self.out / self.length) - 0.5)[:, None]

    def corners(self) -> Array:
        """(out, 1): the same of their upper left corners, from the corner of the source."""
        return (np.arange(self.out) * (1 / (self.out / self.length)))[:, None]


class Taps(NamedTuple):
    """Of what each output pixel is the sum."""

    pixels: Array
    """(out, T) int64: pixels of the source."""
    weights: Array
    """(out, T) float32: what each of them counts."""


_Weighted = tuple[Array, Array]
"""As ``Taps``, before borders are thought of."""


def _sampled(line: Line, kernel: Kernel, antialias: bool) -> _Weighted:
    """The pixels under a kernel, which is widened by what the line shrinks if it is to antialias."""
    shrink = min(line.out / line.length, 1.0) if antialias else 1.0
    width, centres = kernel.width / shrink, line.centres()
    pixels = np.floor(centres - width / 2) + np.arange(math.ceil(width) + 2)
    weights = kernel.function(shrink * (centres - pixels))
    weights /= weights.sum(axis=1, keepdims=True)
    seen = weights.any(axis=0)
    return pixels[:, seen], weights[:, seen]


def _nearest(line: Line) -> _Weighted:
    """The pixel under the upper left corner of the output pixel."""
    pixels = np.floor(line.corners())
    return pixels, np.ones_like(pixels)


def _area(line: Line) -> _Weighted:
    """The mean over what the output pixel covers; OpenCV leaves out a pixel of which it covers 1/1000 or less."""
    step, first = 1 / (line.out / line.length), line.corners()
    last = np.minimum(first + step, line.length)
    pixels = np.floor(first) + np.arange(math.ceil(step) + 1)
    covered = np.minimum(pixels + 1, last) - np.maximum(pixels, first)
    return pixels, np.where(covered > 1e-3, covered, 0) / (last - first)


def _enlarging_area(line: Line) -> _Weighted:
    """OpenCV's area where a side grows: two pixels where the output pixel lies on the border of both, else one."""
    first = np.floor(line.corners())
    over = np.arange(1, line.out + 1)[:, None] - (first + 1) * (line.out / line.length)
    # rounded to float32 before its whole part is taken away: so 0.999999999, which takes a pixel too early, is 0 there
    share = np.maximum(over, 0).astype(np.float32) % 1
    return first + np.arange(2), np.concatenate([1 - share, share], axis=1)


def _aligned(line: Line) -> _Weighted:
    """Between the two pixels nearest to the centre, linearly, of the line blurred by a Gaussian."""
    centres = line.centres()
    first = np.floor(centres)
    radius = math.ceil(4 * line.sigma)
    offsets = np.arange(-radius - 1, radius + 2)
    blur = np.exp(-((offsets / max(line.sigma, 1e-3)) ** 2) / 2)  # 0 leaves only the pixel itself
    blur[[0, -1]] = 0
    share = centres - first
    weights = (1 - share) * blur[1:] + share * blur[:-1]
    return first + offsets[1:], weights / weights.sum(axis=1, keepdims=True)


ENLARGING_AREA = "area of a side that grows"
"""What ``area`` is for both axes where one of them grows."""
_BILINEAR = partial(_sampled, kernel=KERNELS["linear"], antialias=False)
_CLAMPED: Mapping[str, Callable[[Line], _Weighted]] = {
    "nearest": _nearest,
    "area": _area,
    ENLARGING_AREA: _enlarging_area,
    "cv2_linear": _BILINEAR,
    "cv2_linear_exact": _BILINEAR,
    "cv2_cubic": partial(_sampled, kernel=cubic(0, 0.75), antialias=False),
    "cv2_lanczos4": partial(_sampled, kernel=KERNELS["lanczos4"], antialias=False),
}
"""Kernels to which the outermost pixels go on beyond the border."""
_REFLECTED: Mapping[str, Callable[[Line], _Weighted]] = {
    **{name: partial(_sampled, kernel=kernel, antialias=True) for name, kernel in KERNELS.items()},
    "nearest_aligned": _aligned,
}
"""Kernels to which the image is reflected there."""
_ALIASES: Mapping[str, str] = {
    "cv2_nearest": "nearest",
    "cv2_area": "area",
    "bilinear": "linear",
    "bicubic": "cubic",
    "matlab_bicubic": "cubic",
}
NAMES = tuple(sorted({*_REFLECTED, *_CLAMPED, *_ALIASES} - {ENLARGING_AREA}))
"""All kernels, with their aliases."""


def kernel_name(name: str) -> str:
    """The name that a kernel has here.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in NAMES:
        raise ValueError(f"kernel: expected one of {', '.join(NAMES)}, found {name!r}")
    return _ALIASES.get(name, name)


@lru_cache(maxsize=128)
def taps(line: Line) -> Taps:
    """Of the output pixels of a line."""
    if line.kernel in _CLAMPED:
        pixels, weights = _CLAMPED[line.kernel](line)
        pixels = np.clip(pixels.astype(np.int64), 0, line.length - 1)
    else:
        pixels, weights = _REFLECTED[line.kernel](line)
        pixels = reflected(pixels.astype(np.int64), line.length)
    return Taps(pixels, weights.astype(np.float32))


def reflected(pixels: Array, length: int) -> Array:
    """Pixels of a line for any integers, so that beyond its borders comes its mirror image: b a | a b."""
    pixels = pixels % (2 * length)
    return np.minimum(pixels, 2 * length - 1 - pixels)


def joined_taps(lines: Sequence[Line], length: int) -> tuple[Array, Array, Array]:
    """What ``sum_taps`` takes for N lines that lie one after another, ``length`` pixels from one to the next.

    Of each line come as many pixels as of that which has the most; its last ones are sums of nothing.
    """
    found = [taps(line) for line in lines]
    counts = np.zeros((len(lines), max(line.out for line in lines)), np.int64)
    for count, own in zip(counts, found, strict=True):
        count[: own.pixels.shape[0]] = own.pixels.shape[1]
    pixels = np.concatenate([own.pixels.ravel() + n * length for n, own in enumerate(found)])
    weights = np.concatenate([own.weights.ravel() for own in found])
    return pixels, weights, np.cumsum(counts) - counts.ravel()


def sum_taps(table: Tensor, pixels: Tensor, weights: Tensor, starts: Tensor) -> Tensor:
    """(P, W), weighted sums of rows of ``table`` (R, W), float32: ``pixels`` says which rows, from ``starts`` (P,) on.

    It is a kind of embedding, for which there are fast kernels, and none of them rounds to TF32 or under autocast.
    """
    if table.device.type == "mps":  # not all releases of torch have that kernel there
        return sum_taps_by_adding(table, pixels, weights, starts)
    return torch.nn.functional.embedding_bag(pixels, table, starts, per_sample_weights=weights, mode="sum")


def sum_taps_by_adding(table: Tensor, pixels: Tensor, weights: Tensor, starts: Tensor) -> Tensor:
    """The same, where there is no such kernel."""
    counts = torch.diff(starts, append=starts.new_tensor([len(pixels)]))
    to = torch.repeat_interleave(torch.arange(len(starts), device=starts.device), counts)
    return table.new_zeros(len(starts), table.shape[1]).index_add_(0, to, table[pixels] * weights[:, None])
