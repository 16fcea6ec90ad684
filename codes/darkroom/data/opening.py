"""How the files of a pair become pictures that fit each other, the scale and the crop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from .augment import Choice
from .crops import View, check_kernels
from .dataset import UnreadableImage
from .degrade.operation import Size
from .images import Picture

Array = np.ndarray[Any, np.dtype[Any]]
Small = Literal["pad", "resize", "refuse"]
Misfit = Literal["refuse", "resize_input", "resize_target", "make"]


@dataclass(frozen=True)
class Opening:
    """Opens pairs of files. The options are those of ``Aligned``."""

    crop: int | None
    scale: int
    channels: Literal[1, 3]
    small: Small
    misfit: Misfit
    ignore_input: float
    swap: float
    shrink: tuple[float, ...]
    shrink_kernel: Choice
    read: Callable[[str], Picture]

    def __post_init__(self) -> None:
        """Refuse what does not fit together.

        Raises:
            ValueError: that is so; the message says what can be.
        """
        check_crop(self.crop, self.scale)
        check_among("channels", self.channels, (1, 3))
        check_among("small", self.small, get_args(Small))
        check_among("misfit", self.misfit, get_args(Misfit))
        for name in ("ignore_input", "swap"):
            check_share(name, getattr(self, name))
        check_kernels("shrink_kernel", self.shrink_kernel)
        if not self.shrink or not all(0 < size <= 1 for size in self.shrink):
            raise ValueError(f"shrink: expected sizes above 0 up to 1, found {[*self.shrink]}")
        if self.shrink != (1.0,) and self.crop is None:
            raise ValueError("shrink: is for training on crops, and there is no crop; remove it")
        if self.swap and self.scale != 1:
            raise ValueError(f"swap: expected inputs of the size of their targets, scale: 1, found {self.scale}")

    def __call__(self, path: str, input_path: str | None, rng: np.random.Generator) -> tuple[View, View | None]:
        """The target, its sides multiples of the scale, and the input of a file, ``scale`` times smaller.

        Numbers are drawn in this order, of the options that are on: whether to ignore the input, whether to swap, the
        size, its kernel.

        Raises:
            UnreadableImage: a file cannot be decoded, or its size does not fit.
        """
        ignored = self.ignore_input > 0 and rng.random() < self.ignore_input
        swapped = self.swap > 0 and rng.random() < self.swap
        target, given = self._pair(path, None if ignored else input_path)
        if swapped and given is not None:
            target, given = given, target
        target, given = self._large_enough(path, target, given)
        return (target, given) if self.shrink == (1.0,) else self._shrunk(target, given, rng)

    def _pair(self, path: str, input_path: str | None) -> tuple[View, View | None]:
        picture = self.read(path)
        height, width = (side // self.scale for side in picture.size)
        if not height or not width:
            raise UnreadableImage(path, f"it is {size_text(picture.size)}, smaller than a pixel at scale {self.scale}")
        target = View.of(picture.as_channels(self.channels)[: height * self.scale, : width * self.scale])
        if input_path is None:
            return target, None
        other = self.read(input_path)
        pixels = other.as_channels(self.channels)
        # one made from an uncut target has a row or a column more
        if all(n in (m // self.scale, -(-m // self.scale)) for n, m in zip(other.size, picture.size, strict=True)):
            return target, View.of(pixels[:height, :width])
        if self.misfit == "refuse":
            raise UnreadableImage(
                input_path,
                f"it is {size_text(other.size)}, but at scale {self.scale} its target {path} of "
                f"{size_text(picture.size)} needs an input of {width}x{height}; is the scale right, and the folder?",
            )
        if self.misfit == "resize_target":
            whole = picture.as_channels(self.channels)
            return View(whole, Size(*(side * self.scale for side in other.size))), View.of(pixels)
        return target, View(pixels, Size(height, width)) if self.misfit == "resize_input" else None

    def _large_enough(self, path: str, target: View, given: View | None) -> tuple[View, View | None]:
        """Both, made large enough for a crop."""
        least = min(target.size)
        if self.crop is None or least >= self.crop:
            return target, given
        if self.small == "refuse":
            raise UnreadableImage(path, f"it is {size_text(target.size)}, smaller than the crop of {self.crop}")
        if self.small == "resize":
            factor = self.crop / least / self.scale
            size = Size(*(max(round(n * factor) * self.scale, self.crop) for n in target.size))
            # a smaller input can be made anew, one of the same size tells what nothing else does
            return View(target.pixels, size), None if given is None or self.scale > 1 else View(given.pixels, size)
        # mirrored with the edge repeated, the one border that target and input can share exactly
        side = self.crop // self.scale
        return _mirrored(target.whole(), self.crop), None if given is None else _mirrored(given.whole(), side)

    def _shrunk(self, target: View, given: View | None, rng: np.random.Generator) -> tuple[View, View | None]:
        """Both at one of the sizes, or as they are where a crop would be larger than that."""
        share, kernel = self.shrink[int(rng.integers(len(self.shrink)))], self.shrink_kernel.draw(rng)
        small = Size(*(int(n * share) // self.scale for n in target.size))
        if share == 1 or self.crop is None or min(small) * self.scale < self.crop:
            return target, given
        size = Size(*(n * self.scale for n in small))
        return View(target.pixels, size, kernel), None if given is None else View(given.pixels, small, kernel)


def _mirrored(pixels: Array, side: int) -> View:
    height, width = pixels.shape[:2]
    pads = (0, max(side - height, 0)), (0, max(side - width, 0)), (0, 0)
    return View.of(np.pad(pixels, pads, mode="symmetric"))


def check_crop(crop: int | None, scale: int) -> None:
    """Refuse what is no crop for that scale.

    Raises:
        ValueError: the message says which crops are.
    """
    for name, value in (("scale", scale), ("crop", crop)):
        if value is not None and value < 1:
            raise ValueError(f"{name}: expected at least 1, found {value}")
    if crop is not None and crop % scale:
        low, high = crop // scale * scale, -(-crop // scale) * scale
        near = f"{low} or {high}" if low else str(high)
        raise ValueError(f"crop: expected a multiple of the scale {scale}, such as {near}, found {crop}")


def check_among(name: str, value: object, known: Sequence[object]) -> None:
    """Refuse a value that is not ``known``.

    Raises:
        ValueError: that is so.
    """
    if value not in known:
        listed = ", ".join(map(str, known[:-1]))
        raise ValueError(f"{name}: expected {listed} or {known[-1]}, found {value!r}")


def check_share(name: str, value: float) -> None:
    """Refuse what is no probability.

    Raises:
        ValueError: that is so.
    """
    if not 0 <= value <= 1:
        raise ValueError(f"{name}: expected 0 to 1, found {value:g}")


def size_text(size: tuple[int, int]) -> str:
    """``640x480`` of (480, 640)."""
    return f"{size[1]}x{size[0]}"
