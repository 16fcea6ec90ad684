"""Losses on values that no image can have: pixels outside the legitimate range.

``range`` is their distance from it; ``overflow`` grows as its logarithm, as in traiNNer, so that few far values do not
outweigh many near ones. What differs: the range of ``overflow`` can be chosen too.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..core.terms import LOSSES, Loss
from .pixel import l1, pair

Bounds = tuple[float, float]


def distance(image: Tensor, bounds: Bounds) -> Tensor:
    """mean |x - clamp(x)|."""
    return l1(image, image.clamp(*bounds))


def log_distance(image: Tensor, bounds: Bounds) -> Tensor:
    """mean log(1 + |x - clamp(x)|)."""
    x, nearest = pair(image, image.clamp(*bounds))
    return (x - nearest).abs().log1p().mean()


@LOSSES.register("range")
class Range(Loss):
    """Mean distance of the prediction from the legitimate range."""

    unit_range: ClassVar[bool] = True
    full_precision: ClassVar[bool] = True

    def __init__(self, legit_range: tuple[float, float] = (0.0, 1.0)) -> None:
        """``legit_range`` is (lowest, highest); (-1, 1) for images that are normalised to it.

        Raises:
            ValueError: the lowest is above the highest.
        """
        super().__init__()
        self.legit_range = _checked(legit_range)

    def forward(self, prediction: Tensor) -> Tensor:
        """A scalar, 0 for an image within the range."""
        return distance(prediction, self.legit_range)


@LOSSES.register("overflow")
class Overflow(Loss):
    """Mean logarithm of one plus the distance of the prediction from the legitimate range."""

    unit_range: ClassVar[bool] = True

    def __init__(self, legit_range: tuple[float, float] = (0.0, 1.0)) -> None:
        """``legit_range`` is (lowest, highest); (-1, 1) for images that are normalised to it.

        Raises:
            ValueError: the lowest is above the highest.
        """
        super().__init__()
        self.legit_range = _checked(legit_range)

    def forward(self, prediction: Tensor) -> Tensor:
        """A scalar, 0 for an image within the range."""
        return log_distance(prediction, self.legit_range)


def _checked(bounds: Bounds) -> Bounds:
    low, high = bounds
    if low >= high:
        raise ValueError(f"legit_range: expected two numbers that rise, such as [0, 1], found {list(bounds)}")
    return low, high
