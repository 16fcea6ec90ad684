"""Parts of an image that are gone.

T. DeVries and G. Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017:
https://arxiv.org/abs/1708.04552; Z. Zhong et al., "Random Erasing Data Augmentation", AAAI 2020:
https://arxiv.org/abs/1708.04896. What differs: a rectangle that would not fit is cut to the image, not drawn again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from . import DEGRADATIONS
from .fields import draw_offset, uniform, uniform_on
from .operation import Array, Degradation, Operation, Ragged, Size

Box = tuple[int, int, int, int]
"""Top, left, bottom and right, the last two of them outside."""


def boxes(images: Tensor, corners: Sequence[Box]) -> Tensor:
    """(B, 1, H, W): whether a pixel of the images (B, C, H, W) is in the box of its image."""
    top, left, bottom, right = torch.tensor(corners, device=images.device).T[..., None]
    y, x = (torch.arange(side, device=images.device) for side in images.shape[-2:])
    rows, columns = (y >= top) & (y < bottom), (x >= left) & (x < right)
    return (rows[:, :, None] & columns[:, None])[:, None]


@DEGRADATIONS.register("cutout")
class Cutout(Degradation):
    """A black square."""

    def __init__(self, share: float = 0.5) -> None:
        """Its centre is anywhere in the image, so that part of it may be outside.

        Args:
            share: its side, of the shorter side of the image.

        Raises:
            ValueError: the share is not in 0 to 1.
        """
        if not 0 <= share <= 1:
            raise ValueError(f"share: expected 0 to 1, found {share}")
        self.share = share

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> Operation:
        """Row and column of its centre."""
        del goal
        side = round(self.share * min(size))
        top, left = (int(rng.integers(length)) - side // 2 for length in size)
        return Cut((max(top, 0), max(left, 0), top + side, left + side))


@dataclass(frozen=True)
class Cut(Operation):
    """A black box."""

    box: Box

    def on_host(self, image: Array) -> Array:
        """Without what is in the box."""
        top, left, bottom, right = self.box
        image = image.copy()
        image[top:bottom, left:right] = 0
        return image

    @staticmethod
    def on_device(operations: Sequence[Cut], images: Ragged) -> Ragged:
        """The same to the last bit."""
        inside = boxes(images.images, [operation.box for operation in operations])
        return images._replace(images=images.images.masked_fill(inside, 0))

    def __str__(self) -> str:
        """With the sides, which may reach beyond the image."""
        top, left, bottom, right = self.box
        return f"cutout {bottom - top}x{right - left}"


@DEGRADATIONS.register("erasing")
class Erasing(Degradation):
    """A rectangle of noise."""

    def __init__(self, share: tuple[float, float] = (0.02, 0.4), aspect: tuple[float, float] = (0.3, 1 / 0.3)) -> None:
        """It is anywhere in the image.

        Args:
            share: range of its area, of that of the image.
            aspect: range of its height divided by its width.

        Raises:
            ValueError: a range is none, or the share is not in 0 to 1.
        """
        if not 0 <= share[0] <= share[1] <= 1 or not 0 < aspect[0] <= aspect[1]:
            raise ValueError(
                "expected a range of share in 0 to 1 and a range of aspect above 0, lower ends first, found "
                f"{share} and {aspect}"
            )
        self.share, self.aspect = share, aspect

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> Operation:
        """Share, aspect, top, left, and the noise."""
        del goal
        area, aspect = rng.uniform(*self.share) * size.height * size.width, rng.uniform(*self.aspect)
        height = min(round((area * aspect) ** 0.5), size.height)
        width = min(round((area / aspect) ** 0.5), size.width)
        top, left = int(rng.integers(size.height - height + 1)), int(rng.integers(size.width - width + 1))
        return Erased((top, left, top + height, left + width), draw_offset(rng))


@dataclass(frozen=True)
class Erased(Operation):
    """A box of uniform noise."""

    box: Box
    offset: int
    """Of the noise."""

    def on_host(self, image: Array) -> Array:
        """With noise in the box."""
        top, left, bottom, right = self.box
        noise = uniform(self.offset, image.shape)
        image = image.copy()
        image[top:bottom, left:right] = noise[top:bottom, left:right]
        return image

    @staticmethod
    def on_device(operations: Sequence[Erased], images: Ragged) -> Ragged:
        """The same to the last bit."""
        given = images.images
        noise = uniform_on([o.offset for o in operations], [given.shape[1]] * len(operations), images)
        return images._replace(images=noise.where(boxes(given, [o.box for o in operations]), given))

    def __str__(self) -> str:
        """With the sides."""
        top, left, bottom, right = self.box
        return f"erasing {bottom - top}x{right - left}"
