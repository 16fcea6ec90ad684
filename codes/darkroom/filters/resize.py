"""Resizing as MATLAB's ``imresize`` does it: antialiased when shrinking, symmetric border, nothing clipped.

R. Keys, "Cubic Convolution Interpolation for Digital Image Processing", IEEE TASSP 29(6), 1981 (the cubic kernel, with
a = -0.5 = Catmull-Rom); D. Mitchell and A. Netravali, "Reconstruction Filters in Computer Graphics", SIGGRAPH 1988.

A separable kernel is a matrix, so an image is resized by two products, in blocks of rows that touch a narrow band of
the matrix. ``imresize`` is for float arrays, ``resize`` for tensors, ``resize_uint8`` for integer images: its sums are
exact in any order, hence a window of the result is the very window of the whole result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, np.dtype[Any]]

_BLOCK = 64
_FIXED_POINT = {np.dtype(np.uint8): 20, np.dtype(np.uint16): 17}


class Kernel(NamedTuple):
    """An even function of the distance in pixels that is zero outside of ``[-width / 2, width / 2]``."""

    function: Callable[[Array], Array]
    width: float


def cubic(b: float, c: float) -> Kernel:
    """Mitchell and Netravali's family, eq. 8: (0, 1/2) is Keys' cubic, (1/3, 1/3) their recommendation."""

    def function(x: Array) -> Array:
        x = np.abs(x)
        near = (12 - 9 * b - 6 * c) * x**3 + (-18 + 12 * b + 6 * c) * x**2 + (6 - 2 * b)
        far = (-b - 6 * c) * x**3 + (6 * b + 30 * c) * x**2 + (-12 * b - 48 * c) * x + (8 * b + 24 * c)
        return np.where(x <= 1, near, np.where(x <= 2, far, 0)) / 6

    return Kernel(function, 4)


def _hermite(x: Array) -> Array:
    x = np.abs(x)
    return np.where(x <= 1, (2 * x - 3) * x**2 + 1, 0)


def _bell(x: Array) -> Array:
    """The quadratic B-spline."""
    x = np.abs(x)
    return np.where(x <= 0.5, 0.75 - x**2, np.where(x <= 1.5, 0.5 * (x - 1.5) ** 2, 0))


def _within(radius: float, function: Callable[[Array], Array]) -> Kernel:
    """``function``, cut off at ``radius``."""
    return Kernel(lambda x: np.where(np.abs(x) <= radius, function(x), 0), 2 * radius)


def _sinc(lobes: int) -> Kernel:
    return _within(lobes, np.sinc)


def _lanczos(lobes: int) -> Kernel:
    return _within(lobes, lambda x: np.sinc(x) * np.sinc(x / lobes))


def _blackman(lobes: int) -> Kernel:
    def function(x: Array) -> Array:
        angle = np.pi * x / lobes
        return np.sinc(x) * (0.42 + 0.5 * np.cos(angle) + 0.08 * np.cos(2 * angle))

    return _within(lobes, function)


KERNELS: Mapping[str, Kernel] = {
    "box": _within(0.5, np.ones_like),
    "linear": _within(1, lambda x: 1 - np.abs(x)),
    "cubic": cubic(0, 0.5),
    "catrom": cubic(0, 0.5),
    "mitchell": cubic(1 / 3, 1 / 3),
    "hermite": Kernel(_hermite, 2),
    "bell": Kernel(_bell, 3),
    "hanning": _within(1, lambda x: 0.5 + 0.5 * np.cos(np.pi * x)),
    "hamming": _within(1, lambda x: 0.54 + 0.46 * np.cos(np.pi * x)),
    "gaussian": _within(2, lambda x: np.exp(-2 * x**2)),
    **{f"sinc{n}": _sinc(n) for n in (2, 3, 4, 5)},
    **{f"lanczos{n}": _lanczos(n) for n in (2, 3, 4, 5)},
    **{f"blackman{n}": _blackman(n) for n in (2, 3, 4, 5)},
}
"""The kernels by the names that option files use; ``bilinear`` and ``bicubic`` are understood too."""

_ALIASES = {"bilinear": "linear", "bicubic": "cubic", "matlab_bicubic": "cubic"}


def find_kernel(kernel: str | Kernel) -> Kernel:
    """The kernel of that name.

    Raises:
        ValueError: there is none.
    """
    if isinstance(kernel, Kernel):
        return kernel
    name = _ALIASES.get(kernel, kernel)
    if name not in KERNELS:
        raise ValueError(f"kernel: expected one of {', '.join(sorted({*KERNELS, *_ALIASES}))}, found {kernel!r}")
    return KERNELS[name]


class Axis(NamedTuple):
    """How one side is resized: all that the weights depend on."""

    length: int
    out: int
    scale: float
    kernel: Kernel
    antialias: bool


def axes(
    shape: tuple[int, int],
    scale: float | None,
    size: tuple[int, int] | None,
    kernel: str | Kernel = "cubic",
    antialias: bool = True,
) -> tuple[Axis, Axis]:
    """Rows and columns of resizing an image of ``shape`` (H, W) either by ``scale`` or to ``size`` (H', W').

    Raises:
        ValueError: both or neither are given, or one is not positive, or there is no such kernel.
    """
    if (scale is None) == (size is None):
        raise ValueError(f"expected either a scale or a size, found scale {scale} and size {size}")
    if min(shape) < 1 or (scale or 1) <= 0 or min(size or (1,)) < 1:
        raise ValueError(f"expected positive sizes, found image {shape}, scale {scale}, size {size}")
    found = find_kernel(kernel)
    if size is not None:
        h, w = (Axis(n, m, m / n, found, antialias) for n, m in zip(shape, size, strict=True))
    else:
        assert scale is not None
        # the tolerance keeps 3 * fl(1/0.3) and the like from becoming one pixel more than was meant
        h, w = (Axis(n, math.ceil(n * scale - 1e-9 * n), scale, found, antialias) for n in shape)
    return h, w


@lru_cache(maxsize=512)
def _taps(axis: Axis, bits: int | None) -> tuple[Array, Array]:
    """For each output pixel the indices of the pixels that it sees, (out, taps), and their weights, which sum to 1.

    With ``bits`` the weights are multiples of ``2**-bits``.
    """
    shrink = min(axis.scale, 1.0) if axis.antialias else 1.0
    width = axis.kernel.width / shrink
    # MATLAB's convention: the outer edges of the first pixels coincide, pixel centres are at the integers
    centre = (np.arange(axis.out) + 0.5) / axis.scale - 0.5
    index = np.floor(centre - width / 2)[:, None] + np.arange(math.ceil(width) + 2)
    weight = axis.kernel.function(shrink * (centre[:, None] - index))
    weight /= weight.sum(axis=1, keepdims=True)
    if bits is not None:
        weight = np.round(weight * 2.0**bits) / 2.0**bits
        largest = weight.argmax(axis=1)[:, None]
        rest = 1 - weight.sum(axis=1, keepdims=True)
        np.put_along_axis(weight, largest, np.take_along_axis(weight, largest, axis=1) + rest, axis=1)
    used = (weight != 0).any(axis=0)
    index, weight = index[:, used].astype(np.int64) % (2 * axis.length), weight[:, used]
    return np.where(index < axis.length, index, 2 * axis.length - 1 - index), weight


def _band(axis: Axis, start: int, stop: int, bits: int | None = None) -> tuple[int, int, Array]:
    """The pixels ``first:last`` that outputs ``start:stop`` see, and the matrix (stop - start, last - first)."""
    index, weight = (t[start:stop] for t in _taps(axis, bits))
    first, last = int(index.min()), int(index.max()) + 1
    matrix = np.zeros((stop - start, last - first))
    np.add.at(matrix, (np.arange(stop - start)[:, None], index - first), weight)
    return first, last, matrix


def _blocks(start: int, stop: int) -> list[tuple[int, int]]:
    return [(a, min(a + _BLOCK, stop)) for a in range(start, stop, _BLOCK)]


def _along_rows(image: Array, axis: Axis, start: int, stop: int, origin: int, bits: int | None) -> Array:
    """Rows ``start:stop`` of the result from (H, W, C), whose first row is row ``origin`` of the whole image."""
    # products of torch, because numpy's start threads in every worker process whatever torch is told
    out = np.empty((stop - start, *image.shape[1:]), image.dtype)
    for a, b in _blocks(start, stop):
        first, last, matrix = _band(axis, a, b, bits)
        seen = image[first - origin : last - origin].reshape(last - first, -1)
        product = torch.from_numpy(out[a - start : b - start].reshape(b - a, -1))
        torch.mm(torch.from_numpy(matrix.astype(image.dtype)), torch.from_numpy(seen), out=product)
    return out


def _separable(
    image: Array, rows: Axis, columns: Axis, window: tuple[int, int, int, int], dtype: Any, bits: int | None
) -> Array:
    """The ``window`` (top, left, height, width) of the result for (H, W, C), from what it sees of the image."""
    top, left, height, width = window
    r, c = (_taps(a, bits)[0][s : s + n] for a, s, n in ((rows, top, height), (columns, left, width)))
    seen = image[r.min() : r.max() + 1, c.min() : c.max() + 1].astype(dtype)
    tall = _along_rows(seen, rows, top, top + height, int(r.min()), bits)
    wide = np.ascontiguousarray(tall.transpose(1, 0, 2))
    return _along_rows(wide, columns, left, left + width, int(c.min()), bits).transpose(1, 0, 2)


def imresize(
    image: Array,
    scale: float | None = None,
    size: tuple[int, int] | None = None,
    kernel: str | Kernel = "cubic",
    antialias: bool = True,
) -> Array:
    """Resize (H, W, C) or (H, W), float32 or float64, by ``scale`` to ``ceil(side * scale)``, or to ``size`` (H', W').

    Raises:
        ValueError: the image is not of floats, or see ``axes``.
    """
    if image.dtype not in (np.float32, np.float64):
        raise ValueError(f"expected float32 or float64 pixels, found {image.dtype}: resize_uint8 takes integers")
    rows, columns = axes(image.shape[:2], scale, size, kernel, antialias)
    pixels = image if image.ndim == 3 else image[:, :, None]
    out = np.ascontiguousarray(_separable(pixels, rows, columns, (0, 0, rows.out, columns.out), image.dtype, None))
    return out if image.ndim == 3 else out[:, :, 0]


def resize_uint8(
    image: Array,
    scale: float | None = None,
    size: tuple[int, int] | None = None,
    kernel: str | Kernel = "cubic",
    antialias: bool = True,
    window: tuple[int, int, int, int] | None = None,
) -> Array:
    """Resize (H, W, C) or (H, W), uint8 or uint16, and round halves up; values out of range are clipped.

    ``window`` (top, left, height, width) asks for a part of the result, which costs that part only and equals the
    part of the whole bit for bit: weights are multiples of 2**-20 (2**-17 for 16 bits), so that no sum is ever rounded
    in float64. Cubic weights of the scales 1/2, 1/4 and 1/8 are such multiples; others change by half of one at most.

    Raises:
        ValueError: the image is not of uint8 or uint16, or see ``axes``.
    """
    if image.dtype not in _FIXED_POINT:
        raise ValueError(f"expected uint8 or uint16 pixels, found {image.dtype}")
    rows, columns = axes(image.shape[:2], scale, size, kernel, antialias)
    pixels = image if image.ndim == 3 else image[:, :, None]
    window = window or (0, 0, rows.out, columns.out)
    exact = _separable(pixels, rows, columns, window, np.float64, _FIXED_POINT[image.dtype])
    out = np.clip(np.floor(exact + 0.5), 0, np.iinfo(image.dtype).max).astype(image.dtype)
    out = np.ascontiguousarray(out)
    return out if image.ndim == 3 else out[:, :, 0]


def resize(
    images: Tensor,
    scale: float | None = None,
    size: tuple[int, int] | None = None,
    kernel: str | Kernel = "cubic",
    antialias: bool = True,
) -> Tensor:
    """Resize (..., H, W), any float dtype, differentiably and on its device; half precision is computed in float32.

    Raises:
        ValueError: the images are not of floats, or see ``axes``.
    """
    if not images.is_floating_point():
        raise ValueError(f"expected floats, found {images.dtype}")
    rows, columns = axes((images.shape[-2], images.shape[-1]), scale, size, kernel, antialias)
    exact = images if images.dtype == torch.float64 else images.float()
    with torch.autocast(images.device.type, enabled=False):
        # TF32 products would be off by a tenth of a grey level, hence sums of taps on CUDA
        step = _gathered if images.is_cuda else _multiplied
        return step(step(exact, rows, -2), columns, -1).to(images.dtype)


def _multiplied(images: Tensor, axis: Axis, dim: int) -> Tensor:
    bands = _tensor_bands(axis, images.dtype, images.device)
    seen = [(images.narrow(dim, first, matrix.shape[1]), matrix) for first, matrix in bands]
    if dim == -2:
        return torch.cat([matrix @ part for part, matrix in seen], dim)
    return torch.cat([part @ matrix.t() for part, matrix in seen], dim)


def _gathered(images: Tensor, axis: Axis, dim: int) -> Tensor:
    index, weight = _tensor_taps(axis, images.dtype, images.device)
    if dim == -2:
        return (images[..., index, :] * weight[:, :, None]).sum(dim=-2)
    return (images[..., index] * weight).sum(dim=-1)


@lru_cache(maxsize=128)
def _tensor_bands(axis: Axis, dtype: torch.dtype, device: torch.device) -> list[tuple[int, Tensor]]:
    bands = [_band(axis, a, b) for a, b in _blocks(0, axis.out)]
    with torch.inference_mode(False):  # what a validation leaves here is for training, too
        return [(first, torch.from_numpy(matrix).to(device, dtype)) for first, _, matrix in bands]


@lru_cache(maxsize=128)
def _tensor_taps(axis: Axis, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    index, weight = _taps(axis, None)
    with torch.inference_mode(False):
        return torch.from_numpy(index).to(device), torch.from_numpy(weight).to(device, dtype)
