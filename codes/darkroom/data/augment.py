"""Flips, quarter turns and choices, shared by all images of an item, and the step from pixels to tensors."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, np.dtype[Any]]

_LARGEST = {kind: np.float32(np.iinfo(kind).max) for kind in (np.uint8, np.uint16)}
_QUARTERS = (cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)
"""One, two and three, counter-clockwise."""


class Turn(NamedTuple):
    """One of the eight ways to lay a square picture on a table."""

    mirror: bool = False
    quarters: int = 0

    def __call__(self, pixels: Array) -> Array:
        """(H, W, C), mirrored left to right and then turned counter-clockwise ``quarters`` times; may be a view."""
        channels, quarters = pixels.shape[2], self.quarters % 4
        if channels not in (1, 3):
            pixels = pixels[:, ::-1] if self.mirror else pixels
            return np.rot90(pixels, quarters)
        # by OpenCV, as numpy makes such views contiguous pixel by pixel, which takes ten times as long and more
        if channels == 3 and not pixels.strides[2]:  # gray repeated
            pixels = cv2.cvtColor(pixels[:, :, 0], cv2.COLOR_GRAY2RGB)
        pixels = cv2.flip(pixels, 1) if self.mirror else pixels
        pixels = cv2.rotate(pixels, _QUARTERS[quarters - 1]) if quarters else pixels
        return pixels.reshape(*pixels.shape[:2], channels)


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
        return self.names[chosen(self.shares, rng.random())]


def chosen(shares: Sequence[float], place: float) -> int:
    """Which of several a ``place`` in [0, 1) belongs to, of which each of them has its share."""
    return bisect(_limits(tuple(shares)), place)


@lru_cache(maxsize=256)
def _limits(shares: tuple[float, ...]) -> tuple[float, ...]:
    """Where the part of each ends."""
    ends = np.cumsum(shares)
    return tuple((ends / ends[-1]).tolist())


def several(value: str | tuple[str, ...]) -> tuple[str, ...]:
    """One name or several, as several."""
    return (value,) if isinstance(value, str) else tuple(value)


def unit(pixels: Array) -> Array:
    """A contiguous (H, W, C), float32 in [0, 1], of uint8 or uint16."""
    done = pixels.astype(np.float32, order="C")
    done /= _LARGEST[pixels.dtype.type]  # after, not while it is converted, which takes twice as long
    return done


def levels(pixels: Array, dtype: Any) -> Array:
    """The integers nearest to ``pixels``, float32 in [0, 1], that ``dtype`` (uint8, uint16) has for them."""
    largest = np.iinfo(dtype).max
    scaled = np.multiply(pixels, largest, dtype=np.float32)
    rounded: Array = np.clip(np.rint(scaled, out=scaled), 0, largest, out=scaled).astype(dtype)
    return rounded


def to_tensor(pixels: Array) -> Tensor:
    """A contiguous tensor (C, H, W) of its own memory from (H, W, C), same type."""
    if pixels.shape[2] == 3 and pixels.dtype in (np.uint8, np.uint16):  # which OpenCV takes apart six times as fast
        planes = np.empty((3, *pixels.shape[:2]), pixels.dtype)
        cv2.split(pixels, list(planes))
        return torch.from_numpy(planes)
    return torch.from_numpy(np.array(pixels.transpose(2, 0, 1), order="C"))
