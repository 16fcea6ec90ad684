"""Give images the colours of a reference, or each image those of the one of its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..core.errors import DataError
from ..data.folders import pair
from ..data.images import Picture, read, write
from .colors import ALGORITHMS, Array, histograms, regrain, transfer
from .work import Failure, Journal, Report, Task, Workers, apart, carry_out, tasks


def transfer_colors(
    sources: Path,
    targets: Sequence[Path],
    output: Path,
    algorithm: str = "lab",
    *,
    histo: bool = False,
    grain: bool = False,
    seed: int = 0,
    workers: Workers | None = None,
) -> Report:
    """Write each image of ``targets`` with other colours as ``<sub-folder>/<stem>.png`` in ``output``.

    ``sources`` is an image whose colours all of them get, or a folder with one for each, found by its name. ``histo``
    matches the histograms after that, and ``grain`` brings back the gradients that the images had.

    Raises:
        DataError: there are no images, or no pairs, or the output is not apart from them, or of other options.
        ValueError: there is no such algorithm.
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm: expected one of {', '.join(ALGORITHMS)}, found {algorithm!r}")
    apart([sources], [output])
    planned, alone = _with_references(tasks(targets, output), sources, targets)
    settings = {"algorithm": algorithm, "histo": histo, "regrain": grain, "seed": seed}
    journal = Journal(output, "transfer-colors", settings)
    reference = lru_cache(maxsize=1)(_levels_of)

    def recolour(task: Task) -> list[Path]:
        picture, wanted = read(task.source), reference(task.also[0])
        image = _levels(picture)
        result = transfer(image, wanted, algorithm, seed)
        result = histograms(result, wanted) if histo else result
        result = regrain(image, result) if grain else result
        target = task.targets[""]
        target.parent.mkdir(parents=True, exist_ok=True)
        write(target, _picture(result, picture, gray=picture.gray and bool((wanted == wanted[..., :1]).all())))
        return [target]

    report = carry_out(planned, recolour, journal, workers or Workers())
    report.failed += [Failure(path, f"no image in {sources} has its name") for path in alone]
    return report


def _with_references(planned: Sequence[Task], sources: Path, targets: Sequence[Path]) -> tuple[list[Task], list[Path]]:
    """The tasks that there is a reference for, and the images that there is none for."""
    if sources.is_file():
        references: Mapping[Path, Path | None] = {task.source: sources for task in planned}
    else:
        references = dict(pair(targets, [sources]).pairs)
    found = [
        replace(task, targets={"": task.place.with_name(f"{task.place.name}.png")}, also=(reference,))
        for task in planned
        if (reference := references.get(task.source)) is not None
    ]
    if not found:
        raise DataError(f"no image of {', '.join(map(str, targets))} has one of its name in {sources}")
    return found, [task.source for task in planned if references.get(task.source) is None]


def _levels_of(path: Path) -> Array:
    return _levels(read(path))


def _levels(picture: Picture) -> Array:
    """(H, W, 3) float32 in [0, 1]."""
    return picture.as_channels(3).astype(np.float32) / np.float32(2**picture.bits - 1)


def _picture(levels: Array, like: Picture, gray: bool) -> Picture:
    """Of the depth and with the transparency of another; ``gray`` if it is to have one channel."""
    largest = 2**like.bits - 1
    pixels = np.rint(levels.clip(0, 1) * largest).astype(like.pixels.dtype)
    return Picture(Picture(pixels).as_channels(1) if gray else pixels, like.alpha)
