"""Few levels with the look of many.

R. Floyd and L. Steinberg, "An adaptive algorithm for spatial greyscale", Proceedings of the Society for Information
Display 17(2), 1976; B. Bayer, "An optimum method for two-level rendition of continuous-tone pictures", IEEE
International Conference on Communications, 1973; L. Roberts, "Picture coding using pseudo-random noise", IRE
Transactions on Information Theory 8(2), 1962. Black and white is made from the luma of ITU-R BT.601.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from ...filters.gray import LUMA
from . import DEGRADATIONS
from .fields import draw_offset, uniform, uniform_on
from .fixed import Fixed
from .operation import Array, Degradation, Operation, Ragged, Size

Plane = TypeVar("Plane", Array, Tensor)
Side = Literal[1, 2, 4, 8]

_CELL = 8
"""Side of the largest pattern, which all others fill."""


@DEGRADATIONS.register("dither", "fs_dither")
@dataclass(frozen=True)
class ErrorDiffusion(Fixed):
    """Floyd-Steinberg dithering: what rounding a pixel took away is given to those that come after it.

    Raises:
        ValueError: there are fewer than two levels.
    """

    levels: int = 2
    """Of each channel."""
    gray: bool = False
    """Whether colours go first."""

    def __post_init__(self) -> None:
        _check_levels(self.levels)

    def on_host(self, image: Array) -> Array:
        """In so many levels."""
        return _as_before(floyd_steinberg(_gray(image) if self.gray else image, self.levels), image)

    def __str__(self) -> str:
        """With the count of levels."""
        return f"dither{' bw' * self.gray} {self.levels}"


@DEGRADATIONS.register("dither_fs_bw")
def error_diffusion_bw(levels: int = 2) -> ErrorDiffusion:
    """Floyd-Steinberg dithering of the gray image.

    Args:
        levels: of gray.

    Raises:
        ValueError: there are fewer than two levels.
    """
    return ErrorDiffusion(levels, gray=True)


@DEGRADATIONS.register("dither_bayer")
@dataclass(frozen=True)
class OrderedDither(Fixed):
    """Bayer's dithering: thresholds that repeat.

    Raises:
        ValueError: there are fewer than two levels, or no such pattern.
    """

    levels: int = 2
    """Of each channel."""
    side: Side = 8
    """Of the pattern."""
    gray: bool = False
    """Whether colours go first."""

    def __post_init__(self) -> None:
        _check_levels(self.levels)
        if self.side not in (1, 2, 4, 8):
            raise ValueError(f"side: expected 1, 2, 4 or 8, found {self.side}")

    def on_host(self, image: Array) -> Array:
        """A value is rounded up if what it is above a level is at least the threshold."""
        height, width = image.shape[:2]
        pattern = np.tile(_pattern(self.side), (-(-height // _CELL), -(-width // _CELL)))[:height, :width, None]
        steps = np.float32(self.levels - 1)
        plane = _gray(image) if self.gray else image
        return _as_before(np.floor(plane * steps + (1 - pattern)) / steps, image)

    @staticmethod
    def on_device(operations: Sequence[OrderedDither], images: Ragged) -> Ragged:
        """The same to the last bit."""
        given = images.images
        patterns = given.new_tensor(np.stack([_pattern(operation.side) for operation in operations]))[:, None]
        height, width = given.shape[-2:]
        patterns = patterns.repeat(1, 1, -(-height // _CELL), -(-width // _CELL))[..., :height, :width]
        steps = given.new_tensor([operation.levels - 1 for operation in operations]).view(-1, 1, 1, 1)
        gray = torch.tensor([operation.gray for operation in operations], device=given.device).view(-1, 1, 1, 1)
        plane = torch.where(gray, _luma(given), given)
        return images._replace(images=(plane * steps + (1 - patterns)).floor() / steps)

    def __str__(self) -> str:
        """With the side of the pattern and the count of levels."""
        return f"bayer{' bw' * self.gray} {self.side} {self.levels}"


@DEGRADATIONS.register("dither_bayer_bw")
def ordered_dither_bw(levels: int = 2, side: Side = 8) -> OrderedDither:
    """Bayer's dithering of the gray image.

    Args:
        levels: of gray.
        side: of the pattern.

    Raises:
        ValueError: there are fewer than two levels, or no such pattern.
    """
    return OrderedDither(levels, side, gray=True)


@DEGRADATIONS.register("dither_bin_bw")
def binary() -> OrderedDither:
    """Black where the gray image is darker than half, and white elsewhere."""
    return OrderedDither(side=1, gray=True)


@DEGRADATIONS.register("dither_avg_bw")
@dataclass(frozen=True)
class AverageDither(Fixed):
    """Black where the gray image is darker than its mean, and white elsewhere."""

    def on_host(self, image: Array) -> Array:
        """Black and white."""
        gray = _gray(image)
        return _as_before(np.float32(gray >= np.float32(gray.mean(dtype=np.float64))), image)

    def __str__(self) -> str:
        """Its name."""
        return "average bw"


@DEGRADATIONS.register("dither_rnd_bw")
class RandomDither(Degradation):
    """Black where the gray image is darker than noise, and white elsewhere."""

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> Operation:
        """The noise."""
        del size, goal
        return NoiseDithered(draw_offset(rng))


@dataclass(frozen=True)
class NoiseDithered(Operation):
    """Black and white, with uniform thresholds."""

    offset: int
    """Of the noise."""

    def on_host(self, image: Array) -> Array:
        """The thresholds are the same for all channels."""
        noise = uniform(self.offset, (*image.shape[:2], 1))
        return _as_before(np.float32(_gray(image) > noise), image)

    @staticmethod
    def on_device(operations: Sequence[NoiseDithered], images: Ragged) -> Ragged:
        """The same to the last bit."""
        noise = uniform_on([operation.offset for operation in operations], [1] * len(operations), images)
        return images._replace(images=(_luma(images.images) > noise).float())

    def __str__(self) -> str:
        """Its name."""
        return "random bw"


def floyd_steinberg(image: Array, levels: int) -> Array:
    """The image (H, W, C) in ``levels`` of each channel; each rounding is undone in the four pixels that come next.

    Their shares are 7/16 to the right and 3/16, 5/16, 1/16 below. A pixel is final once x + 2 y is less than that of
    its place, so all pixels of one x + 2 y are rounded together; the sums are those of the usual order, bit by bit.
    """
    height, width, channels = image.shape
    top = np.float32(levels - 1)
    y, x = np.ogrid[:height, :width]
    values = np.zeros((width + 2 * height + 1, height + 1, channels), np.float32)
    values[x + 2 * y, y] = image * top
    below = np.array([3, 5, 1], np.float32)[:, None, None] / 16
    for now in range(width + 2 * height - 2):
        first, end = max((now - width) // 2 + 1, 0), min(now // 2 + 1, height)
        value = values[now, first:end]
        rounded = np.minimum(np.maximum(np.rint(value), 0), top)
        error = value - rounded
        values[now + 1 : now + 4, first + 1 : end + 1] += error * below
        values[now + 1, first:end] += error * np.float32(7 / 16)
        value[...] = rounded
    return values[x + 2 * y, y] / top


def _pattern(side: int) -> Array:
    """(8, 8): Bayer's thresholds (i + 1/2) / n, i < n, of a pattern of n places, which is repeated to that size."""
    order = np.zeros((1, 1))
    while len(order) < side:
        order = np.block([[4 * order, 4 * order + 2], [4 * order + 3, 4 * order + 1]])
    return np.tile(np.float32((order + 0.5) / order.size), (_CELL // side, _CELL // side))


def _gray(image: Array) -> Array:
    """(H, W, 1) of (H, W, C)."""
    return image if image.shape[2] == 1 else _weighted(*np.split(image, 3, axis=2))


def _luma(images: Tensor) -> Tensor:
    """(B, 1, H, W) of (B, C, H, W)."""
    return images if images.shape[1] == 1 else _weighted(*images.split(1, dim=1))


def _weighted(red: Plane, green: Plane, blue: Plane) -> Plane:
    """Their luma, with the same roundings for arrays and tensors."""
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def _as_before(plane: Array, image: Array) -> Array:
    """With as many channels as the image has."""
    return np.broadcast_to(plane, image.shape).copy() if plane.shape != image.shape else plane


def _check_levels(levels: int) -> None:
    if levels < 2:
        raise ValueError(f"levels: expected 2 or more, found {levels}")
