"""Losses between the pixels of two images, or between the elements of two feature maps.

The menu is that of traiNNer's option files (``pixel_criterion``). What differs: half precision is widened before
anything is squared or divided, and the cosine of a colour too dark to have a hue has no exploding gradient.

The formulas are pure functions of tensors; ``CRITERIA`` names them for losses that are built on one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.terms import LOSSES, Loss

Criterion = Literal[
    "l1", "l2", "mse", "cb", "charbonnier", "elastic", "relativel1", "l1cosinesim", "clipl1", "fro"
]  # fmt: skip
"""What ``CRITERIA`` holds."""

_HALF = (torch.float16, torch.bfloat16)


def pair(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both, in float32 if they were in half precision.

    Raises:
        ValueError: they differ in shape; nothing is ever broadcast.
    """
    if prediction.shape != target.shape:
        raise ValueError(
            f"prediction and target must have one shape; they are {tuple(prediction.shape)} and {tuple(target.shape)}"
        )
    return (
        prediction.float() if prediction.dtype in _HALF else prediction,
        target.float() if target.dtype in _HALF else target,
    )


def l1(prediction: Tensor, target: Tensor) -> Tensor:
    """mean |x - y|."""
    return F.l1_loss(*pair(prediction, target))


def l2(prediction: Tensor, target: Tensor) -> Tensor:
    """mean (x - y)^2."""
    return F.mse_loss(*pair(prediction, target))


def charbonnier(prediction: Tensor, target: Tensor, eps: float = 1e-6) -> Tensor:
    """mean sqrt((x - y)^2 + eps^2)."""
    x, y = pair(prediction, target)
    return ((x - y).square() + eps**2).sqrt().mean()


def elastic(prediction: Tensor, target: Tensor, a: float = 0.2) -> Tensor:
    """a mean (x - y)^2 + (1 - a) mean |x - y|."""
    return a * l2(prediction, target) + (1 - a) * l1(prediction, target)


def relative_l1(prediction: Tensor, target: Tensor, eps: float = 0.01) -> Tensor:
    """mean |x - y| / |y + eps|; of signed values, such as gradients, the denominator is held at 1e-6 or more."""
    x, y = pair(prediction, target)
    return ((x - y) / (y + eps).abs().clamp(min=1e-6)).abs().mean()


def l1_cosine(prediction: Tensor, target: Tensor, cosine_weight: float = 5.0) -> Tensor:
    """mean |x - y| + w mean (1 - cos(x, y)), the cosine over the channels.

    Vectors shorter than 1e-3, a quarter of a level of 8 bits, count as of that length: else a black pixel, whose
    direction means nothing, would have an unbounded gradient.
    """
    x, y = pair(prediction, target)
    return F.l1_loss(x, y) + cosine_weight * (1 - F.cosine_similarity(x, y, dim=1, eps=1e-3)).mean()


def clipped_l1(prediction: Tensor, target: Tensor, clip_min: float = 0.0, clip_max: float = 10.0) -> Tensor:
    """mean clamp(|x - y|, clip_min, clip_max)."""
    x, y = pair(prediction, target)
    return (x - y).abs().clamp(clip_min, clip_max).mean()


def frobenius(prediction: Tensor, target: Tensor) -> Tensor:
    """||x - y||_F / C, the norm over everything, the batch included."""
    x, y = pair(prediction, target)
    return torch.linalg.vector_norm(x - y) / x.shape[1]


CRITERIA: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": l1,
    "l2": l2,
    "mse": l2,
    "cb": charbonnier,
    "charbonnier": charbonnier,
    "elastic": elastic,
    "relativel1": relative_l1,
    "l1cosinesim": l1_cosine,
    "clipl1": clipped_l1,
    "fro": frobenius,
}


