"""Noise whose strength is known for each pixel: Gaussian, Poisson, speckle, salt and pepper.

Gaussian noise as in K. Zhang et al., "Designing a Practical Degradation Model for Deep Blind Image Super-Resolution",
ICCV 2021, and Poisson noise as in X. Wang et al., "Real-ESRGAN", ICCVW 2021. What differs: where BSRGAN correlates the
channels of some images, they have a deviation each; and Poisson counts are quantiles of 2048 steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import torch
from torch import Tensor

from . import DEGRADATIONS
from .fields import draw_offset, normal, normal_on, uniform, uniform_on
from .operation import Array, Degradation, Operation, Ragged, Size

_QUANTILES = 2048
"""Of a Poisson distribution in the table."""
_GRAY = (9798, 19235, 3735)
"""2^15 times the weights of R, G and B in OpenCV's gray of 8 bits."""


@DEGRADATIONS.register("gaussian_noise")
class GaussianNoise(Degradation):
    """Normally distributed numbers are added."""

    def __init__(self, sigma: tuple[float, float] = (1.0, 25.0), color: float = 0.5, multi: float = 0.34) -> None:
        """What is not ``color`` is gray noise: the same in all channels.

        Args:
            sigma: range of the standard deviation, in levels of 255.
            color: probability that each channel has numbers of its own.
            multi: probability that the channels of such an image have a deviation each, too.

        Raises:
            ValueError: a range is none, or a probability is not in 0 to 1.
        """
        _check_range("sigma", sigma)
        _check_share("color", color)
        _check_share("multi", multi)
        self.sigma, self.color, self.multi = sigma, color, multi

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> Operation:
        """Three deviations, the two decisions, the window: six numbers."""
        del size, goal
        low, high = self.sigma
        sigmas = (low + (high - low) * rng.random(3)).tolist()
        colored, several = rng.random(2) < (self.color, self.multi)
        if not (colored and several):
            sigmas = sigmas[:1] * 3
        return AddGaussian((sigmas[0], sigmas[1], sigmas[2]), bool(colored), draw_offset(rng))


@dataclass(frozen=True)
class AddGaussian(Operation):
    """Adds normally distributed numbers."""

    sigmas: tuple[float, float, float]
    """Of the channels, in levels of 255; a gray image has the first."""
    color: bool
    """Whether each channel has its own."""
    offset: int
    """Of their window."""

    def on_host(self, image: Array) -> Array:
        """Clipped to [0, 1]."""
        height, width, channels = image.shape
        noise = _as_channels(normal(self.offset, (height, width, channels if self.color else 1)), channels)
        scale, sigmas = self.sigmas[0] / 255, self.sigmas[:channels]
        if len(set(sigmas)) > 1:
            # long rows, as numpy is slow along three channels
            rows = noise.reshape(height, -1) * np.tile(np.array(sigmas, np.float32), width)
            scale, noise = 1 / 255, rows.reshape(image.shape)
        noisy = cv2.scaleAdd(noise, scale, image).reshape(image.shape)
        return np.clip(noisy, 0, 1, out=noisy)

    @staticmethod
    def on_device(operations: Sequence[AddGaussian], images: Ragged) -> Ragged:
        """The same to 1e-6."""
        count = images.images.shape[1]
        channels = [count if o.color else 1 for o in operations]
        scales = images.images.new_tensor([o.sigmas[:count] for o in operations])[:, :, None, None] / 255
        noise = normal_on([o.offset for o in operations], channels, images)
        return images._replace(images=noise.mul_(scales).add_(images.images).clamp_(0, 1))

    def __str__(self) -> str:
        """With the deviations."""
        sigmas = "/".join(f"{sigma:.1f}" for sigma in dict.fromkeys(self.sigmas))
        return f"gaussian {sigmas}{'' if self.color else ' gray'}"


@DEGRADATIONS.register("poisson_noise")
class PoissonNoise(Degradation):
    """What counting photons does: noise whose variance is proportional to the brightness."""

    def __init__(self, scale: tuple[float, float] = (0.5, 1.0), color: float = 0.5) -> None:
        """An image of 129 to 256 different levels counts 256 photons where it is white, one of 65 to 128 counts 128.

        Args:
            scale: range of the factor of the noise.
            color: probability that each channel is counted; otherwise, the noise of the gray image is added to all.

        Raises:
            ValueError: a range is none, or the probability is not in 0 to 1.
        """
        _check_range("scale", scale)
        _check_share("color", color)
        self.scale, self.color = scale, color

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> Operation:
        """The factor, the decision, the window: three numbers."""
        del size, goal
        scale, colored = rng.uniform(*self.scale), rng.random() < self.color
        return AddPoisson(scale, bool(colored), draw_offset(rng))


