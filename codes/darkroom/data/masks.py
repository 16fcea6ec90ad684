"""Which part of a picture is missing: blocks, halves and strokes of a brush.

Blocks and halves are those of https://github.com/knazeri/edge-connect. Strokes: Yu et al., "Free-Form Image Inpainting
with Gated Convolution", ICCV 2019, Algorithm 1: https://arxiv.org/abs/1806.03589; the paper leaves the largest numbers
and lengths open, and those here are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Size = tuple[int, int]
"""Height and width."""
Hole = NDArray[np.bool_]
"""(H, W), True where the picture is missing."""
Kind = Literal["block", "half", "external", "external_block", "external_block_half", "strokes", "paired"]

KINDS: Mapping[str, tuple[str, ...]] = {
    "external_block": ("external", "block"),
    "external_block_half": ("block", "half", "external"),
    **{name: (name,) for name in ("block", "half", "strokes", "external", "paired")},
}
"""The shapes that each kind of mask chooses from, all equally often."""

_STROKES = 8
_VERTICES = 10
_ANGLE = math.pi
_LENGTH = 1 / 3
_WIDTH = 1 / 8
"""The most there may be; lengths and widths in shorter sides of the picture."""


def rectangle(size: Size, top: int, left: int, height: int, width: int) -> Hole:
    """A rectangle is missing."""
    hole = np.zeros(size, np.bool_)
    hole[top : top + height, left : left + width] = True
    return hole


def block(size: Size, rng: np.random.Generator) -> Hole:
    """A block of half the height and half the width, anywhere; its column is drawn, and then its row."""
    height, width = (max(side // 2, 1) for side in size)
    left, top = int(rng.integers(size[1] - width + 1)), int(rng.integers(size[0] - height + 1))
    return rectangle(size, top, left, height, width)


def half(size: Size, rng: np.random.Generator) -> Hole:
    """The left half or the right one; of an odd width the last column is always there."""
    width = max(size[1] // 2, 1)
    left = 0 if rng.random() < 0.5 else size[1] // 2
    return rectangle(size, 0, left, size[0], width)


def strokes(size: Size, rng: np.random.Generator) -> Hole:
    """One stroke or several, as if somebody had wiped something out of the picture.

    Drawn are: how many; those of each; whether they are mirrored left to right, and top to bottom.
    """
    drawn = np.zeros(size, np.uint8)
    for _ in range(int(rng.integers(1, _STROKES + 1))):
        _stroke(drawn, rng)
    across, down = (1 - 2 * int(rng.integers(2)) for _ in range(2))
    return drawn[::down, ::across] > 0


def _stroke(drawn: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """Lines one behind the other, with round corners.

    Drawn are: how many, column and row of the first one's start, the brush, and for each line its angle and length.
    """
    height, width = drawn.shape
    side = min(height, width)
    count = int(rng.integers(1, _VERTICES + 1))
    x, y = int(rng.integers(width)), int(rng.integers(height))
    brush = max(round(side * rng.uniform(_WIDTH / 4, _WIDTH)), 1)
    for i in range(count):
        angle = rng.uniform(0, _ANGLE)
        angle = 2 * math.pi - angle if i % 2 == 0 else angle  # turns back, so that strokes go to and fro
        length = side * rng.uniform(0, _LENGTH)
        end = round(x + length * math.sin(angle)), round(y + length * math.cos(angle))
        end = min(max(end[0], 0), width - 1), min(max(end[1], 0), height - 1)
        cv2.line(drawn, (x, y), end, 255, brush)
        cv2.circle(drawn, end, brush // 2, 255, cv2.FILLED)
        x, y = end


SHAPES: Mapping[str, Callable[[Size, Any], Hole]] = {"block": block, "half": half, "strokes": strokes}
"""The shapes that need no file."""
