"""What the page asks for: photographs and strokes come as image files, edges and fills go back as PNGs.

A model looks at a photograph of at most ``max_side`` pixels; what it paints is enlarged and laid over the photograph as
it came, so that whatever lies outside the hole stays as it is, to the bit.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from ..core.errors import DataError
from ..data.images import Picture, UnreadableImage, as_bytes, header, read, write

Array = np.ndarray[Any, np.dtype[Any]]

MAX_PIXELS = 100_000_000
"""Of a photograph: a file of a few kilobytes can unfold to any number of them."""


class Inpainter(Protocol):
    """What the page needs of a model. ``image`` is (H, W, 3) uint8 RGB, ``hole`` (H, W) bool, edges (H, W) uint8."""

    def edges(self, image: Array, hole: Array, known: Array | None = None, sigma: float = 2.0) -> Array:
        """Edges of the whole picture, from 0 to 255 for the sure ones; in the hole they are predicted, or ``known``."""
        ...

    def fill(self, image: Array, hole: Array, edges: Array) -> Array:
        """The picture (H, W, 3) uint8 with its hole filled along ``edges``."""
        ...


class Painter:
    """An inpainter behind image files. Nothing is kept from one call to the next."""

    def __init__(self, inpainter: Inpainter, max_side: int = 1024) -> None:
        """``max_side`` is the longest side, in pixels, of what the inpainter sees."""
        self.inpainter = inpainter
        self.max_side = max_side

    def show(self, photograph: bytes) -> tuple[bytes, tuple[int, int]]:
        """The photograph as the inpainter sees it, as a PNG; and the height and width that it has itself.

        Raises:
            DataError: it is no image, damaged, or too large.
        """
        picture = decode(photograph, "the photograph")
        return encode(Picture(self._seen(picture))), picture.size

    def edges(self, photograph: bytes, mask: bytes, known: bytes) -> bytes:
        """The edges as a PNG, white on black; ``mask`` and ``known``, edges drawn by hand, count where they are white.

        Raises:
            DataError: nothing is masked; a file is no image, damaged, too large, or not of the size of ``show``.
        """
        image = self._seen(decode(photograph, "the photograph"))
        hole = hole_of(mask, image)
        drawn = np.where(drawing(known, "the edges", image) > 127, 255, 0).astype(np.uint8)
        edges = self.inpainter.edges(image, hole, known=drawn if drawn.any() else None)
        return encode(Picture(edges[:, :, None]))

    def fill(self, photograph: bytes, mask: bytes, edges: bytes) -> bytes:
        """The photograph in its own size and depth with its hole filled, as a PNG.

        Raises:
            DataError: nothing is masked; a file is no image, damaged, too large, or not of the size of ``show``.
        """
        picture = decode(photograph, "the photograph")
        image = self._seen(picture)
        hole = hole_of(mask, image)
        filled = self.inpainter.fill(image, hole, drawing(edges, "the edges", image))
        return encode(lay_over(picture, filled, hole))

    def _seen(self, picture: Picture) -> Array:
        """(H, W, 3) uint8, no side longer than ``max_side``."""
        pixels, (height, width) = picture.as_channels(3), picture.size
        scale = self.max_side / max(height, width)
        if scale < 1:
            size = max(round(width * scale), 1), max(round(height * scale), 1)
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(as_bytes(pixels))


def decode(data: bytes, what: str) -> Picture:
    """An image file of any kind that the package reads.

    Raises:
        DataError: it is no image, damaged, or too large; the message calls it ``what``.
    """
    with tempfile.TemporaryDirectory(prefix="darkroom-paint-") as folder:
        path = Path(folder) / "upload"
        path.write_bytes(data)
        try:
            size = header(path)
            if size.width * size.height > MAX_PIXELS:
                found = f"{what} has {size.width} x {size.height} pixels"
                raise DataError(f"{found}: expected at most {MAX_PIXELS // 1_000_000} million; make it smaller first")
            return read(path)
        except UnreadableImage as error:
            raise DataError(f"{what} cannot be read: {error.reason}") from None


def encode(picture: Picture) -> bytes:
    """The picture as a PNG."""
    with tempfile.TemporaryDirectory(prefix="darkroom-paint-") as folder:
        path = Path(folder) / "picture.png"
        write(path, picture)
        return path.read_bytes()


def drawing(data: bytes, what: str, image: Array) -> Array:
    """What is drawn over ``image``, (H, W) uint8: 255 is white.

    Raises:
        DataError: it is no image, or of another size.
    """
    picture = decode(data, what)
    if picture.size != image.shape[:2]:
        (height, width), (found_height, found_width) = image.shape[:2], picture.size
        expected = f"expected {width} x {height} pixels, as the page shows"
        raise DataError(f"{what}: {expected}, found {found_width} x {found_height}; open the photograph again")
    return np.ascontiguousarray(as_bytes(picture.as_channels(1)[:, :, 0]))


def hole_of(mask: bytes, image: Array) -> Array:
    """Where the mask over ``image`` is rather white than black, (H, W) bool.

    Raises:
        DataError: nowhere; or it is no image, or of another size.
    """
    hole: Array = drawing(mask, "the mask", image) > 127
    if not hole.any():
        raise DataError("nothing is masked: draw a mask over what is to be filled")
    return hole


def lay_over(picture: Picture, filled: Array, hole: Array) -> Picture:
    """``picture`` with ``filled``, (h, w, 3) uint8, in place of what ``hole``, (h, w) bool, covers: all else untouched.

    If the picture is larger than they are, its pixels are in the hole whose centres lie in one of its pixels.
    """
    height, width = picture.size
    inside = cv2.resize(hole.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST_EXACT) > 0
    paint = cv2.resize(filled, (width, height), interpolation=cv2.INTER_CUBIC)[inside]
    pixels = picture.as_channels(3).copy()
    pixels[inside] = paint if picture.bits == 8 else paint.astype(np.uint16) * 257
    if picture.alpha is None:
        return Picture(pixels)
    alpha = picture.alpha.copy()
    alpha[inside] = np.iinfo(alpha.dtype).max
    return Picture(pixels, alpha)