@dataclass(frozen=True)
class AddPoisson(Operation):
    """Adds what counted photons are more than expected, or less; the image is rounded to 8 bits to know them."""

    scale: float
    color: bool
    """Whether each channel is counted."""
    offset: int
    """Of the window of quantiles."""

    def on_host(self, image: Array) -> Array:
        """Clipped to [0, 1]."""
        levels = cv2.convertScaleAbs(image, alpha=255).reshape(image.shape)
        if image.shape[2] == 3 and not self.color:
            levels = cv2.cvtColor(levels, cv2.COLOR_RGB2GRAY)[:, :, None]
        counts = cv2.calcHist([levels.reshape(len(levels), -1)], [0], None, [256], [0, 256])
        table = _poisson((int(np.count_nonzero(counts)) - 1).bit_length())
        places = (levels + uniform(self.offset, levels.shape)) * _QUANTILES
        # no place is beyond the table, and clip takes half the time of finding that out
        counted = _as_channels(table.take(places.astype(np.int64), mode="clip"), image.shape[2])
        noisy = cv2.scaleAdd(counted, self.scale, image).reshape(image.shape)
        return np.clip(noisy, 0, 1, out=noisy)

    @staticmethod
    def on_device(operations: Sequence[AddPoisson], images: Ragged) -> Ragged:
        """The same counts."""
        count = images.images.shape[1]
        colored = torch.tensor([o.color for o in operations], device=images.images.device)[:, None, None, None]
        levels = images.images.mul(255).round_().clamp_(0, 255)
        if count == 3:
            levels = torch.where(colored, levels, _gray(levels))
        channels = [count if o.color else 1 for o in operations]
        places = uniform_on([o.offset for o in operations], channels, images).add_(levels).mul_(_QUANTILES).floor_()
        places += _exponents(levels, images.sizes)[:, None, None, None] * (256 * _QUANTILES)
        noise = _poissons_on(levels.device).index_select(0, places.int().flatten()).view(places.shape)
        scales = noise.new_tensor([o.scale for o in operations])[:, None, None, None]
        return images._replace(images=noise.mul_(scales).add_(images.images).clamp_(0, 1))

    def __str__(self) -> str:
        """With the factor."""
        return f"poisson {self.scale:.2f}{'' if self.color else ' gray'}"


@DEGRADATIONS.register("speckle_noise")
class SpeckleNoise(Degradation):
    """Each value is multiplied by a number of its own, normally distributed around 1."""

    def __init__(self, sigma: tuple[float, float] = (0.04, 0.12)) -> None:
        """Take the options.

        Args:
            sigma: range of the standard deviation, relative to the value.

        Raises:
            ValueError: the range is none.
        """
        _check_range("sigma", sigma)
        self.sigma = sigma

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> Operation:
        """The deviation and the window: two numbers."""
        del size, goal
        return AddSpeckle(rng.uniform(*self.sigma), draw_offset(rng))


@dataclass(frozen=True)
class AddSpeckle(Operation):
    """Multiplies by normally distributed numbers."""

    sigma: float
    offset: int
    """Of their window."""

    def on_host(self, image: Array) -> Array:
        """Clipped to [0, 1]."""
        noisy = normal(self.offset, image.shape) * np.float32(self.sigma)
        noisy += 1
        noisy *= image
        return np.clip(noisy, 0, 1, out=noisy)

    @staticmethod
    def on_device(operations: Sequence[AddSpeckle], images: Ragged) -> Ragged:
        """The same to 1e-6."""
        channels = [images.images.shape[1]] * len(operations)
        sigmas = images.images.new_tensor([o.sigma for o in operations])[:, None, None, None]
        factors = normal_on([o.offset for o in operations], channels, images).mul_(sigmas).add_(1)
        return images._replace(images=factors.mul_(images.images).clamp_(0, 1))

    def __str__(self) -> str:
        """With the deviation."""
        return f"speckle {self.sigma:.3f}"


