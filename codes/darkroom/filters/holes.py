"""Images with a hole, as the generators of EdgeConnect are given them: https://arxiv.org/abs/1901.00212.

All tensors are (B, C, H, W) in [0, 1]; a mask has one channel and is 1 where something is missing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .canny import WEIGHTS


def to_gray(image: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, 1, H, W), as Canny sees it."""
    red, green, blue = image.split(1, dim=1)
    return WEIGHTS[0] * red + WEIGHTS[1] * green + WEIGHTS[2] * blue


def hidden(image: Tensor, mask: Tensor) -> Tensor:
    """The image, white where it is missing."""
    return image * (1 - mask) + mask


def within(mask: Tensor, made: Tensor, given: Tensor) -> Tensor:
    """What was made where something is missing, else what was given."""
    return made * mask + given * (1 - mask)


def for_edges(gray: Tensor, lines: Tensor, mask: Tensor) -> Tensor:
    """What the edge generator is given (eq. 1): (B, 3, H, W); ``lines`` are the edges that are known."""
    return torch.cat([hidden(gray, mask), lines, mask], dim=1)


def for_filling(image: Tensor, edges: Tensor, mask: Tensor) -> Tensor:
    """What the inpainting generator is given (eq. 5): (B, 4, H, W); ``edges`` are those of the whole image."""
    return torch.cat([hidden(image, mask), edges], dim=1)
