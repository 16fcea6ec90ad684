"""DISTS as a loss: Ding et al. 2020, https://arxiv.org/abs/2004.07728; the network is in ``archs.dists``."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..archs.dists import DISTSDistance
from ..core.terms import LOSSES, Loss
from .pixel import pair


@LOSSES.register("dists")
class DISTS(Loss):
    """Distance in structure and texture, on average over the batch."""

    unit_range: ClassVar[bool] = True
    full_precision: ClassVar[bool] = True

    def __init__(self, weights: str = "imagenet") -> None:
        """``weights`` is ``imagenet`` or a file with VGG16 in torchvision's layout.

        Raises:
            WeightsError: weights cannot be had.
        """
        super().__init__()
        self.distance = DISTSDistance()
        self.distance.load(weights)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """A scalar, of (B, 3, H, W) or (B, 1, H, W) in [0, 1]."""
        x, y = (image.expand(-1, 3, -1, -1) for image in pair(prediction, target))
        loss: Tensor = self.distance(x, y).mean()
        return loss
