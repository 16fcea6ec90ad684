"""LPIPS as a metric: Zhang et al. 2018, https://arxiv.org/abs/1801.03924; the network is in ``archs.lpips``."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ..archs.lpips import Backbone, LPIPSDistance
from . import METRICS
from .fidelity import checked, prepared


def as_batch(prediction: Tensor, target: Tensor, crop_border: int) -> tuple[Tensor, Tensor]:
    """Two (C, H, W) images, RGB or gray, without their borders, as networks see them: (1, 3, H', W') in float32.

    Raises:
        ValueError: they differ in shape, or nothing is left.
    """
    x, y = (image.float() for image in prepared(prediction, target, crop_border, "rgb"))
    return x.expand(3, -1, -1)[None], y.expand(3, -1, -1)[None]


@METRICS.register("lpips")
class LPIPS:
    """Learned perceptual distance: 0 for equal images, lower is better."""

    higher: ClassVar[bool] = False

    def __init__(
        self, net: Backbone = "squeeze", linear: bool = True, weights: str = "imagenet", crop_border: int = 0
    ) -> None:
        """``weights`` is ``imagenet`` or a file with the backbone in torchvision's layout.

        ``linear`` weighs the channels as people judged; ``crop_border`` pixels are left out on each side.

        Raises:
            ValueError: there is no such network.
            WeightsError: weights cannot be had; better now than at the first validation.
        """
        self.crop_border, _ = checked(crop_border, "rgb")
        self.distance = LPIPSDistance(net, linear)
        self.distance.load(weights)

    @torch.no_grad()
    def __call__(self, prediction: Tensor, target: Tensor) -> float:
        """Of two (C, H, W) images in [0, 1], RGB or gray."""
        x, y = as_batch(prediction, target, self.crop_border)
        return float(self.distance.to(x.device)(x, y))
