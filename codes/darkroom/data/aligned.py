"""Pairs of a target and its degraded input, for super-resolution and restoration.

The input comes from a folder, or is made on the fly: the target downscaled as MATLAB's bicubic does, and rounded.
Only the pixels that a crop needs are computed, and they are those of the whole downscaled image, bit for bit. Either
way it may then be degraded, and so may the target.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from torch import Tensor

from ..core.errors import DataError
from ..core.registry import did_you_mean
from . import DATASETS
from .augment import Choice, Turn, draw_turn, several, to_tensor
from .colors import Color, check_color, converted
from .crops import Box, Crop, check_kernels, reach
from .degrade.deferred import PLAN, SOURCE, WINDOW, Sample
from .degrade.pipeline import Pipeline
from .folders import Pairing, list_images, pair, some
from .images import Picture, read
from .mixing import Folder, groups_of_folders, paths_of, shares_text
from .opening import Misfit, Opening, Small, check_among, check_share


@DATASETS.register("aligned")
class Aligned:
    """Items ``input`` (C, crop / scale, crop / scale) and ``target`` (C, crop, crop), or whole images without ``crop``.

    Whole targets lose the rows and columns beyond the last multiple of ``scale``. Transparency is dropped and the
    colour below it kept as it is stored. Gray files count as colour with three ``channels``; with one, colour files
    become their luma (BT.601).

    Args:
        target: folders of targets. One may be written ``{path: ..., weight: 3}``: then each sample is of one of the
            folders, as often as their weights say, 1 for those without.
        input: folders of their inputs, found by name; what has no file is made of the target.
        crop: side of a random square of the target; without it, items are whole images.
        scale: how many times as large as the input the target is.
        flip: mirror half of the crops, left to right.
        rotate: turn crops by any number of quarters.
        channels: of the images, 3 or 1.
        kernel: makes inputs that no file has. Of several, each crop takes one at random, by their shares if they have
            any, and whole images take the first.
        small: what becomes of targets smaller than ``crop``: mirrored at the right and the bottom, enlarged (smaller
            inputs are then made anew), or refused.
        subset_file: lists names below ``target``, one a line, to which the images are restricted.
        limit: takes the first so many.
        batches_from: with ``one``, all samples of a batch are of one folder, chosen as often as its weight says.
        misfit: what becomes of an input whose size does not fit: refused, resized, or made anew; or its target is
            resized.
        ignore_input: how often an input is made though there is a file.
        swap: how often input and target change places.
        shrink: sizes up to 1, one of which the images get before they are cropped, unless that leaves too little.
        shrink_kernel: by which they get it; of several, one at random.
        rotate_free: how often a crop is turned by any angle up to 90 degrees to either side, instead of by ``rotate``.
        input_color: of the finished input: ``gray``; ``y``, as MATLAB has it, 16 to 235; ``lab``; ``lab_to_rgb`` of
            files that hold such.
        target_color: of the finished target.
        degrade: done to the input.
        degrade_target: done to the target, after the input was made of it.
        degrade_from: with ``target``, the degradations make the input of the target, if there is no file.
        margin: pixels of the target around the crop, or the next multiple of the scale, that are degraded with it and
            cut off again.
        deferred: leave the degrading of the input to ``data.degrade.deferred.finish``.
        reader: opens the files.
    """

    yields: ClassVar[tuple[str, ...]] = ("input", "target")

    def __init__(
        self,
        target: str | tuple[str | Folder, ...],
        input: str | tuple[str, ...] = (),  # noqa: A002 - the name of the tensor
        crop: int | None = None,
        scale: int = 4,
        flip: bool = False,
        rotate: bool = False,
        channels: Literal[1, 3] = 3,
        kernel: str | tuple[str, ...] | Mapping[str, float] = "cubic",
        small: Small = "pad",
        subset_file: str | None = None,
        limit: int | None = None,
        batches_from: Literal["all", "one"] = "all",
        misfit: Misfit = "refuse",
        ignore_input: float = 0.0,
        swap: float = 0.0,
        shrink: tuple[float, ...] = (1.0,),
        shrink_kernel: str | tuple[str, ...] = "cubic",
        rotate_free: float = 0.0,
        input_color: Color = "rgb",
        target_color: Color = "rgb",
        degrade: Pipeline | None = None,
        degrade_target: Pipeline | None = None,
        degrade_from: Literal["input", "target"] = "input",
        margin: int = 16,
        deferred: bool = False,
        reader: Callable[[str], Picture] = read,
    ) -> None:
        """List the images of the folders ``target`` and pair them with those of the folders ``input``.

        Raises:
            DataError: a folder is missing or empty, or names pair in more than one way or not at all.
            ValueError: an option that cannot be, or does not fit the others.
        """
        self.crop, self.scale, self.flip, self.rotate, self.rotate_free = crop, scale, flip, rotate, rotate_free
        self.degrade, self.degrade_target, self.degrade_from = degrade, degrade_target, degrade_from
        self.channels, self.colors, self.deferred = channels, (input_color, target_color), deferred
        self._folders, self.has_inputs, self._kernels = paths_of(target), bool(input), Choice.of(kernel)
        self._open = Opening(
            crop, scale, channels, small, misfit, ignore_input, swap, shrink, Choice.of(shrink_kernel), reader
        )
        self._check(limit, batches_from, margin)
        self._margin = -(-margin // scale) * scale if degrade or degrade_target else 0
        self.kernels, self.mixed = self._kernels.names, batches_from == "all"
        self._pairs, self.strays = find_pairs(self._folders, several(input), scale, subset_file, limit)
        self.groups = groups_of_folders(target, [t for t, _ in self._pairs], split=not self.mixed)

    def _check(self, limit: int | None, batches_from: str, margin: int) -> None:
        if limit is not None and limit < 1:
            raise ValueError(f"limit: expected at least 1, found {limit}")
        if margin < 0:
            raise ValueError(f"margin: expected 0 or more, found {margin}")
        check_kernels("kernel", self._kernels)
        check_among("batches_from", batches_from, ("all", "one"))
        check_among("degrade_from", self.degrade_from, ("input", "target"))
        check_share("rotate_free", self.rotate_free)
        if self.rotate_free and self.crop is None:
            raise ValueError("rotate_free: is for training on crops, and there is no crop; remove it")
        for name in ("ignore_input", "swap"):
            if getattr(self._open, name) and not self.has_inputs:
                raise ValueError(f"{name}: is for inputs of files, and there is no folder input; remove it")
        for name, color in zip(("input_color", "target_color"), self.colors, strict=True):
            check_color(name, color, self.channels)
        if "lab_to_rgb" in self.colors and (self.degrade or self.degrade_target):
            raise ValueError("lab_to_rgb: degradations are of RGB, so convert the files first, or remove degrade")

    def __len__(self) -> int:
        """How many targets there are."""
        return len(self._pairs)

    def pairs(self) -> list[tuple[Path, Path | None]]:
        """Every target with its input, or None where the input is made on the fly."""
        return [(Path(t), None if i is None else Path(i)) for t, i in self._pairs]

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about the pairing and the folders, for the log."""
        alone = [t for t, i in self._pairs if i is None] if self.has_inputs else []
        made = f"{len(alone)} of {len(self)} targets have no input file, theirs are made from them: {some(alone)}"
        unused = f"{len(self.strays)} inputs have no target and are not used: {some(self.strays)}"
        taken = shares_text(self._folders, self.groups, "samples" if self.mixed else "batches")
        return ((made,) if alone else ()) + ((unused,) if self.strays else ()) + taken

    def item(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Tensors ``input`` and ``target``, uint8 or uint16 as their files are, and ``path`` of the target's file.

        What was degraded is uint8. Where that is ``deferred``, there is no ``input`` but the keys of ``deferred.py``.

        Numbers are drawn in this order: those of ``Opening``, row, column, kernel, mirror, turn, whether by any angle
        and by which (with ``rotate_free``), those of ``degrade``, those of ``degrade_target``.

        Raises:
            UnreadableImage: a file cannot be decoded, or its size does not fit.
        """
        path, input_path = self._pairs[index]
        target, given = self._open(path, input_path, rng)
        s, margin = self.scale, self._margin
        rows, columns = (side // s for side in target.size)
        height, width = (rows, columns) if self.crop is None else (self.crop // s,) * 2
        box = Box(int(rng.integers(rows - height + 1)), int(rng.integers(columns - width + 1)), height, width)
        kernel = self.kernels[0] if self.crop is None else self._kernels.draw(rng)
        turn, angle = self._draw_turn(rng)
        if given is not None:
            crop, low = target.crop(box.times(s), margin, angle), given.crop(box, margin // s, angle)
        elif s == 1 or (self.degrade and self.degrade_from == "target"):
            crop = low = target.crop(box.times(s), margin, angle)
        else:
            crop = target.crop(box.times(s), margin + reach(kernel) * s, angle)
            low = crop.lowered(s, kernel, margin // s)
        return {**self._input(low, low.box.height // height, turn, rng), **self._target(crop, turn, rng), "path": path}

    def _draw_turn(self, rng: np.random.Generator) -> tuple[Turn, float]:
        """With the angle in degrees, 0 for none."""
        turn = draw_turn(rng, self.flip, self.rotate)
        if not self.rotate_free or rng.random() >= self.rotate_free:
            return turn, 0.0
        return Turn(turn.mirror), float(rng.uniform(-90, 90))

    def _input(self, crop: Crop, factor: int, turn: Turn, rng: np.random.Generator) -> dict[str, Any]:
        """Of a crop that is ``factor`` times as large."""
        color = self.colors[0]
        if self.degrade is None:
            return {"input": converted(to_tensor(turn(crop.cut())), color)}
        near = crop.near(self._margin * factor // self.scale).turned(turn)
        sample = Sample.draw(near, self.degrade, factor, color, rng)
        if self.deferred:
            return {SOURCE: to_tensor(sample.source), PLAN: sample.plan, WINDOW: sample.window}
        return {"input": converted(to_tensor(sample.degraded()), color)}

    def _target(self, crop: Crop, turn: Turn, rng: np.random.Generator) -> dict[str, Tensor]:
        pixels = turn(crop.cut())
        if self.degrade_target is not None:
            near = crop.near(self._margin).turned(turn)
            pixels = Sample.draw(near, self.degrade_target, 1, self.colors[1], rng).degraded()
        return {"target": converted(to_tensor(pixels), self.colors[1])}


def find_pairs(
    targets: Sequence[str], inputs: Sequence[str], scale: int, subset_file: str | None, limit: int | None
) -> tuple[list[tuple[str, str | None]], Sequence[Path]]:
    """The first so many targets of the folders or of the list, each with its input or None; and inputs of no target.

    Raises:
        DataError: a folder or the list is not as it should be, or names pair in several ways or not at all.
    """
    pairing = pair(targets, inputs, scale) if inputs else Pairing(tuple((t, None) for t in list_images(targets)))
    check_pairing(pairing, targets, inputs, "Leave the input out to have it made from the targets")
    chosen = subset(pairing.pairs, targets, subset_file) if subset_file is not None else pairing.pairs
    return [(str(t), None if i is None else str(i)) for t, i in chosen[:limit]], pairing.strays


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
