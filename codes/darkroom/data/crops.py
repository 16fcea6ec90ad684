"""Crops with the pixels around them, of pictures at any size and angle, of which only that part is ever computed."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import cv2
import numpy as np

from ..filters.resize import KERNELS, find_kernel, resize_uint8
from ..filters.resize_taps import kernel_name
from .augment import Choice, Turn, levels, unit
from .degrade.operation import Size
from .degrade.resizes import Resize

Array = np.ndarray[Any, np.dtype[Any]]

_TAPS = 4
"""Pixels on either side that OpenCV's widest kernel sees."""


class Box(NamedTuple):
    """A rectangle of pixels."""

    top: int
    left: int
    height: int
    width: int

    def times(self, factor: int) -> Box:
        """The same part of a picture that is so much larger."""
        return Box(*(n * factor for n in self))

    def over(self, factor: int) -> Box:
        """The same part of a picture that is so much smaller."""
        return Box(*(n // factor for n in self))

    def grown(self, margin: int, size: Size) -> Box:
        """With ``margin`` pixels more on every side, as far as a picture of that size has them."""
        top, left = max(self.top - margin, 0), max(self.left - margin, 0)
        bottom = min(self.top + self.height + margin, size.height)
        right = min(self.left + self.width + margin, size.width)
        return Box(top, left, bottom - top, right - left)

    def within(self, other: Box) -> Box:
        """The same part of what ``other`` cuts out."""
        return Box(self.top - other.top, self.left - other.left, self.height, self.width)

    def of(self, pixels: Array) -> Array:
        """That part of (H, W, C), a view."""
        return pixels[self.top : self.top + self.height, self.left : self.left + self.width]


class Crop(NamedTuple):
    """A part of a picture, and the pixels around it that are at hand."""

    pixels: Array
    """(H, W, C), uint8 or uint16."""
    box: Box
    """Where the part is."""

    @property
    def size(self) -> Size:
        """Of all pixels."""
        return Size(*self.pixels.shape[:2])

    def cut(self) -> Array:
        """The part alone, a view."""
        return self.box.of(self.pixels)

    def near(self, margin: int) -> Crop:
        """With no more than ``margin`` pixels on every side, a view."""
        around = self.box.grown(margin, self.size)
        return Crop(around.of(self.pixels), self.box.within(around))

    def turned(self, turn: Turn) -> Crop:
        """Mirrored and turned as a whole."""
        top, left, height, width = self.box
        rows, columns = self.size
        if turn.mirror:
            left = columns - left - width
        for _ in range(turn.quarters % 4):
            top, left, height, width = columns - left - width, top, width, height
            rows, columns = columns, rows
        return Crop(turn(self.pixels), Box(top, left, height, width))

    def lowered(self, scale: int, kernel: str, margin: int) -> Crop:
        """Made ``scale`` times smaller, with ``margin`` of the new pixels around it; all sides are multiples of that.

        What is computed is what the whole picture would have there; but for kernels without antialiasing, bit for bit.
        """
        around = self.box.grown(margin * scale, self.size).over(scale)
        box = self.box.over(scale)
        if not is_antialiased(kernel):
            seen = around.times(scale).grown(_TAPS * scale, self.size)
            small = resized(seen.of(self.pixels), Size(seen.height // scale, seen.width // scale), kernel)
            return Crop(around.within(seen.over(scale)).of(small), box.within(around))
        return Crop(resize_uint8(self.pixels, 1 / scale, kernel=kernel, window=around), box.within(around))


class View(NamedTuple):
    """A picture at a size that need not be its own."""

    pixels: Array
    """(H, W, C), uint8 or uint16."""
    size: Size
    kernel: str = "cubic"
    """By which it gets that size."""

    @classmethod
    def of(cls, pixels: Array) -> View:
        """The picture as it is."""
        return cls(pixels, Size(*pixels.shape[:2]))

    def crop(self, box: Box, margin: int = 0, angle: float = 0.0) -> Crop:
        """The part that is ``box``, with at least ``margin`` pixels around it, as far as there are any.

        With an ``angle`` see ``rotated``.
        """
        if angle:
            return rotated(self, box, margin, angle)
        if self.pixels.shape[:2] == self.size:
            return Crop(self.pixels, box)
        around = box.grown(margin, self.size)
        return Crop(resized(self.pixels, self.size, self.kernel, around), box.within(around))

    def whole(self) -> Array:
        """All of it, (H, W, C)."""
        return self.crop(Box(0, 0, *self.size)).cut()


def rotated(view: View, box: Box, margin: int, angle: float) -> Crop:
    """A part of the size of ``box``, as if the picture had been turned ``angle`` degrees counter-clockwise before.

    Its centre is where that of ``box`` is, but as far from the edges as it takes to show no pixel that the picture does
    not have; where the picture is too small for that, it is enlarged. The margin may go beyond the edges, where the
    picture goes on as its mirror image. Input and target of a pair are turned alike, if their sizes are in proportion.
    """
    rows, columns = view.size
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    # the rectangle around the turned part, in pixels of the picture
    tall = box.height * abs(cosine) + box.width * abs(sine)
    wide = box.height * abs(sine) + box.width * abs(cosine)
    zoom = min(1.0, rows / tall, columns / wide)
    y = _centre(box.top, box.height, rows, tall * zoom)
    x = _centre(box.left, box.width, columns, wide * zoom)
    more = margin * zoom * (abs(cosine) + abs(sine)) + _TAPS
    seen = Box(int(y), int(x), 1, 1).grown(math.ceil(max(tall, wide) * zoom / 2 + more), view.size)
    pixels = np.ascontiguousarray(view.crop(seen).cut())
    height, width = box.height + 2 * margin, box.width + 2 * margin
    # of pixel centres of the result to those of the picture, which lie half a pixel inside
    step = np.array([[cosine, -sine], [sine, cosine]]) * zoom
    origin = np.array([x - seen.left, y - seen.top]) - 0.5 - step @ [width / 2 - 0.5, height / 2 - 0.5]
    out = cv2.warpAffine(
        pixels, np.column_stack([step, origin]), (width, height),
        flags=cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT,
    )  # fmt: skip
    return Crop(out.reshape(height, width, view.pixels.shape[2]), Box(margin, margin, box.height, box.width))


def _centre(start: int, length: int, side: int, extent: float) -> float:
    """Of what is ``extent`` long, at the same share of the way as a part of that length is that begins at ``start``."""
    share = start / (side - length) if side > length else 0.5
    return extent / 2 + share * (side - extent)


def check_kernels(name: str, kernels: Choice) -> None:
    """Refuse kernels that there are not, and shares that cannot be.

    Raises:
        ValueError: that is so.
    """
    if not kernels.names:
        raise ValueError(f"{name}: expected at least one name")
    for kernel in kernels.names:
        if kernel_name(kernel) == "nearest_aligned":
            raise ValueError(f"{name}: nearest_aligned has a blur that is drawn; write it as a stage of degrade")
    if kernels.shares and (min(kernels.shares) < 0 or not 0 < sum(kernels.shares) < float("inf")):
        raise ValueError(f"{name}: expected shares of 0 or more, found {list(kernels.shares)}")


def is_antialiased(kernel: str) -> bool:
    """Whether it is one of ``filters.resize``; all others are OpenCV's."""
    return kernel_name(kernel) in KERNELS


def reach(kernel: str) -> int:
    """How many pixels beyond a part of what is made smaller the kernel sees, in pixels of the small picture."""
    return math.ceil(find_kernel(kernel).width / 2) if is_antialiased(kernel) else _TAPS


def resized(pixels: Array, size: Size, kernel: str, window: Box | None = None) -> Array:
    """The ``window`` of (H, W, C), uint8 or uint16, at that ``size``, of the same type; rounded."""
    if is_antialiased(kernel):
        return resize_uint8(pixels, size=size, kernel=kernel, window=window)
    out = levels(Resize(kernel, size).on_host(unit(pixels)), pixels.dtype)
    return out if window is None else window.of(out)
