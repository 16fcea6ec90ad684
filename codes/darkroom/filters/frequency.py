"""Frequency separation: what is coarse in an image, and what is fine.

Fritsche et al. 2019 (DSGAN/ESRGAN-FS), https://arxiv.org/abs/1911.07850: content losses judge the coarse part, the
discriminator sees the fine one. What differs: at the border the means are those of the pixels that there are.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Lowpass = Literal["average", "gaussian"]
SIDE = 9
"""Side of the window, in pixels; the Gaussian's deviation is a sixth of it."""


def lowpass(image: Tensor, kind: Lowpass = "average") -> Tensor:
    """(B, C, H, W) -> the same shape, each pixel the mean of those around it, equally or by a Gaussian.

    Raises:
        ValueError: there is no such kind.
    """
    if kind == "average":
        return F.avg_pool2d(image, SIDE, stride=1, padding=SIDE // 2, count_include_pad=False)
    if kind != "gaussian":
        raise ValueError(f"expected average or gaussian, found {kind!r}")
    at = torch.arange(SIDE, device=image.device, dtype=torch.float32) - SIDE // 2
    weights = torch.exp(-0.5 * (at / (SIDE / 6)).square()).to(image.dtype)
    b, c, h, w = image.shape
    planes = image.reshape(b * c, 1, h, w)
    summed, inside = (_blurred(x, weights) for x in (planes, torch.ones_like(planes[:1])))
    return (summed / inside).reshape(b, c, h, w)


def _blurred(planes: Tensor, weights: Tensor) -> Tensor:
    """(N, 1, H, W), zero beyond the border, under the separable kernel."""
    rows = F.conv2d(planes, weights.reshape(1, 1, -1, 1), padding=(SIDE // 2, 0))
    return F.conv2d(rows, weights.reshape(1, 1, 1, -1), padding=(0, SIDE // 2))


def highpass(image: Tensor, kind: Lowpass = "average") -> Tensor:
    """What ``lowpass`` takes away of an image in [0, 1], as an image in [0, 1]: nothing is 0.5."""
    return ((image - lowpass(image, kind) + 1) / 2).clamp(0, 1)