@DEGRADATIONS.register("salt_and_pepper")
class SaltAndPepper(Degradation):
    """Some pixels are white, and as many black."""

    def __init__(self, share: tuple[float, float] = (0.1, 0.1)) -> None:
        """Take the options.

        Args:
            share: range of the share of the pixels, black and white ones together.

        Raises:
            ValueError: the range is none, or not in 0 to 1.
        """
        _check_range("share", share)
        _check_share("share", share[1])
        self.share = share

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> Operation:
        """The share and the window: two numbers."""
        del size, goal
        return DeadPixels(rng.uniform(*self.share), draw_offset(rng))


@dataclass(frozen=True)
class DeadPixels(Operation):
    """Makes some pixels black and some white."""

    share: float
    """Of all pixels; half of them are black."""
    offset: int
    """Of the window that tells which."""

    def on_host(self, image: Array) -> Array:
        """All channels of such a pixel."""
        places = uniform(self.offset, (*image.shape[:2], 1))[:, :, 0]
        half = np.float32(self.share / 2)
        noisy = image.copy()
        noisy[places < half] = 0
        noisy[places >= 1 - half] = 1
        return noisy

    @staticmethod
    def on_device(operations: Sequence[DeadPixels], images: Ragged) -> Ragged:
        """The same pixels."""
        places = uniform_on([o.offset for o in operations], [1] * len(operations), images)
        half = places.new_tensor([o.share / 2 for o in operations])[:, None, None, None]
        return images._replace(images=images.images.masked_fill(places < half, 0).masked_fill_(places >= 1 - half, 1))

    def __str__(self) -> str:
        """With the share."""
        return f"salt and pepper {self.share:.3f}"


@cache
def _poisson(exponent: int) -> Array:
    """(256 * quantiles,): for each level what is counted, less what is expected, if white is 2^exponent; white is 1."""
    white = 2**exponent
    counts = np.arange(2 * white + 20)
    expected = np.arange(256)[:, None] * (white / 255)
    logarithms = np.log(np.maximum(counts, 1)).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        chances = np.exp(np.where(counts > 0, counts * np.log(expected), 0) - expected - logarithms)
    quantiles = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    found = np.stack([np.searchsorted(below, quantiles) for below in chances.cumsum(axis=1)])
    return np.float32((found - expected) / white).ravel()


@cache
def _poissons_on(device: torch.device) -> Tensor:
    return torch.tensor(np.concatenate([_poisson(exponent) for exponent in range(9)]), device=device)


def _gray(levels: Tensor) -> Tensor:
    """(B, 1, H, W) as OpenCV rounds it: float32 holds all of these whole numbers."""
    r, g, b = levels.split(1, dim=1)
    return r.mul(_GRAY[0]).add_(g, alpha=_GRAY[1]).add_(b, alpha=_GRAY[2]).add_(2**14).mul_(2**-15).floor_()


def _exponents(levels: Tensor, sizes: Sequence[Size]) -> Tensor:
    """(B,): log2 of how many different levels each image of (B, C, H, W) has, rounded up."""
    rows, columns = (torch.arange(side, device=levels.device) for side in levels.shape[-2:])
    ends = torch.tensor(sizes, device=levels.device)[:, :, None]
    inside = (rows < ends[:, 0])[:, None, :, None] & (columns < ends[:, 1])[:, None, None, :]
    places = levels.where(inside, 256) + 257 * torch.arange(len(levels), device=levels.device)[:, None, None, None]
    found = levels.new_zeros(len(levels) * 257).index_fill_(0, places.long().flatten(), 1)
    different = found.view(-1, 257)[:, :256].sum(1, keepdim=True)
    return (different > 2 ** torch.arange(8, device=levels.device)).sum(1)


def _as_channels(noise: Array, channels: int) -> Array:
    """(h, w, channels) of (h, w, 1) or (h, w, channels)."""
    return noise if noise.shape[2] == channels else cv2.merge([noise] * channels)


def _check_range(name: str, found: tuple[float, float]) -> None:
    if not 0 <= found[0] <= found[1]:
        raise ValueError(f"{name}: expected a range, from 0 or more upwards, found {found}")


def _check_share(name: str, found: float) -> None:
    if not 0 <= found <= 1:
        raise ValueError(f"{name}: expected 0 to 1, found {found}")
