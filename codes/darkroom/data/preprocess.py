"""Resizing and cutting of pictures for image-to-image translation: ``preprocess: resize_and_crop`` and the like.

The words are those of https://github.com/junyanz/pytorch-CycleGAN-and-pix2pix and of traiNNer, and mean what they do in
traiNNer's code, with OpenCV's bicubic, which takes no care of aliasing. junyanz resizes with Pillow's, which does;
``antialias`` comes near to that. What differs: words are done in the order in which they are written;
``scale_shortside`` scales both sides (in traiNNer the long one alone); all sides come out as multiples of
``multiple_of``, not those of ``none`` alone; pictures smaller than a crop are mirrored, neither left small nor framed
in black.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np

from ..core.registry import did_you_mean
from .dataset import UnreadableImage

Array = np.ndarray[Any, np.dtype[Any]]
Size = tuple[int, int]
"""Height and width."""
Rounding = Literal["power2", "modcrop", "padbase"]
Small = Literal["pad", "resize", "refuse", "keep"]

_NEEDS: Mapping[str, tuple[str, ...]] = {
    "none": (),
    "crop": ("crop_size",),
    "center_crop": ("center_crop_size",),
    **dict.fromkeys(("resize", "scale_width", "scale_height", "scale_shortside"), ("load_size",)),
    "fixed": ("crop_size", "aspect_ratio"),
}
"""The words, and the options that each one reads."""
_ROUNDED: Mapping[str, Callable[[float], int]] = {"power2": round, "modcrop": math.floor, "padbase": math.ceil}


class Resize(NamedTuple):
    """To (height, width): bicubic, or with ``antialias`` the mean over the pixels that a side which shrinks unites."""

    height: int
    width: int
    antialias: bool = False

    def __call__(self, pixels: Array) -> Array:
        """(height, width, C) of (H, W, C), same type."""
        height, width = pixels.shape[:2]
        if self.antialias:
            pixels = _resized(pixels, min(height, self.height), min(width, self.width), cv2.INTER_AREA)
        return _resized(pixels, self.height, self.width, cv2.INTER_CUBIC)


class Window(NamedTuple):
    """A part of a picture. Beyond the edges the picture goes on as its mirror image."""

    top: int
    left: int
    height: int
    width: int

    def __call__(self, pixels: Array) -> Array:
        """(height, width, C) of (H, W, C); a view, if it does not reach beyond the edges."""
        rows, columns = pixels.shape[:2]
        before = max(-self.top, 0), max(-self.left, 0)
        after = max(self.top + self.height - rows, 0), max(self.left + self.width - columns, 0)
        if any((*before, *after)):
            pixels = np.pad(pixels, (*zip(before, after, strict=True), (0, 0)), mode="symmetric")
        top, left = self.top + before[0], self.left + before[1]
        return pixels[top : top + self.height, left : left + self.width]


Step = Resize | Window


class Geometry(NamedTuple):
    """What is done to one picture, or to both of a pair."""

    steps: tuple[Step, ...]
    size: Size
    """What comes out."""

    def __call__(self, pixels: Array) -> Array:
        """(H', W', C) of (H, W, C), same type, perhaps a view."""
        for step in self.steps:
            pixels = step(pixels)
        return pixels


def _after(steps: Sequence[Step], size: Size) -> Size:
    """The size of a picture of ``size`` after the steps."""
    return (steps[-1].height, steps[-1].width) if steps else size


def _joined(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps without resizes that are followed by another, because the last one says it all."""
    joined: list[Step] = []
    for step in steps:
        if joined and isinstance(joined[-1], Resize) and isinstance(step, Resize):
            joined.pop()
        joined.append(step)
    return tuple(joined)


def _resized(pixels: Array, height: int, width: int, method: int) -> Array:
    if pixels.shape[:2] == (height, width):
        return pixels
    out: Array = cv2.resize(np.ascontiguousarray(pixels), (width, height), interpolation=method)
    return out.reshape(height, width, pixels.shape[2])


