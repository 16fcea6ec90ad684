"""Flips and quarter turns of pictures, shared by all images of an item, and the step from pixels to tensors."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, np.dtype[Any]]


class Turn(NamedTuple):
    """One of the eight ways to lay a square picture on a table."""

    mirror: bool = False
    quarters: int = 0

    def __call__(self, pixels: Array) -> Array:
        """A view of (H, W, C), mirrored left to right and then turned counter-clockwise ``quarters`` times."""
        pixels = pixels[:, ::-1] if self.mirror else pixels
        return np.rot90(pixels, self.quarters) if self.quarters else pixels


def draw_turn(rng: np.random.Generator, flip: bool, rotate: bool) -> Turn:
    """With ``flip``, mirrored half of the time; with ``rotate``, any of the four turns; all eight ways with both.

    It takes two numbers from ``rng`` whatever the options are.
    """
    mirror, quarters = int(rng.integers(2)), int(rng.integers(4))
    return Turn(flip and bool(mirror), quarters if rotate else 0)


def to_tensor(pixels: Array) -> Tensor:
    """A contiguous tensor (C, H, W) of its own memory from (H, W, C), same type."""
    return torch.from_numpy(np.array(pixels.transpose(2, 0, 1), order="C"))
