"""DISTS as a metric: Ding et al. 2020, https://arxiv.org/abs/2004.07728; the network is in ``archs.dists``."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ..archs.dists import DISTSDistance
from . import METRICS
from .fidelity import checked
from .lpips import as_batch


@METRICS.register("dists")
class DISTS:
    """Distance in structure and texture: 0 for equal images, at most about 1, lower is better."""

    higher: ClassVar[bool] = False

    def __init__(self, weights: str = "imagenet", crop_border: int = 0) -> None:
        """``weights`` is ``imagenet`` or a file with VGG16 in torchvision's layout.

        ``crop_border`` pixels are left out on each side.

        Raises:
            ValueError: ``crop_border`` is negative.
            WeightsError: weights cannot be had; better now than at the first validation.
        """
        self.crop_border, _ = checked(crop_border, "rgb")
        self.distance = DISTSDistance()
        self.distance.load(weights)

    @torch.no_grad()
    def __call__(self, prediction: Tensor, target: Tensor) -> float:
        """Of two (C, H, W) images in [0, 1], RGB or gray."""
        x, y = as_batch(prediction, target, self.crop_border)
        return float(self.distance.to(x.device)(x, y))
