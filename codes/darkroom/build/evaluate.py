"""How near the images of a folder are to those of another: a table, and a file of all values."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ..core.errors import DataError, OptionErrors
from ..data.folders import pair, some
from ..data.images import read
from ..data.opening import size_text
from ..metrics import METRICS, Metric, SetMetric
from .testing import measured
from .validation import over

Say = Callable[[str], None]


def evaluate(
    results: Path, truth: Path, metrics: Sequence[str], *,
    border: int, table: Path | None, device: torch.device, say: Say,
) -> dict[str, float]:  # fmt: skip
    """Measure every image of ``results`` against the one of its name in ``truth``; the value of each metric over all.

    ``border`` pixels are left out at every edge. ``table`` is a .csv file to write, with a line for each image.

    Raises:
        DarkroomError: there is no such metric or folder, or images do not pair or differ in size.
    """
    made = _metrics(metrics, border)
    pairing = pair([truth], [results])
    pairs = [(target, given) for target, given in pairing.pairs if given is not None]
    if not pairs:
        raise DataError(f"no image in {results} has the name of one in {truth}")
    alone = (pairing.alone, f"images of {truth} have no result"), (pairing.strays, "results have no truth")
    for files, what in alone:
        if files:
            say(f"{len(files)} {what} and are left out: {some(files)}")
    rows: dict[str, dict[str, Any]] = {}
    for target, given in tqdm(pairs, unit="image", disable=None):
        result, right = read(given), read(target)
        if result.size != right.size:
            sizes = size_text(result.size), size_text(right.size)
            raise DataError(f"{given} is {sizes[0]}, but {target} is {sizes[1]}; both must be of one size")
        with torch.inference_mode():
            rows[str(given)] = measured(made, result.pixels, right.pixels, device)
    found = {name: over(metric)([row[name] for row in rows.values()]) for name, metric in made.items()}
    say(f"{len(rows)} images: " + ", ".join(f"{name.upper()}: {value:.5g}" for name, value in found.items()))
    if table is not None:
        _write(table, rows, {name for name, metric in made.items() if not isinstance(metric, SetMetric)})
    return found


def _metrics(names: Sequence[str], border: int) -> dict[str, Metric | SetMetric]:
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        known = ", ".join(sorted({*METRICS}))
        raise OptionErrors([f"--metrics: there is no metric {unknown[0]!r}; there are: {known}"])
    return {name: METRICS[name](crop_border=border) for name in names}


def _write(file: Path, rows: Mapping[str, Mapping[str, Any]], names: set[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as stream:
        columns = [name for name in next(iter(rows.values())) if name in names]
        writer = csv.writer(stream)
        writer.writerow(["image", *columns])
        writer.writerows([path, *(row[name] for name in columns)] for path, row in rows.items())
