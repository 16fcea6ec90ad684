"""High frequency error norm: Ravishankar, Bresler 2011, https://doi.org/10.1109/TMI.2010.2090538.

Both images pass a Laplacian of Gaussian, 15 x 15, and are compared. What differs from the paper, as in traiNNer: sigma
2.5 instead of 1.5, a filter with a sum of -1 instead of 0, a criterion of choice.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.terms import LOSSES, Loss
from .pixel import Criterion, criterion_of, pair

SUMMED = ("l1", "l2", "mse", "elastic", "relativel1")
"""Criteria that traiNNer asks for their sum; the others have norms of their own."""


def laplacian_of_gaussian(size: int, sigma: float) -> Tensor:
    """exp(-r^2 / 2 s^2) (r^2 - 2 s^2), scaled to a sum of -1: (size, size), in float64."""
    square = (torch.arange(size, dtype=torch.float64) - (size - 1) / 2).square()
    radius = square[:, None] + square
    kernel = torch.exp(-radius / (2 * sigma**2)) * (radius - 2 * sigma**2)
    return kernel / -kernel.sum()


def filtered(image: Tensor, kernel: Tensor) -> Tensor:
    """Each channel of (B, C, H, W) under the kernel, black beyond the border; the same shape."""
    channels = image.shape[1]
    weight = kernel.to(image.dtype).expand(channels, 1, -1, -1)
    return F.conv2d(image, weight, padding=kernel.shape[-1] // 2, groups=channels)


@LOSSES.register("hfen")
class HFEN(Loss):
    """A criterion between what a Laplacian of Gaussian leaves of two images: X(LoG * x, LoG * y).

    Criteria in ``SUMMED`` are summed, not averaged, so that the loss grows with batch and image: its weight is small.
    """

    full_precision: ClassVar[bool] = True
    kernel: Tensor

    def __init__(self, criterion: Criterion = "l1", kernel_size: int = 15, sigma: float = 2.5) -> None:
        """``criterion`` is one of the pixel losses; the filter has an odd size, and ``sigma`` in pixels.

        Raises:
            ValueError: one of them cannot be.
        """
        super().__init__()
        if kernel_size < 3 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size: expected an odd number of at least 3, found {kernel_size}")
        if sigma <= 0:
            raise ValueError(f"sigma: expected a positive number, found {sigma}")
        self.criterion, self.summed = criterion_of(criterion), criterion in SUMMED
        self.register_buffer("kernel", laplacian_of_gaussian(kernel_size, sigma).float(), persistent=False)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """A scalar, of (B, C, H, W)."""
        x, y = (filtered(image, self.kernel) for image in pair(prediction, target))
        value = self.criterion(x, y)
        return value * x.numel() if self.summed else value
