"""Pairs of a target and its degraded input, for super-resolution and restoration.

The input comes from a folder, or is made on the fly: the target downscaled as MATLAB's bicubic does, and rounded.
Only the pixels that a crop needs are computed, and they are those of the whole downscaled image, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from ..core.errors import DataError
from ..core.registry import did_you_mean
from ..filters.resize import find_kernel, resize_uint8
from . import DATASETS
from .augment import draw_turn, to_tensor
from .dataset import UnreadableImage
from .folders import Pairing, list_images, pair, some
from .images import Picture, read

Array = np.ndarray[Any, np.dtype[Any]]


@DATASETS.register("aligned")
class Aligned:
    """Items ``input`` (C, crop / scale, crop / scale) and ``target`` (C, crop, crop), or whole images without ``crop``.

    Whole targets lose the rows and columns beyond the last multiple of ``scale``. Transparency is dropped and the
    colour below it kept as it is stored. Gray files count as colour with three ``channels``; with one, colour files
    become their luma (BT.601).
    """

    yields: ClassVar[tuple[str, ...]] = ("input", "target")

    def __init__(
        self,
        target: str | tuple[str, ...],
        input: str | tuple[str, ...] = (),  # noqa: A002 - the name of the tensor
        crop: int | None = None,
        scale: int = 4,
        flip: bool = False,
        rotate: bool = False,
        channels: Literal[1, 3] = 3,
        kernel: str | tuple[str, ...] = "cubic",
        small: Literal["pad", "resize", "refuse"] = "pad",
        subset_file: str | None = None,
        limit: int | None = None,
    ) -> None:
        """List the images of the folders ``target`` and pair them with those of the folders ``input``.

        ``crop`` is the side of a random square of the target; without it, items are whole images. ``kernel`` makes
        inputs that no file has; of several, each crop takes one at random and whole images the first. ``small``
        says what becomes of targets smaller than ``crop``: mirrored at the right and the bottom, enlarged (their
        inputs are then made anew), or refused. ``subset_file`` lists names below ``target``, one a line, to which
        the images are restricted; ``limit`` takes the first so many.

        Raises:
            DataError: a folder is missing or empty, or names pair in more than one way or not at all.
            ValueError: a number that does not fit the others.
        """
        self.crop, self.scale, self.flip, self.rotate = crop, scale, flip, rotate
        self.channels, self.small = channels, small
        self.kernels = several(kernel)
        self._check(limit)
        targets, inputs = several(target), several(input)
        pairing = pair(targets, inputs, scale) if inputs else Pairing(tuple((t, None) for t in list_images(targets)))
        check_pairing(pairing, targets, inputs, "Leave the input out to have it made from the targets")
        chosen = subset(pairing.pairs, targets, subset_file) if subset_file is not None else pairing.pairs
        self._pairs = [(str(t), None if i is None else str(i)) for t, i in chosen[:limit]]
        self.strays = pairing.strays
        self.has_inputs = bool(inputs)

    def _check(self, limit: int | None) -> None:
        for name, value in (("scale", self.scale), ("crop", self.crop), ("limit", limit)):
            if value is not None and value < 1:
                raise ValueError(f"{name}: expected at least 1, found {value}")
        if self.crop is not None and self.crop % self.scale:
            low, high = self.crop // self.scale * self.scale, -(-self.crop // self.scale) * self.scale
            near = f"{low} or {high}" if low else str(high)
            raise ValueError(f"crop: expected a multiple of the scale {self.scale}, such as {near}, found {self.crop}")
        if self.channels not in (1, 3):
            raise ValueError(f"channels: expected 1 or 3, found {self.channels}")
        if self.small not in ("pad", "resize", "refuse"):
            raise ValueError(f"small: expected pad, resize or refuse, found {self.small!r}")
        if not self.kernels:
            raise ValueError("kernel: expected at least one name")
        for kernel in self.kernels:
            find_kernel(kernel)

    def __len__(self) -> int:
        """How many targets there are."""
        return len(self._pairs)

    def pairs(self) -> list[tuple[Path, Path | None]]:
        """Every target with its input, or None where the input is made on the fly."""
        return [(Path(t), None if i is None else Path(i)) for t, i in self._pairs]

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about the pairing, for the log."""
        alone = [t for t, i in self._pairs if i is None] if self.has_inputs else []
        made = f"{len(alone)} of {len(self)} targets have no input file, theirs are made from them: {some(alone)}"
        unused = f"{len(self.strays)} inputs have no target and are not used: {some(self.strays)}"
        return ((made,) if alone else ()) + ((unused,) if self.strays else ())

    def item(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Tensors ``input`` and ``target``, uint8 or uint16 as their files are, and ``path`` of the target's file.

        Numbers are drawn in this order: row, column, kernel, mirror, turn.

        Raises:
            UnreadableImage: a file cannot be decoded, or its size does not fit.
        """
        target_path, input_path = self._pairs[index]
        picture = read(target_path)
        given = None if input_path is None else self._input(input_path, target_path, picture.size)
        target, given = self._fit(target_path, self._cut(target_path, picture), given)
        rows, columns = (side // self.scale for side in target.shape[:2])
        height, width = (rows, columns) if self.crop is None else (self.crop // self.scale,) * 2
        top, left = int(rng.integers(rows - height + 1)), int(rng.integers(columns - width + 1))
        kernel = self.kernels[0 if self.crop is None else int(rng.integers(len(self.kernels)))]
        turn = draw_turn(rng, self.flip, self.rotate)
        s = self.scale
        cut = target[top * s : (top + height) * s, left * s : (left + width) * s]
        if given is not None:
            low = given[top : top + height, left : left + width]
        elif s == 1:
            low = cut
        else:
            low = resize_uint8(target, 1 / s, kernel=kernel, window=(top, left, height, width))
        return {"input": to_tensor(turn(low)), "target": to_tensor(turn(cut)), "path": target_path}

    def _cut(self, path: str, picture: Picture) -> Array:
        """(H, W, channels) of a target, its sides cut to multiples of the scale."""
        height, width = (side // self.scale * self.scale for side in picture.size)
        if not height or not width:
            raise UnreadableImage(path, f"it is {size_text(picture.size)}, smaller than a pixel at scale {self.scale}")
        return picture.as_channels(self.channels)[:height, :width]

    def _input(self, path: str, target_path: str, size: tuple[int, int]) -> Array:
        """(h, w, channels) of an input, cut to what the target of that size covers."""
        picture = read(path)
        height, width = (side // self.scale for side in size)
        # one made from an uncut target has a row or a column more
        if not all(n in (m // self.scale, -(-m // self.scale)) for n, m in zip(picture.size, size, strict=True)):
            raise UnreadableImage(
                path,
                f"it is {size_text(picture.size)}, but at scale {self.scale} its target {target_path} of "
                f"{size_text(size)} needs an input of {width}x{height}; is the scale right, and the folder?",
            )
        return picture.as_channels(self.channels)[:height, :width]

    def _fit(self, path: str, target: Array, given: Array | None) -> tuple[Array, Array | None]:
        """Both, made large enough for a crop."""
        height, width = target.shape[:2]
        if self.crop is None or min(height, width) >= self.crop:
            return target, given
        if self.small == "refuse":
            raise UnreadableImage(path, f"it is {size_text((height, width))}, smaller than the crop of {self.crop}")
        if self.small == "resize":
            factor = self.crop / min(height, width) / self.scale
            tall, wide = (max(round(n * factor) * self.scale, self.crop) for n in (height, width))
            return resize_uint8(target, size=(tall, wide)), None
        # mirrored with the edge repeated, the one border that target and input can share exactly
        return _mirrored(target, self.crop), None if given is None else _mirrored(given, self.crop // self.scale)


def _mirrored(pixels: Array, side: int) -> Array:
    height, width = pixels.shape[:2]
    return np.pad(pixels, ((0, max(side - height, 0)), (0, max(side - width, 0)), (0, 0)), mode="symmetric")


def size_text(size: tuple[int, int]) -> str:
    """``640x480`` of (480, 640)."""
    return f"{size[1]}x{size[0]}"


def several(value: str | tuple[str, ...]) -> tuple[str, ...]:
    """One name or several, as several."""
    return (value,) if isinstance(value, str) else tuple(value)


def check_pairing(pairing: Pairing, targets: Sequence[str], inputs: Sequence[str], otherwise: str) -> None:
    """Refuse names that pair in several ways, or not at all: then the user may do something ``otherwise``.

    Raises:
        DataError: that is so.
    """
    if pairing.ambiguous:
        name, namesakes, candidates = pairing.ambiguous[0]
        names = some(n for n, _, _ in pairing.ambiguous)
        raise DataError(
            f"{len(pairing.ambiguous)} names can be paired in several ways ({names})."
            f" For {name!r} the targets are {some(namesakes)} and the inputs {some(candidates)}."
            " Give inputs the paths of their targets below their folder"
        )
    if inputs and len(pairing.alone) == len(pairing.pairs):
        raise DataError(
            f"no input in {some(inputs)} has the name of a target in {some(targets)}: the targets are"
            f" {some((p.name for p in pairing.alone), 3)}, the inputs {some((p.name for p in pairing.strays), 3)}."
            f" {otherwise}"
        )


def subset(
    pairs: Sequence[tuple[Path, Path | None]], roots: Sequence[str], subset_file: str
) -> tuple[tuple[Path, Path | None], ...]:
    """Those of the ``pairs`` whose targets are listed in ``subset_file``, by their paths below ``roots``.

    Raises:
        DataError: the list cannot be read, or names a file that is not there.
    """
    try:
        lines = Path(subset_file).expanduser().read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(f"subset_file {subset_file} cannot be read: {error.strerror}") from None
    wanted = {Path(line.strip()).as_posix() for line in lines if line.strip()}
    bases = [Path(root).expanduser() for root in roots]
    chosen, used, known = [], set(), set()
    for target, partner in pairs:
        relative = {target.relative_to(b) for b in bases if target.is_relative_to(b)}
        names = {r.as_posix() for r in relative} | {r.with_suffix("").as_posix() for r in relative if r.name}
        known |= names
        if names & wanted:
            chosen.append((target, partner))
            used |= names & wanted
    if missing := sorted(wanted - used):
        hint = did_you_mean(missing[0], known)
        raise DataError(f"{subset_file} names {len(missing)} files that {some(roots)} lacks: {some(missing)}.{hint}")
    return tuple(chosen)