@dataclass(frozen=True)
class Preprocess:
    """How pictures of any size become items: a function of a picture's size and of random numbers."""

    preprocess: str = "none"
    """``none``, or words joined by ``_and_``. ``crop`` takes a random square of ``crop_size``, ``center_crop`` one of
    ``center_crop_size`` in the middle. ``resize`` makes a square of ``load_size``; ``scale_width``, ``scale_height``
    and ``scale_shortside`` give that side ``load_size`` and keep the proportions, but the first two make the other side
    no smaller than a ``crop_size`` that is given. ``fixed`` is ``crop_size`` wide and has the ``aspect_ratio``."""
    load_size: int | tuple[int, ...] | None = None
    """One of several is chosen at random."""
    crop_size: int | None = None
    center_crop_size: int | None = None
    aspect_ratio: float | None = None
    """Width over height."""
    none: Rounding = "power2"
    """How sides become multiples: resized to the nearest, cut at the right and the bottom, or mirrored there."""
    multiple_of: int = 4
    small: Small = "pad"
    """Pictures smaller than what is cut out of them are mirrored, enlarged, refused, or cut as far as they go."""
    antialias: bool = False

    def __post_init__(self) -> None:
        """Refuse what does not fit together.

        Raises:
            ValueError: an unknown word, a size that is missing, or one that cannot be; the message says which can.
        """
        self._check_words()
        for name in ("load_size", "crop_size", "center_crop_size", "multiple_of"):
            if any(size < 1 for size in self._sizes(name)):
                raise ValueError(f"{name}: expected at least 1, found {getattr(self, name)}")
        if self.aspect_ratio is not None and not self.aspect_ratio > 0:
            raise ValueError(f"aspect_ratio: expected more than 0, found {self.aspect_ratio}")
        if self.none not in _ROUNDED:
            raise ValueError(f"none: expected {', '.join(_ROUNDED)}, found {self.none!r}")
        if self.small not in ("pad", "resize", "refuse", "keep"):
            raise ValueError(f"small: expected pad, resize, refuse or keep, found {self.small!r}")
        self._check_sizes()

    def _check_words(self) -> None:
        for word in self.words:
            if word not in _NEEDS:
                raise ValueError(
                    f"preprocess: there is no {word!r}, found in {self.preprocess!r}.{did_you_mean(word, _NEEDS)} "
                    f"There are: {', '.join(_NEEDS)}; all but none may be joined by _and_"
                )
            if self.words.count(word) > 1 or (word == "none" and len(self.words) > 1):
                raise ValueError(
                    f"preprocess: expected none alone, or other words once each, found {self.preprocess!r}"
                )
            for name in _NEEDS[word]:
                if getattr(self, name) in (None, ()):
                    raise ValueError(f"{name}: expected a size for preprocess: {self.preprocess}, found none")

    def _check_sizes(self) -> None:
        before = self.words[: self.words.index("crop")] if "crop" in self.words else self.words
        for name in (n for word in before for n in _NEEDS[word] if n != "aspect_ratio"):
            if self.crop_size is not None and min(self._sizes(name)) < self.crop_size:
                least = f"at least the crop_size {self.crop_size}"
                raise ValueError(f"{name}: expected {least}, found {getattr(self, name)}")
        multiple = self.multiple_of
        for name in (n for n in _NEEDS[self.words[-1]] if n != "aspect_ratio"):
            for size in self._sizes(name):
                if size % multiple:
                    low, high = size // multiple * multiple, -(-size // multiple) * multiple
                    near = f"{low} or {high}" if low else str(high)
                    raise ValueError(f"{name}: expected a multiple of {multiple}, found {size}: use {near}")

    def _sizes(self, name: str) -> tuple[int, ...]:
        value = getattr(self, name)
        return value if isinstance(value, tuple) else () if value is None else (value,)

    @property
    def words(self) -> tuple[str, ...]:
        """What is done, in order."""
        return tuple(self.preprocess.split("_and_"))

    @property
    def cut(self) -> int | None:
        """Side of the square that is cut out of pictures as they are, for which some may be too small."""
        return {"crop": self.crop_size, "center_crop": self.center_crop_size}.get(self.words[0])

    def plan(self, size: Size, rng: np.random.Generator | None = None, path: str = "the image") -> Geometry:
        """What is done to a picture of that size, or to all of a pair.

        Numbers are drawn in this order: which of the ``load_size``, and row and column of a crop. Without ``rng`` it is
        the first, and the middle.

        Raises:
            UnreadableImage: the picture, which is called ``path``, is too small, and ``small`` is to refuse such.
        """
        loads = self._sizes("load_size")
        load = loads[0 if rng is None else int(rng.integers(len(loads)))] if loads else 0
        steps: list[Step] = []
        for word in self.words:
            if word in ("crop", "center_crop"):
                steps += self._cut(word, size, rng if word == "crop" else None, path)
            elif word != "none":
                steps.append(Resize(*self._scaled(word, size, load), self.antialias))
            size = _after(steps, size)
        steps += self._rounding(size)
        return Geometry(_joined(steps), _after(steps, size))

    def _scaled(self, word: str, size: Size, load: int) -> Size:
        """Height and width that a word asks for."""
        height, width = size
        least = self.crop_size or 1
        if word == "resize":
            return load, load
        if word == "scale_width":
            return max(load * height // width, least), load
        if word == "scale_height":
            return load, max(load * width // height, least)
        if word == "scale_shortside":
            return (load, load * width // height) if height <= width else (load * height // width, load)
        assert self.crop_size is not None
        assert self.aspect_ratio is not None
        return max(round(self.crop_size / self.aspect_ratio), 1), self.crop_size

    def _cut(self, word: str, size: Size, rng: np.random.Generator | None, path: str) -> list[Step]:
        """A square: anywhere, or without ``rng`` in the middle."""
        side = (self.crop_size if word == "crop" else self.center_crop_size) or 0
        first: list[Step] = []
        if min(size) < side and self.small == "refuse":
            raise UnreadableImage(path, f"it is {size[1]}x{size[0]}, smaller than the {side} pixels of {word}")
        if min(size) < side and self.small == "resize":
            height, width = (max(round(n * side / min(size)), side) for n in size)
            first, size = [Resize(height, width, self.antialias)], (height, width)
        height, width = (min(n, side) if self.small == "keep" else side for n in size)
        rows, columns = size[0] - height, size[1] - width
        if rng is None:
            return [*first, Window(rows // 2, columns // 2, height, width)]
        top, left = int(rng.integers(max(rows, 0) + 1)), int(rng.integers(max(columns, 0) + 1))
        return [*first, Window(top, left, height, width)]

    def _rounding(self, size: Size) -> list[Step]:
        """What makes both sides multiples, at least one."""
        height, width = (max(_ROUNDED[self.none](n / self.multiple_of), 1) * self.multiple_of for n in size)
        if (height, width) == size:
            return []
        return [Resize(height, width, self.antialias) if self.none == "power2" else Window(0, 0, height, width)]
