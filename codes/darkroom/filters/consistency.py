"""Consistency enforcing: the image nearest to a network's output that reduces to the very input.

CEM, Bahat and Michaeli, "Explorable Super Resolution", 2020, https://arxiv.org/abs/1911.10923, eq. 4. With H the
antialiased reduction and H^T (H H^T)^-1 its pseudo-inverse, x' = x + H^T (H H^T)^-1 (y - H x) changes of x what the
input y knows, and leaves the null space of H, which is what a network may invent, alone.

What differs: the reduction is separable and, border included, a matrix for each side. So (H H^T)^-1 is inverted
exactly and once for each size, where the paper filters by FFT and gives up a margin along the border.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from .resize import imresize, resize

Kernel = Literal["cubic", "linear", "box", "mitchell", "lanczos2", "lanczos3"]
"""Kernels to offer; ``enforce`` takes all of ``filters.resize``."""


def enforce(output: Tensor, low: Tensor, scale: int, kernel: str = "cubic", floor: float = 0.0) -> Tensor:
    """The image nearest to ``output`` (B, C, scale*h, scale*w) whose antialiased reduction is ``low`` (B, C, h, w).

    ``floor`` is the least eigenvalue that H H^T is taken to have in either direction, where a constant image has 1:
    above 0 (those of a cubic reduction lie between 0.4 and 1), faint detail of ``low`` is followed less.
    Half precision comes back as float32, since it could not hold an image that reduces to ``low``.

    Raises:
        ValueError: the sizes do not fit, the floor is negative, or there is no such kernel.
    """
    b, c, h, w = low.shape
    if scale < 1 or output.shape != (b, c, h * scale, w * scale):
        raise ValueError(
            f"expected an output of {scale} times the size of the input {tuple(low.shape)}, found {tuple(output.shape)}"
        )
    if floor < 0:
        raise ValueError(f"floor: expected 0 or more, found {floor}")
    output = output.to(torch.promote_types(output.dtype, torch.float32))
    # TF32 products would leave a thousandth of the difference; those of float64 are never rounded so
    exact = torch.float64 if output.is_cuda else output.dtype
    with torch.autocast(output.device.type, enabled=False):
        missing = (low.to(output.dtype) - resize(output, size=(h, w), kernel=kernel)).to(exact)
        rows, columns = (_moved(side * scale, scale, kernel, floor, exact, output.device) for side in (h, w))
        return output + (rows @ missing @ columns.mT).to(output.dtype)


@lru_cache(maxsize=64)
def _moved(length: int, scale: int, kernel: str, floor: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # what a validation leaves here is for training, too
        return _pseudo_inverse(length, scale, kernel, floor).to(device, dtype)


@lru_cache(maxsize=64)
def _pseudo_inverse(length: int, scale: int, kernel: str, floor: float) -> Tensor:
    """H^T (H H^T)^-1, (length, length // scale) of float64, by the eigenvalues of scale * H H^T."""
    units = np.eye(length)[:, None, :]
    reduction = torch.from_numpy(imresize(units, size=(length // scale, 1), kernel=kernel)[:, 0])
    values, vectors = torch.linalg.eigh(scale * reduction @ reduction.mT)
    return scale * reduction.mT @ (vectors / values.clamp(min=floor)) @ vectors.mT
