"""How near the images of a folder are to those of another: a table, and a file of all values."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ..core.errors import DataError, OptionErrors
from ..data.folders import pair, some
from ..data.images import read
from ..metrics import METRICS, Metric, SetMetric
from .testing import as_bytes
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
        images = [_unit(path).to(device) for path in (given, target)]
        if images[0].shape[-2:] != images[1].shape[-2:]:
            sizes = [_size(image) for image in images]
            raise DataError(f"{given} is {sizes[0]}, but {target} is {sizes[1]}; both must be of one size")
        channels = max(len(image) for image in images)
        a, b = (image.expand(channels, -1, -1) for image in images)
        with torch.inference_mode():
            rows[str(given)] = {name: metric(a, b) for name, metric in made.items()}
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


def _unit(path: Path) -> Tensor:
    """(C, H, W) in [0, 1], rounded to 8 bits."""
    return torch.from_numpy(as_bytes(read(path).pixels).copy()).permute(2, 0, 1).float() / 255


def _size(image: Tensor) -> str:
    return f"{image.shape[-1]}x{image.shape[-2]}"


def _write(file: Path, rows: Mapping[str, Mapping[str, Any]], names: set[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as stream:
        columns = [name for name in next(iter(rows.values())) if name in names]
        writer = csv.writer(stream)
        writer.writerow(["image", *columns])
        writer.writerows([path, *(row[name] for name in columns)] for path, row in rows.items())
