"""Losses of averaged images: they bind colour and brightness, and leave detail alone.

Those of traiNNer's options ``color_criterion`` and ``avg_criterion``: the images are averaged over squares as large as
the scale, then compared as a whole or in U and V.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ..core.terms import LOSSES, Loss
from ..filters.color import rgb_to_yuv
from .pixel import Criterion, criterion_of, pair


def averaged(prediction: Tensor, target: Tensor, scale: int) -> tuple[Tensor, Tensor]:
    """The means of squares of ``scale`` pixels of (B, C, H, W), as (B, C, H // scale, W // scale).

    Raises:
        ValueError: the images differ in shape, or are smaller than a square.
    """
    x, y = pair(prediction, target)
    if min(x.shape[-2:]) < scale:
        raise ValueError(f"averages over squares of {scale} pixels need larger images, these are {tuple(x.shape[-2:])}")
    return F.avg_pool2d(x, scale), F.avg_pool2d(y, scale)


@LOSSES.register("avg")
class Average(Loss):
    """A criterion between averaged images."""

    def __init__(self, criterion: Criterion = "l1", scale: int = 4) -> None:
        """``scale`` is the side of the squares that are averaged.

        Raises:
            ValueError: there is no such criterion, or ``scale`` is below 1.
        """
        super().__init__()
        self.criterion, self.scale = criterion_of(criterion), _at_least_1(scale)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """A scalar, of (B, C, H, W)."""
        return self.criterion(*averaged(prediction, target, self.scale))


@LOSSES.register("color")
class Color(Loss):
    """A criterion between the U and V of averaged RGB images."""

    def __init__(self, criterion: Criterion = "l1", scale: int = 4) -> None:
        """``scale`` is the side of the squares that are averaged.

        Raises:
            ValueError: there is no such criterion, or ``scale`` is below 1.
        """
        super().__init__()
        self.criterion, self.scale = criterion_of(criterion), _at_least_1(scale)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """A scalar, of (B, 3, H, W)."""
        x, y = averaged(prediction, target, self.scale)
        return self.criterion(rgb_to_yuv(x)[:, 1:], rgb_to_yuv(y)[:, 1:])


def _at_least_1(scale: int) -> int:
    if scale < 1:
        raise ValueError(f"scale: expected at least 1, found {scale}")
    return scale
