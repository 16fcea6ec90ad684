"""Flips, quarter turns and choices, shared by all images of an item, and the step from pixels to tensors."""

from __future__ import annotations

from collections.abc import Mapping
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


class Choice(NamedTuple):
    """One of several names at random."""

    names: tuple[str, ...]
    shares: tuple[float, ...] = ()
    """How often each is taken, relative to the others; without any, all are taken as often."""

    @classmethod
    def of(cls, given: str | tuple[str, ...] | Mapping[str, float]) -> Choice:
        """Of one name, several, or several with their shares."""
        if isinstance(given, Mapping):
            return cls(tuple(given), tuple(given.values()))
        return cls(several(given))

    def draw(self, rng: np.random.Generator) -> str:
        """It takes one number from ``rng``."""
        if not self.shares:
            return self.names[int(rng.integers(len(self.names)))]
        limits = np.cumsum(self.shares)
        return self.names[int(np.searchsorted(limits / limits[-1], rng.random(), side="right"))]


def several(value: str | tuple[str, ...]) -> tuple[str, ...]:
    """One name or several, as several."""
    return (value,) if isinstance(value, str) else tuple(value)


def unit(pixels: Array) -> Array:
    """A contiguous (H, W, C), float32 in [0, 1], of uint8 or uint16."""
    return np.divide(np.ascontiguousarray(pixels), np.iinfo(pixels.dtype).max, dtype=np.float32)


def levels(pixels: Array, dtype: Any) -> Array:
    """The integers nearest to ``pixels``, float32 in [0, 1], that ``dtype`` (uint8, uint16) has for them."""
    largest = np.iinfo(dtype).max
    scaled = np.multiply(pixels, largest, dtype=np.float32)
    rounded: Array = np.clip(np.rint(scaled, out=scaled), 0, largest, out=scaled).astype(dtype)
    return rounded


def to_tensor(pixels: Array) -> Tensor:
    """A contiguous tensor (C, H, W) of its own memory from (H, W, C), same type."""
    return torch.from_numpy(np.array(pixels.transpose(2, 0, 1), order="C"))
