"""Two sets of images that have nothing to do with each other, for CycleGAN and white-box cartoonization.

As in https://github.com/junyanz/pytorch-CycleGAN-and-pix2pix: an image of A, and any one of B. What differs:
``direction`` counts here too (in traiNNer it has no effect on such data).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from torch import Tensor

from . import DATASETS
from .augment import draw_turn, several, to_tensor
from .dataset import Group
from .folders import list_images
from .images import Picture, read
from .preprocess import Preprocess, Rounding, Small


@DATASETS.register("unaligned")
class Unaligned:
    """Items ``real_A`` (C, H, W) and ``real_B`` (C', H', W'), each resized, cut, flipped and turned by itself.

    Transparency is dropped and the colour below it kept as it is stored.
    """

    yields: ClassVar[tuple[str, ...]] = ("real_A", "real_B")
    strays: Sequence[Path] = ()
    kernels: Sequence[str] = ()

    def __init__(
        self,
        a: str | tuple[str, ...],
        b: str | tuple[str, ...],
        direction: Literal["AtoB", "BtoA"] = "AtoB",
        serial: bool = False,
        preprocess: str = "none",
        load_size: int | tuple[int, ...] | None = None,
        crop_size: int | None = None,
        center_crop_size: int | None = None,
        aspect_ratio: float | None = None,
        none: Rounding = "power2",
        multiple_of: int = 4,
        small: Small = "pad",
        antialias: bool = False,
        flip: bool = False,
        rotate: bool = False,
        input_channels: Literal[1, 3] = 3,
        target_channels: Literal[1, 3] = 3,
        limit: int | None = None,
        reader: Callable[[str], Picture] = read,
    ) -> None:
        """List the images of the folders ``a`` and ``b``; an epoch is as long as the longer list.

        Item i has image i of A, counted in circles, and any image of B, or with ``serial`` its image i. ``direction:
        BtoA`` swaps the two: ``real_A`` then comes from ``b``. ``input_channels`` are those of ``real_A``,
        ``target_channels`` those of ``real_B``. For the options from ``preprocess`` to ``antialias`` see
        ``Preprocess``. ``limit`` takes the first so many of either.

        Raises:
            DataError: a folder is missing or has no images.
            ValueError: an option that does not fit the others.
        """
        if direction not in ("AtoB", "BtoA"):
            raise ValueError(f"direction: expected AtoB or BtoA, found {direction!r}")
        if limit is not None and limit < 1:
            raise ValueError(f"limit: expected at least 1, found {limit}")
        for name, count in (("input_channels", input_channels), ("target_channels", target_channels)):
            if count not in (1, 3):
                raise ValueError(f"{name}: expected 1 or 3, found {count}")
        self.serial, self.flip, self.rotate, self._read = serial, flip, rotate, reader
        self.channels = input_channels, target_channels
        self._preprocess = Preprocess(
            preprocess, load_size, crop_size, center_crop_size, aspect_ratio, none, multiple_of, small, antialias
        )
        self.crop = self._preprocess.cut
        roots = (b, a) if direction == "BtoA" else (a, b)
        self._a, self._b = ([str(p) for p in list_images(several(root))[:limit]] for root in roots)

    def __len__(self) -> int:
        """How many images the longer list has."""
        return max(len(self._a), len(self._b))

    def pairs(self) -> list[tuple[Path, Path | None]]:
        """Every image of A and then every image of B, alone."""
        return [(Path(p), None) for p in (*self._a, *self._b)]

    @property
    def notes(self) -> tuple[str, ...]:
        """How many images there are, for the log."""
        return (f"{len(self._a):,} images of A, {len(self._b):,} of B",)

    def item(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Tensors ``real_A`` and ``real_B``, uint8 or uint16 as their files are, and ``path`` of that of A.

        Numbers are drawn in this order: which of B (unless ``serial``), and for each image those of
        ``Preprocess.plan``, mirror, turn.

        Raises:
            UnreadableImage: a file cannot be decoded, or is too small.
        """
        # the index too, because another item takes the place of one whose image of B is broken
        place = index if self.serial else int(rng.integers(len(self._b))) + index
        path = self._a[index % len(self._a)]
        other = self._b[place % len(self._b)]
        a, b = (self._image(p, c, rng) for p, c in zip((path, other), self.channels, strict=True))
        return {"real_A": a, "real_B": b, "path": path}

    def _image(self, path: str, channels: int, rng: np.random.Generator) -> Tensor:
        picture = self._read(path)
        geometry = self._preprocess.plan(picture.size, rng, path)
        turn = draw_turn(rng, self.flip, self.rotate)
        return to_tensor(turn(geometry(picture.as_channels(channels))))


@DATASETS.register("concat_unaligned")
class ConcatUnaligned:
    """Items of several ``Unaligned``: those of the first folders of A and B, of the second ones, ...

    A batch is of one of them throughout, such as landscapes or faces: see ``groups``.
    """

    yields: ClassVar[tuple[str, ...]] = Unaligned.yields
    mixed: bool = False
    strays: Sequence[Path] = ()
    kernels: Sequence[str] = ()

    def __init__(
        self,
        a: tuple[str, ...],
        b: tuple[str, ...],
        weights: tuple[float, ...] = (),
        direction: Literal["AtoB", "BtoA"] = "AtoB",
        serial: bool = False,
        preprocess: str = "none",
        load_size: int | tuple[int, ...] | None = None,
        crop_size: int | None = None,
        center_crop_size: int | None = None,
        aspect_ratio: float | None = None,
        none: Rounding = "power2",
        multiple_of: int = 4,
        small: Small = "pad",
        antialias: bool = False,
        flip: bool = False,
        rotate: bool = False,
        input_channels: Literal[1, 3] = 3,
        target_channels: Literal[1, 3] = 3,
        limit: int | None = None,
        reader: Callable[[str], Picture] = read,
    ) -> None:
        """The n-th folders of ``a`` and ``b`` are one part; the n-th of ``weights`` says how often a batch is of it.

        Without ``weights``, four batches in five are of the first of two; of more, or one, each is taken as often. All
        else is as in ``Unaligned``.

        Raises:
            DataError: a folder is missing or has no images.
            ValueError: an option that does not fit the others.
        """
        if len(a) != len(b) or not a:
            raise ValueError(f"expected as many folders of a as of b, found {len(a)} and {len(b)}")
        weights = weights or ((4.0, 1.0) if len(a) == 2 else (1.0,) * len(a))
        if len(weights) != len(a) or not all(0 < w < float("inf") for w in weights):
            raise ValueError(f"weights: expected {len(a)} numbers above 0, one for each folder, found {[*weights]}")
        make = partial(
            Unaligned, direction=direction, serial=serial, preprocess=preprocess, load_size=load_size,
            crop_size=crop_size, center_crop_size=center_crop_size, aspect_ratio=aspect_ratio, none=none,
            multiple_of=multiple_of, small=small, antialias=antialias, flip=flip, rotate=rotate,
            input_channels=input_channels, target_channels=target_channels, limit=limit, reader=reader,
        )  # fmt: skip
        self._parts = [make(*roots) for roots in zip(a, b, strict=True)]
        self._starts = [0, *accumulate(len(part) for part in self._parts)]
        self.crop = self._parts[0].crop
        self.groups = tuple(Group(len(part), weight) for part, weight in zip(self._parts, weights, strict=True))

    def __len__(self) -> int:
        """How many items all have together."""
        return self._starts[-1]

    def pairs(self) -> list[tuple[Path, Path | None]]:
        """Those of every part."""
        return [pair for part in self._parts for pair in part.pairs()]

    @property
    def notes(self) -> tuple[str, ...]:
        """What the parts have, and how often they are taken, for the log."""
        whole = sum(group.share for group in self.groups)
        taken = [f"{group.share / whole:.0%} of the batches: " for group in self.groups]
        return tuple(t + note for t, part in zip(taken, self._parts, strict=True) for note in part.notes)

    def item(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """As of ``Unaligned``.

        Raises:
            UnreadableImage: a file cannot be decoded, or is too small.
        """
        number = next(n for n, end in enumerate(self._starts[1:]) if index < end)
        return self._parts[number].item(index - self._starts[number], rng)