def criterion_of(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """The function of that name.

    Raises:
        ValueError: there is none; the message lists them.
    """
    if name not in CRITERIA:
        raise ValueError(f"criterion: expected one of {', '.join(CRITERIA)}, found {name!r}")
    return CRITERIA[name]


def multiscale(
    prediction: Tensor, target: Tensor, criterion: Callable[[Tensor, Tensor], Tensor], weights: tuple[float, ...]
) -> Tensor:
    """sum_i w_i X(pool^i(x), pool^i(y)), where pool halves the sides of (B, C, H, W) by averaging.

    Raises:
        ValueError: the images are too small to be halved that often.
    """
    x, y = pair(prediction, target)
    least = 2 ** (len(weights) - 1)
    if min(x.shape[-2:]) < least:
        raise ValueError(f"{len(weights)} scales need sides of at least {least}, these are {tuple(x.shape[-2:])}")
    total = weights[0] * criterion(x, y)
    for weight in weights[1:]:
        x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
        total = total + weight * criterion(x, y)
    return total


@LOSSES.register("l1")
class L1(Loss):
    """Mean absolute error of two tensors of any one shape."""

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """A scalar; the value of one image does not depend on the size of the batch."""
        return l1(prediction, target)


@LOSSES.register("l2", "mse")
class L2(Loss):
    """Mean squared error of two tensors of any one shape."""

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """A scalar; the value of one image does not depend on the size of the batch."""
        return l2(prediction, target)


@LOSSES.register("cb", "charbonnier")
class Charbonnier(Loss):
    """Smooth L1 of Lai et al. 2017 (LapSRN), https://arxiv.org/abs/1704.03915, eq. 2."""

    def __init__(self, eps: float = 1e-6) -> None:
        """``eps`` is the difference below which it is a parabola.

        Raises:
            ValueError: it is not positive, so that equal pixels would have no gradient but NaN.
        """
        super().__init__()
        if eps <= 0:
            raise ValueError(f"eps: expected a positive number, found {eps}")
        self.eps = eps

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """A scalar, at least ``eps``."""
        return charbonnier(prediction, target, self.eps)


@LOSSES.register("elastic")
class Elastic(Loss):
    """A share ``a`` of L2 and the rest of L1."""

    def __init__(self, a: float = 0.2) -> None:
        super().__init__()
        self.a = a

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """A scalar."""
        return elastic(prediction, target, self.a)


@LOSSES.register("relativel1")
class RelativeL1(Loss):
    """L1 relative to the target, so that dark regions count as much as bright ones."""

    def __init__(self, eps: float = 0.01) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """A scalar, for images in [0, 1]."""
        return relative_l1(prediction, target, self.eps)


@LOSSES.register("l1cosinesim")
class L1Cosine(Loss):
    """L1, and the angle between the colours."""

    def __init__(self, cosine_weight: float = 5.0) -> None:
        super().__init__()
        self.cosine_weight = cosine_weight

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """A scalar, of (B, C, H, W)."""
        return l1_cosine(prediction, target, self.cosine_weight)


@LOSSES.register("clipl1")
class ClipL1(Loss):
    """L1 that ignores by how much a difference exceeds ``clip_max``; for images in [0, 1] choose it below 1."""

    def __init__(self, clip_min: float = 0.0, clip_max: float = 10.0) -> None:
        """Both are differences.

        Raises:
            ValueError: ``clip_min`` is above ``clip_max``.
        """
        super().__init__()
        if clip_min > clip_max:
            raise ValueError(f"clip_min: expected at most clip_max ({clip_max}), found {clip_min}")
        self.clip_min, self.clip_max = clip_min, clip_max

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """A scalar."""
        return clipped_l1(prediction, target, self.clip_min, self.clip_max)


@LOSSES.register("fro")
class Frobenius(Loss):
    """Frobenius norm of the difference over the number of channels; it grows with the batch and with the image."""

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """A scalar, of (B, C, H, W)."""
        return frobenius(prediction, target)


@LOSSES.register("multiscale")
class Multiscale(Loss):
    """A criterion at full size and at halved sizes, each with its weight."""

    def __init__(
        self, criterion: Criterion = "l1", weights: tuple[float, ...] = (1.0, 0.5, 0.25, 0.125, 0.125)
    ) -> None:
        """One weight per scale, full size first.

        Raises:
            ValueError: there is no such criterion, or no weight.
        """
        super().__init__()
        if not weights:
            raise ValueError("weights: expected at least one, found none")
        self.criterion = criterion_of(criterion)
        self.weights = tuple(weights)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """A scalar, of (B, C, H, W) with sides of at least 2^(scales - 1)."""
        return multiscale(prediction, target, self.criterion, self.weights)
