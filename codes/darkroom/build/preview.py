"""A sheet of the first samples that a training will see, with what was done to them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..core.errors import DataError
from ..data.augment import Array
from ..data.degrade.deferred import PLAN, SOURCE, WINDOW, finish
from ..data.images import write
from ..data.photographs import write_sample
from ..data.stream import stream, to_unit
from ..engine.validate import to_bytes
from ..inference.sheets import Cell, enlarged, panel, sheet
from .paths import check_training_folders
from .plan import TrainPlan

_COLUMNS = 2
_LEAST = 96
"""Images of fewer pixels are shown larger."""


def preview(plan: TrainPlan, count: int, file: Path) -> list[dict[str, Any]]:
    """Write the sheet of the first ``count`` samples; returns what is known of each: ``path`` and ``done``, in words.

    They are those of a training in one process, pixel by pixel but for the rounding where a device degrades.

    Raises:
        DarkroomError: the data cannot serve.
    """
    if plan.run.sample_photographs:
        write_sample(Path(plan.run.sample_photographs))
    check_training_folders(plan)
    given = plan.degrade.arguments() if plan.degrade else {}
    if given.get("degrade") is not None:
        given["deferred"] = True  # so that the sample knows what is done to it
    samples = stream(plan.dataset.make(**given), 1, plan.run.seed)
    cells, told = [], []
    batches = samples.batches()
    for n in range(count):
        batch = next(batches)
        done = (*batch[PLAN][0], *batch[WINDOW][0].after) if SOURCE in batch else ()
        operations = [str(operation) for operation in done]
        shown = to_unit(finish(batch))
        told.append({"path": batch["path"][0], "done": operations})
        cells.append(_cells(n, shown, plan.dataset.factory.yields, operations))
    samples.close()
    rows = [[*itertools.chain(*cells[i : i + _COLUMNS])] for i in range(0, len(cells), _COLUMNS)]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write(file, sheet(rows, f"{plan.run.name}: samples 0 to {count - 1}, seed {plan.run.seed}"))
    except OSError as error:
        raise DataError(f"{file} cannot be written: {error.strerror or error}. Choose another place with -o") from None
    return told


def _cells(number: int, batch: Mapping[str, Any], names: Sequence[str], operations: Sequence[str]) -> list[Cell]:
    """The images of a sample side by side at one size, the target first, and a panel of words."""
    images = {name: _picture(batch[name]) for name in sorted(names, reverse=True) if name in batch}
    height = max(_LEAST, *(image.shape[0] for image in images.values()))
    row = [(f"{name} {image.shape[1]}x{image.shape[0]}", _at(image, height)) for name, image in images.items()]
    words = [f"{number}: {Path(batch['path'][0]).name}", *operations]
    return [*row, ("", panel(words, max(image.shape[0] for _, image in row)))]


def _picture(images: Tensor) -> Array:
    """(H, W, 3), uint8, of the first of (B, C, H, W) in [0, 1]."""
    return np.ascontiguousarray(to_bytes(images[0]).expand(3, -1, -1).permute(1, 2, 0).numpy())


def _at(image: Array, height: int) -> Array:
    return enlarged(image, max(1, round(height / image.shape[0])))
