"""LPIPS as a loss: Zhang et al. 2018, https://arxiv.org/abs/1801.03924; the network is in ``archs.lpips``."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..archs.lpips import Backbone, LPIPSDistance
from ..core.terms import LOSSES, Loss
from .pixel import pair


@LOSSES.register("lpips")
class LPIPS(Loss):
    """The learned distance, place by place, on average."""

    unit_range: ClassVar[bool] = True

    def __init__(self, net: Backbone = "vgg", linear: bool = True, weights: str = "imagenet") -> None:
        """``weights`` is ``imagenet`` or a file with the backbone in torchvision's layout.

        ``linear`` weighs the channels as people judged.

        Raises:
            ValueError: there is no such network.
            WeightsError: weights cannot be had.
        """
        super().__init__()
        self.distance = LPIPSDistance(net, linear)
        self.distance.load(weights)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """A scalar, of (B, 3, H, W) or (B, 1, H, W) in [0, 1]."""
        x, y = (image.expand(-1, 3, -1, -1) for image in pair(prediction, target))
        return self.distance.spatial(x, y).mean()
