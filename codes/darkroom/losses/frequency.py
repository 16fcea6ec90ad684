"""Losses between spectra.

fft: L1 between the Fourier transforms of two images, as traiNNer's ``fft_type`` was meant; with torch >= 1.9 the
original transforms another axis and is the plain L1.
fdpl: Sims 2020, "Frequency Domain-based Perceptual Loss for Super Resolution", https://arxiv.org/abs/2007.12296. What
differs: images are in [0, 1] and the mean is taken over everything, so that without weights it is the plain L2; blocks
beyond the border continue it, as in JPEG.

Both transforms are linear: the difference is transformed, which float32 and even TF32 can bear.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.errors import DataError
from ..core.terms import LOSSES, Loss
from ..filters.color import rgb_to_yuv
from .pixel import pair

_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
"""Quantisation tables of JPEG, ITU-T T.81, annex K.1: the larger, the less that frequency is seen."""
_DCT = [[math.sqrt((2 if u else 1) / 8) * math.cos((2 * n + 1) * u * math.pi / 16) for n in range(8)] for u in range(8)]
"""The orthonormal DCT of 8 values: row u is the wave of frequency u. T.81, annex A.3.3."""


def fft_l1(prediction: Tensor, target: Tensor) -> Tensor:
    """mean |Re D| and |Im D| with D = FFT2(x - y), not normalised, of (B, C, H, W); a scalar."""
    x, y = pair(prediction, target)
    return torch.view_as_real(torch.fft.fft2(x - y)).abs().mean()


def block_dct(planes: Tensor, waves: Tensor) -> Tensor:
    """The DCT of each 8 x 8 block: (B, C, H, W) -> (B, C, H / 8, W / 8, 8, 8), vertical frequency first.

    ``waves`` is (8, 8). Sides that are no multiple of 8 are continued.
    """
    rows, columns = (-side % 8 for side in planes.shape[-2:])
    if rows or columns:
        planes = F.pad(planes, (0, columns, 0, rows), mode="replicate")
    blocks = planes.unflatten(-1, (-1, 8)).unflatten(-3, (-1, 8)).transpose(-3, -2)
    return waves @ blocks @ waves.T


def jpeg_planes(image: Tensor) -> Tensor:
    """Y, Cb, Cr of RGB (B, 3, H, W) in full range, as in JPEG files; gray (B, 1, H, W) as it is."""
    return image if image.shape[1] == 1 else rgb_to_yuv(image, "ycbcr")


def mean_differences(small: Tensor, target: Tensor) -> Tensor:
    """By how much each frequency changes, (3, 8, 8): mean 2 |D(x) - D(y)| / (|D(x)| + |D(y)|) over blocks.

    Of inputs enlarged to the size of their targets, (B, 3, H, W); the mean over a dataset, saved
    with ``numpy.save``, is what ``diff_means`` reads.
    """
    x, y = (block_dct(jpeg_planes(image), image.new_tensor(_DCT)) for image in pair(small, target))
    return (2 * (x - y).abs() / (x.abs() + y.abs() + 1e-8)).mean(dim=(0, 2, 3))


@LOSSES.register("fft")
class FFT(Loss):
    """L1 of the two-dimensional spectra; it grows with the size of the image."""

    full_precision: ClassVar[bool] = True

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """A scalar, of (B, C, H, W)."""
        return fft_l1(prediction, target)


@LOSSES.register("fdpl")
class FDPL(Loss):
    """L2 of the DCT of 8 x 8 blocks in YCbCr, each frequency weighed by how well it is seen, and how often it is lost.

    mean W (D(x) - D(y))^2, with W = M / Q divided by its mean; Q: the tables of JPEG, M: ``diff_means``.
    """

    full_precision: ClassVar[bool] = True
    waves: Tensor
    weights: Tensor

    def __init__(self, diff_means: str | None = None) -> None:
        """``diff_means`` is a file with M, (3, 8, 8), .npy or .pt: see ``mean_differences``; without it, M is 1.

        Raises:
            DataError: the file cannot be read, or holds something else.
        """
        super().__init__()
        weights = 1 / torch.tensor([_LUMINANCE, _CHROMINANCE, _CHROMINANCE])
        if diff_means is not None:
            weights = weights * _read(Path(diff_means).expanduser())
        self.register_buffer("weights", (weights / weights.mean())[:, None, None], persistent=False)
        self.register_buffer("waves", torch.tensor(_DCT), persistent=False)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """A scalar, of (B, 3, H, W), or of gray (B, 1, H, W) with the weights of Y."""
        x, y = (jpeg_planes(image) for image in pair(prediction, target))
        spectrum = block_dct(x - y, self.waves.to(x.dtype))
        return (self.weights[: x.shape[1]] * spectrum.square()).mean()


def _read(path: Path) -> Tensor:
    try:
        if path.suffix == ".npy":
            means = torch.from_numpy(np.load(path))
        else:
            means = torch.as_tensor(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # the readers raise whatever comes: pickle, zip, struct and their own errors
        raise DataError(f"diff_means: {path} cannot be read as a .npy or .pt file: {error}") from error
    if means.shape != (3, 8, 8) or not ((means >= 0) & means.isfinite()).all() or not means.any():
        raise DataError(
            f"diff_means: expected (3, 8, 8) numbers that are not negative, and not all 0, in {path}; "
            f"found {tuple(means.shape)}"
        )
    return means.float()
