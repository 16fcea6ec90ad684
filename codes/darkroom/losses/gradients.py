"""Losses on the differences between neighbouring pixels: total variation of one image, gradients of two.

Total variation: Rudin, Osher, Fatemi 1992, https://doi.org/10.1016/0167-2789(92)90242-F; as in traiNNer, each direction
for itself, by absolute values or by squares. Directions and borders are traiNNer's as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

from torch import Tensor
from torch.nn import functional as F

from ..core.terms import LOSSES, Loss
from .pixel import Criterion, criterion_of, l1, l2, pair

Directions = Literal[2, 4]
Norm = Literal[1, 2]


def differences(image: Tensor, directions: Directions = 2) -> tuple[Tensor, ...]:
    """To the right and downwards; of 4 directions, also along the rising and along the falling diagonal.

    Each has the shape of the image, (..., H, W). Beyond the edges right and down are 0. Both diagonals take what is to
    the right of the image for black, the falling one also what is below.
    """
    right = F.pad(image[..., 1:] - image[..., :-1], (0, 1))
    down = F.pad(image[..., 1:, :] - image[..., :-1, :], (0, 0, 0, 1))
    if directions == 2:
        return right, down
    wide = F.pad(image, (0, 1))
    rising = F.pad(wide[..., :-1, 1:] - image[..., 1:, :], (0, 0, 0, 1))
    falling = F.pad(wide[..., 1:, 1:], (0, 0, 0, 1)) - image
    return right, down, rising, falling


def total_variation(image: Tensor, directions: Directions = 2, norm: Norm = 1) -> Tensor:
    """sum_d mean |d|^norm over the ``differences``."""
    power = l1 if norm == 1 else l2
    image, flat = pair(image, image.new_zeros(()).expand_as(image))
    first, *others = (power(d, flat) for d in differences(image, directions))
    return sum(others, first)


def gradient_difference(
    prediction: Tensor, target: Tensor, criterion: Callable[[Tensor, Tensor], Tensor], directions: Directions = 2
) -> Tensor:
    """mean_d X(d(x), d(y)) over the ``differences``."""
    x, y = (differences(image, directions) for image in pair(prediction, target))
    first, *others = map(criterion, x, y)
    return sum(others, first) / directions


@LOSSES.register("tv")
class TotalVariation(Loss):
    """How much the neighbouring pixels of the prediction differ."""

    def __init__(self, directions: Directions = 2, norm: Norm = 1) -> None:
        """``norm`` 1 tolerates edges, 2 smooths them.

        Raises:
            ValueError: one of them cannot be.
        """
        super().__init__()
        if norm not in (1, 2):
            raise ValueError(f"norm: expected 1 or 2, found {norm!r}")
        self.directions, self.norm = _checked(directions), norm

    def forward(self, prediction: Tensor) -> Tensor:
        """A scalar, of (B, C, H, W)."""
        return total_variation(prediction, self.directions, self.norm)


@LOSSES.register("grad")
class GradientDifference(Loss):
    """A criterion between the differences of neighbouring pixels, averaged over the directions."""

    full_precision: ClassVar[bool] = True

    def __init__(self, directions: Directions = 4, criterion: Criterion = "l1") -> None:
        """``criterion`` is one of the pixel losses.

        Raises:
            ValueError: one of them cannot be.
        """
        super().__init__()
        self.directions, self.criterion = _checked(directions), criterion_of(criterion)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """A scalar, of (B, C, H, W)."""
        return gradient_difference(prediction, target, self.criterion, self.directions)


def _checked(directions: Directions) -> Directions:
    if directions not in (2, 4):
        raise ValueError(f"directions: expected 2 or 4, found {directions!r}")
    return directions
