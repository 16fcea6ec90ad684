"""Cut large images into overlapping pieces, because a small file is read quickly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..data.images import Picture, read, write
from .work import Journal, Report, Task, Workers, carry_out, tasks


def starts(side: int, size: int, step: int, threshold: int) -> list[int]:
    """Where the pieces of a side begin: each ``step``, and at the end if more than ``threshold`` is left there.

    A side shorter than ``size`` is one piece.
    """
    found = list(range(0, max(side - size, 0) + 1, step))
    if side - (found[-1] + size) > threshold:
        found.append(side - size)
    return found


def piece(picture: Picture, top: int, left: int, height: int, width: int) -> Picture:
    """That part of a picture, or as much of it as there is."""
    window = np.s_[top : top + height, left : left + width]
    return Picture(picture.pixels[window], None if picture.alpha is None else picture.alpha[window])


def subimages(
    inputs: Sequence[Path],
    output: Path,
    size: int = 480,
    step: int = 240,
    threshold: int = 48,
    workers: Workers | None = None,
) -> Report:
    """Write the pieces of every image of ``inputs`` as ``<sub-folder>/<stem>_s001.png``, ... row by row.

    Pairs stay pairs if the LR images are cut with all three numbers divided by the scale, and the sides of the HR
    images are multiples of it.

    Raises:
        DataError: there is no image, the output is not apart from the inputs, or it was made with other numbers.
        ValueError: a number is not positive, or the threshold negative.
    """
    if size < 1 or step < 1 or threshold < 0:
        raise ValueError(
            f"expected a size and a step from 1 on and a threshold from 0 on, found {size, step, threshold}"
        )
    todo = [replace(task, targets={"": _piece_of(task, 1)}) for task in tasks(inputs, output)]
    journal = Journal(output, "subimages", {"size": size, "step": step, "threshold": threshold})

    def cut(task: Task) -> list[Path]:
        picture = read(task.source)
        rows, columns = (starts(side, size, step, threshold) for side in picture.size)
        task.place.parent.mkdir(parents=True, exist_ok=True)
        written = []
        for number, (top, left) in enumerate(((top, left) for top in rows for left in columns), 1):
            target = _piece_of(task, number)
            write(target, piece(picture, top, left, size, size))
            written.append(target)
        return written

    return carry_out(todo, cut, journal, workers or Workers())


def _piece_of(task: Task, number: int) -> Path:
    return task.place.with_name(f"{task.place.name}_s{number:03d}.png")
