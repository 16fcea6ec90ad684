"""PSNR, SSIM, MS-SSIM and the mean absolute error as the literature on restoration measures them.

SSIM: Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861, with its window (11x11 Gaussian, sigma 1.5) and
constants, over the places where the window fits, mean over the channels. Computed in float64 where the device has it.
MS-SSIM: Wang et al. 2003, https://doi.org/10.1109/ACSSC.2003.1292216, with its five scales; negative means count as 0.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ..filters.color import luma
from ..filters.similarity import SCALES, gaussian_window, similarity
from . import METRICS

Channel = Literal["rgb", "y"]

_WINDOW = gaussian_window(11, 1.5)


def psnr(prediction: Tensor, target: Tensor) -> Tensor:
    """-10 log10 mean (x - y)^2 of each image (..., C, H, W) in [0, 1], as (...); infinite where they are equal."""
    x, y = _exact(prediction, target)
    return -10 * (x - y).square().mean(dim=(-3, -2, -1)).log10()


def ssim(prediction: Tensor, target: Tensor) -> Tensor:
    """SSIM of each image (..., C, H, W) in [0, 1], as (...). Wang et al. 2004, eq. 13, mean over places and channels.

    Raises:
        ValueError: the window does not fit: sides are below 11.
    """
    x, y = _exact(prediction, target)
    if min(x.shape[-2:]) < 11:
        raise ValueError(f"SSIM needs sides of at least 11 pixels, these are {tuple(x.shape[-2:])}")
    means, deviations = _similarities(x, y)
    return (means * deviations).mean(dim=(-3, -2, -1))


def ms_ssim(prediction: Tensor, target: Tensor) -> Tensor:
    """MS-SSIM of each image (B, C, H, W) or (C, H, W) in [0, 1], as (B,) or (). Wang et al. 2003, eq. 7.

    prod_j mean(cs_j)^w_j, each scale half the size of the one before, with SSIM in place of cs at the last one.

    Raises:
        ValueError: the window does not fit at the last scale: sides are below 176.
    """
    x, y = _exact(prediction, target)
    if min(x.shape[-2:]) < 176:
        raise ValueError(f"MS-SSIM needs sides of at least 176 pixels, these are {tuple(x.shape[-2:])}")
    total = x.new_ones(x.shape[:-3])
    for scale, weight in enumerate(SCALES, start=1):
        means, deviations = _similarities(x, y)
        index = means * deviations if scale == len(SCALES) else deviations
        total = total * index.mean(dim=(-3, -2, -1)).clamp(min=0) ** weight
        x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    return total


def _similarities(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Of the local means, and of the deviations from them, where the window fits. Wang et al. 2004, eq. 6, 9 and 10."""
    return similarity(_blurred(plane) for plane in (x, y, x * x, y * y, x * y))


def _blurred(plane: Tensor) -> Tensor:
    """The Gaussian window where it fits. Shifted sums: in float64 on a CPU 20 times as fast as a convolution."""
    for dim in (-2, -1):
        length = plane.shape[dim] - len(_WINDOW) + 1
        total = plane.narrow(dim, 0, length) * _WINDOW[0]
        for n, weight in enumerate(_WINDOW[1:], start=1):
            total.add_(plane.narrow(dim, n, length), alpha=weight)
        plane = total
    return plane


def mae(prediction: Tensor, target: Tensor) -> Tensor:
    """mean |x - y| of each image (..., C, H, W) in [0, 1], as (...), between 0 and 1: 1/255 is a level of 8 bits."""
    x, y = _exact(prediction, target)
    return (x - y).abs().mean(dim=(-3, -2, -1))


@METRICS.register("psnr")
class PSNR:
    """Peak signal-to-noise ratio in dB."""

    higher: ClassVar[bool] = True

    def __init__(self, crop_border: int = 0, channel: Channel = "rgb") -> None:
        """``crop_border`` pixels are left out on each side; ``y`` measures the luma of BT.601 in studio range."""
        self.crop_border, self.channel = checked(crop_border, channel)

    def __call__(self, prediction: Tensor, target: Tensor) -> float:
        """Of two (C, H, W) images in [0, 1]; infinite if they are equal."""
        return float(psnr(*prepared(prediction, target, self.crop_border, self.channel)))


@METRICS.register("ssim")
class SSIM:
    """Structural similarity, at most 1."""

    higher: ClassVar[bool] = True

    def __init__(self, crop_border: int = 0, channel: Channel = "rgb") -> None:
        """``crop_border`` pixels are left out on each side; ``y`` measures the luma of BT.601 in studio range."""
        self.crop_border, self.channel = checked(crop_border, channel)

    def __call__(self, prediction: Tensor, target: Tensor) -> float:
        """Of two (C, H, W) images in [0, 1] with sides of at least 11 after cropping."""
        return float(ssim(*prepared(prediction, target, self.crop_border, self.channel)))


@METRICS.register("ms-ssim")
class MSSSIM:
    """Structural similarity at five scales, at most 1."""

    higher: ClassVar[bool] = True

    def __init__(self, crop_border: int = 0, channel: Channel = "rgb") -> None:
        """``crop_border`` pixels are left out on each side; ``y`` measures the luma of BT.601 in studio range."""
        self.crop_border, self.channel = checked(crop_border, channel)

    def __call__(self, prediction: Tensor, target: Tensor) -> float:
        """Of two (C, H, W) images in [0, 1] with sides of at least 176 after cropping."""
        return float(ms_ssim(*prepared(prediction, target, self.crop_border, self.channel)))


@METRICS.register("mae")
class MAE:
    """Mean absolute error of images in [0, 1]: 0 for equal images, 1 between black and white, lower is better."""

    higher: ClassVar[bool] = False

    def __init__(self, crop_border: int = 0, channel: Channel = "rgb") -> None:
        """``crop_border`` pixels are left out on each side; ``y`` measures the luma of BT.601 in studio range."""
        self.crop_border, self.channel = checked(crop_border, channel)

    def __call__(self, prediction: Tensor, target: Tensor) -> float:
        """Of two (C, H, W) images in [0, 1]."""
        return float(mae(*prepared(prediction, target, self.crop_border, self.channel)))


def checked(crop_border: int, channel: Channel) -> tuple[int, Channel]:
    """Both.

    Raises:
        ValueError: one of them cannot be.
    """
    if crop_border < 0:
        raise ValueError(f"crop_border: expected at least 0, found {crop_border}")
    if channel not in ("rgb", "y"):
        raise ValueError(f"channel: expected rgb or y, found {channel!r}")
    return crop_border, channel


def prepared(prediction: Tensor, target: Tensor, border: int, channel: Channel) -> tuple[Tensor, Tensor]:
    """What is to be measured of two images (..., C, H, W), in float64 where the device has it.

    Raises:
        ValueError: they differ in shape, nothing is left of them, or they have no luma.
    """
    x, y = _exact(prediction, target)
    if border:
        if min(x.shape[-2:]) <= 2 * border:
            raise ValueError(f"crop_border {border} leaves nothing of an image of {tuple(x.shape[-2:])}")
        x, y = (image[..., border:-border, border:-border] for image in (x, y))
    if channel == "y" and x.shape[-3] != 1:  # a gray image is its own luma
        x, y = luma(x), luma(y)
    return x, y


def _exact(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    if prediction.shape != target.shape:
        raise ValueError(f"images of one shape are compared, not {tuple(prediction.shape)} with {tuple(target.shape)}")
    dtype = torch.float32 if prediction.device.type == "mps" else torch.float64
    return prediction.to(dtype), target.to(dtype)
