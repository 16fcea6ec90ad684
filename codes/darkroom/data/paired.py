"""Pairs of an image and of what it is to be turned into, for pix2pix: two folders, or both side by side in one file.

The files A|B are those of the published data sets: https://github.com/junyanz/pytorch-CycleGAN-and-pix2pix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from . import DATASETS
from .aligned import check_pairing, subset
from .augment import Array, draw_turn, several, to_tensor
from .dataset import UnreadableImage
from .folders import Pairing, list_images, pair, some
from .images import Picture, read
from .opening import size_text
from .preprocess import Preprocess, Rounding, Small


@DATASETS.register("paired")
class Paired:
    """Items ``input`` (C, H, W) and ``target`` (C', H, W), resized, cut, flipped and turned alike.

    Transparency is dropped and the colour below it kept as it is stored.
    """

    yields: ClassVar[tuple[str, ...]] = ("input", "target")
    kernels: Sequence[str] = ()

    def __init__(
        self,
        target: str | tuple[str, ...] = (),
        input: str | tuple[str, ...] = (),  # noqa: A002 - the name of the tensor
        combined: str | tuple[str, ...] = (),
        direction: Literal["AtoB", "BtoA"] = "AtoB",
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
        subset_file: str | None = None,
        limit: int | None = None,
        reader: Callable[[str], Picture] = read,
    ) -> None:
        """Pair the images of the folders ``target`` (B) with those of ``input`` (A) by name, or list ``combined`` ones.

        The left half of a ``combined`` image is A, the input, and the right half B. ``direction: BtoA`` learns the way
        back: B is then the input and A the target, of folders as well. For the options from ``preprocess`` to
        ``antialias`` see ``Preprocess``. Targets without an input are left out. ``subset_file`` lists names below the
        folders of the targets, one a line, to which the images are restricted; ``limit`` takes the first so many.

        Raises:
            DataError: a folder is missing or empty, or names pair in more than one way or not at all.
            ValueError: an option that does not fit the others.
        """
        self.flip, self.rotate, self._read = flip, rotate, reader
        self.input_channels, self.target_channels = input_channels, target_channels
        self._preprocess = Preprocess(
            preprocess, load_size, crop_size, center_crop_size, aspect_ratio, none, multiple_of, small, antialias
        )
        self.crop, self._swapped = self._preprocess.cut, direction == "BtoA"
        self._check(direction, limit, bool(combined), bool(target), bool(input))
        targets, inputs = (several(input), several(target)) if self._swapped else (several(target), several(input))
        roots = several(combined) or targets
        pairing = pair(targets, inputs) if inputs else Pairing(tuple((p, None) for p in list_images(roots)))
        check_pairing(pairing, targets, inputs, "An input and its target need the same name")
        chosen = pairing.pairs if subset_file is None else subset(pairing.pairs, roots, subset_file)
        self._alone = [t for t, i in chosen if i is None] if inputs else []
        self._files = [(t, i) for t, i in chosen if i is not None or not inputs][:limit]
        self.strays = pairing.strays

    def _check(self, direction: str, limit: int | None, combined: bool, targets: bool, inputs: bool) -> None:
        if combined == targets or targets != inputs:
            raise ValueError("expected either folders of combined images, or folders of targets and of inputs")
        if direction not in ("AtoB", "BtoA"):
            raise ValueError(f"direction: expected AtoB or BtoA, found {direction!r}")
        if limit is not None and limit < 1:
            raise ValueError(f"limit: expected at least 1, found {limit}")
        for name in ("input_channels", "target_channels"):
            if getattr(self, name) not in (1, 3):
                raise ValueError(f"{name}: expected 1 or 3, found {getattr(self, name)}")

    def __len__(self) -> int:
        """How many pairs there are."""
        return len(self._files)

    def pairs(self) -> list[tuple[Path, Path | None]]:
        """Every target with its input; or every combined image, and None."""
        return list(self._files)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about the pairing, for the log."""
        alone = f"{len(self._alone)} targets have no input and are not used: {some(self._alone)}"
        unused = f"{len(self.strays)} inputs have no target and are not used: {some(self.strays)}"
        return ((alone,) if self._alone else ()) + ((unused,) if self.strays else ())

    def item(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Tensors ``input`` and ``target``, uint8 or uint16 as their files are, and ``path`` of the target's file.

        Numbers are drawn in this order: those of ``Preprocess.plan``, mirror, turn.

        Raises:
            UnreadableImage: a file cannot be decoded, or its size does not fit.
        """
        path, other = self._files[index]
        given = None if other is None else self._read(str(other))
        views = self.view(self._read(str(path)), given, rng, (str(path), str(other or path)))
        turn = draw_turn(rng, self.flip, self.rotate)
        return {
            **{name: to_tensor(turn(view)) for name, view in zip(self.yields, views, strict=True)},
            "path": str(path),
        }

    def view(
        self,
        picture: Picture,
        other: Picture | None = None,
        rng: np.random.Generator | None = None,
        paths: tuple[str, str] = ("the target", "the input"),
    ) -> tuple[Array, Array]:
        """``input`` and ``target``, (H, W, C) each, of the pictures of the two files that ``pairs`` gives.

        Without ``rng`` nothing is left to chance; see ``Preprocess.plan``. ``paths`` name the files in errors.

        Raises:
            UnreadableImage: the sizes do not fit.
        """
        target, given = picture, other or picture
        if other is None:
            half = picture.size[1] // 2
            if not half:
                raise UnreadableImage(paths[0], f"it is {size_text(picture.size)} and has no two halves")
            a, b = (Picture(picture.pixels[:, start : start + half]) for start in (0, half))
            given, target = (b, a) if self._swapped else (a, b)
        if given.size != target.size:
            sizes = f"it is {size_text(given.size)}, but its target {paths[0]} is {size_text(target.size)}"
            raise UnreadableImage(paths[1], f"{sizes}; the images of a pair need one size")
        geometry = self._preprocess.plan(target.size, rng, paths[0])
        return geometry(given.as_channels(self.input_channels)), geometry(target.as_channels(self.target_channels))

    def whole(self, picture: Picture, other: Picture | None = None) -> tuple[Picture, Picture]:
        """Input and target of the pictures of the two files that ``pairs`` gives, as in an item without chance.

        Raises:
            UnreadableImage: the sizes do not fit.
        """
        given, target = self.view(picture, other)
        return Picture(np.ascontiguousarray(given)), Picture(np.ascontiguousarray(target))
