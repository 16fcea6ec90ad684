"""Labelled sheets: images side by side with their names, for eyes rather than programs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Cell = tuple[str, np.ndarray]
"""A label and an (H, W, 3) uint8 image."""

_MARGIN = 6
_TEXT = 20


def sheet(rows: Sequence[Sequence[Cell]], title: str = "") -> np.ndarray:
    """An (H, W, 3) uint8 picture of rows of labelled images, each column as wide as its widest image.

    Raises:
        ValueError: there is no image.
    """
    from PIL import Image, ImageDraw, ImageFont

    if not rows or not any(rows):
        raise ValueError("a sheet needs at least one image")
    columns = max(len(row) for row in rows)
    font = ImageFont.load_default(14)
    label_width = [max(round(font.getlength(row[i][0])) for row in rows if i < len(row)) for i in range(columns)]
    widths = [max([row[i][1].shape[1] for row in rows if i < len(row)] + [label_width[i]]) for i in range(columns)]
    heights = [max(image.shape[0] for _, image in row) for row in rows]
    top = _TEXT + _MARGIN if title else 0
    width = max(sum(widths) + _MARGIN * (columns + 1), round(font.getlength(title)) + 2 * _MARGIN)
    picture = Image.new("RGB", (width, top + sum(heights) + (_TEXT + _MARGIN) * len(rows) + _MARGIN), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((_MARGIN, 2), title, "black", font)
    y = top + _MARGIN
    for row, height in zip(rows, heights, strict=True):
        x = _MARGIN
        for (label, image), column in zip(row, widths, strict=False):
            draw.text((x, y), label, "black", font)
            picture.paste(Image.fromarray(image), (x, y + _TEXT))
            x += column + _MARGIN
        y += height + _TEXT + _MARGIN
    return np.asarray(picture)


def enlarged(image: np.ndarray, factor: int) -> np.ndarray:
    """Each pixel of an (H, W, C) image as ``factor`` x ``factor`` pixels."""
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def panel(lines: Sequence[str], height: int) -> np.ndarray:
    """An (H, W, 3) uint8 picture of lines of text, at least ``height`` high."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(12)
    step = 15
    width = max([round(font.getlength(line)) for line in lines] + [1])
    picture = Image.new("RGB", (width + _MARGIN, max(height, step * len(lines))), "white")
    draw = ImageDraw.Draw(picture)
    for n, line in enumerate(lines):
        draw.text((0, n * step), line, "black", font)
    return np.asarray(picture)
