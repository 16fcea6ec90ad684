"""The guided filter, which smooths an image where its guide is smooth and keeps the edges that the guide has.

He, Sun, Tang, "Guided Image Filtering", IEEE TPAMI 2013, https://doi.org/10.1109/TPAMI.2012.213. Every channel is
filtered by the same channel of the guide, as in white-box cartoonization (Wang and Yu, CVPR 2020): a guide of several
channels is not inverted as a matrix (eq. 19).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Border = Literal["reflect", "zero"]


def guided_filter(
    guide: Tensor, image: Tensor, radius: int = 1, eps: float = 1e-2, border: Border = "reflect"
) -> Tensor:
    """``image`` (B, C, H, W) as the locally linear function of ``guide``, of the same shape, that is nearest to it.

    The windows have 2 ``radius`` + 1 pixels a side. The larger ``eps``, which is a variance in the images' own range,
    the stronger an edge must be to stay. At the ``border`` the image is mirrored as in traiNNer, or the windows are cut
    off as in the authors' TensorFlow code. Computed in float32 at least; differentiable in both images.

    Raises:
        ValueError: the shapes differ, the windows are not smaller than the image, or an option cannot be.
    """
    _check(guide, image, radius, eps, border)
    dtype = torch.promote_types(image.dtype, torch.float32)
    x, y = guide.to(dtype), image.to(dtype)
    mean_x = box_mean(x, radius, border)
    variance = box_mean(x * x, radius, border) - mean_x * mean_x
    if guide is image:
        mean_y, covariance = mean_x, variance
    else:
        mean_y = box_mean(y, radius, border)
        covariance = box_mean(x * y, radius, border) - mean_x * mean_y
    a = covariance / (variance + eps)  # eq. 5
    b = mean_y - a * mean_x  # eq. 6
    return (box_mean(a, radius, border) * x + box_mean(b, radius, border)).to(image.dtype)  # eq. 8


def box_mean(image: Tensor, radius: int, border: Border = "reflect") -> Tensor:
    """(B, C, H, W) -> the same shape: the mean of the window of 2 ``radius`` + 1 pixels a side around each pixel.

    Beyond the border the image is mirrored, or there is nothing, and the mean is that of the pixels that there are.
    """
    side = 2 * radius + 1
    if border == "reflect":
        padded = F.pad(image, (radius,) * 4, mode="reflect")
        return _sums(_sums(padded, side, -2), side, -1) / side**2
    padded = F.pad(image, (radius,) * 4)
    ones = (F.pad(image.new_ones(length), (radius, radius)) for length in image.shape[-2:])
    rows, columns = (_sums(line, side, 0) for line in ones)
    return _sums(_sums(padded, side, -2), side, -1) / (rows[:, None] * columns)


def _sums(x: Tensor, count: int, dim: int) -> Tensor:
    """The sums of ``count`` neighbours along ``dim``, at every place where there are so many.

    Sums of 2, 4, 8, ... neighbours are doubled, and those added whose numbers make ``count``: for windows of this size
    faster than pooling (see benchmarks/superpixels.py), and without the cancellation of differences of running sums.
    """
    length = x.shape[dim] - count + 1
    total, start, width = None, 0, 1
    while True:
        if count & width:
            part = x.narrow(dim, start, length)
            total = part if total is None else total + part
            start += width
        if 2 * width > count:
            break
        x = x.narrow(dim, 0, x.shape[dim] - width) + x.narrow(dim, width, x.shape[dim] - width)
        width *= 2
    assert total is not None
    return total


def _check(guide: Tensor, image: Tensor, radius: int, eps: float, border: str) -> None:
    if guide.ndim != 4 or guide.shape != image.shape:
        raise ValueError(
            "expected a guide and an image of the same shape (B, C, H, W), "
            f"found {tuple(guide.shape)} and {tuple(image.shape)}"
        )
    if radius < 1 or eps <= 0 or border not in ("reflect", "zero"):
        raise ValueError(
            "expected a radius of 1 or more, eps above 0, and reflect or zero as border, "
            f"found radius {radius}, eps {eps} and border {border!r}"
        )
    if min(image.shape[-2:]) <= 2 * radius + 1:
        height, width = image.shape[-2:]
        raise ValueError(
            f"a guided filter of radius {radius} needs images larger than its window of {2 * radius + 1} x "
            f"{2 * radius + 1} pixels, found {height} x {width}: take larger crops or a smaller radius"
        )
