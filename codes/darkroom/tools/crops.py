"""Training crops from a collection of photographs, at random places and of several sizes.

A photograph reduced 2, 4 and 8 times has further crops to give, and those of JPEG files from telephones are sharp only
once they are reduced, which takes away their noise and the traces of their compression. The crops lie in folders of
1000, ``12/12678.png``, because a folder of 400,000 files is slow everywhere.

Which crops a photograph gives follows from the seed and its path in the collection, and not from other photographs.
"""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import DataError
from ..data.folders import list_by_root
from ..data.images import Picture, header, read, write
from ..filters.resize import axes, resize_uint8
from .detail import gray, sharpness
from .work import Failure, Journal, Report, Task, Workers, apart, carry_out, write_table

Array = np.ndarray[Any, np.dtype[Any]]

PLAN = "crops.csv"
_FOLDER = 1000
_TRIES = 10
"""So many places are looked at for a crop with enough detail."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CropSettings:
    """What crops are made of a photograph."""

    size: int = 256
    """Side of a crop."""
    scales: tuple[int, ...] = (1, 2, 4, 8)
    """The photograph is reduced by each of these, where it remains large enough."""
    density: float = 1.0
    """How many crops see a pixel, on average, at each scale."""
    jpeg_shrink: int = 2
    """JPEG files are reduced by so much in addition; 1: not."""
    min_detail: float = 0.0
    """Crops of a sharpness below this are not written; see ``detail.sharpness``."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense."""
        if min(self.size, self.jpeg_shrink, *self.scales) < 1 or not self.scales:
            raise ValueError("size, scales, jpeg_shrink: expected whole numbers from 1 on")
        if not 0 < self.density < math.inf or self.min_detail < 0:
            raise ValueError("expected a density above 0 and a min_detail from 0 on")


def crops(
    inputs: Sequence[Path], output: Path, settings: CropSettings | None = None, workers: Workers | None = None
) -> Report:
    """Write crops of all photographs of ``inputs``; ``crops.csv`` in ``output`` says which numbers are of which.

    Photographs that are new at a second run get the numbers that follow.

    Raises:
        DataError: there is no image, the output is not apart from the inputs, or it was made with other settings.
    """
    settings, workers = settings or CropSettings(), workers or Workers()
    apart(inputs, [output])
    photographs = _listed(inputs)
    journal = Journal(output, "crops", asdict(settings))
    plan, failed = _plan(photographs, output / PLAN, settings, workers)
    todo = [Task(path, {}) for path in photographs if path in plan]

    def cut(task: Task) -> list[Path]:
        first, count = plan[task.source]
        written = []
        for number, pixels in enumerate(draw(task.source, photographs[task.source], count, settings), first):
            target = output / str(number // _FOLDER) / f"{number}.png"
            if pixels is not None:
                target.parent.mkdir(parents=True, exist_ok=True)
                write(target, pixels)
                written.append(target)
        return written

    report = carry_out(todo, cut, journal, workers)
    report.failed[:0] = failed
    return report


def _listed(inputs: Sequence[Path]) -> dict[Path, str]:
    """Photographs, and their paths below the inputs."""
    roots = [root.expanduser() for root in inputs]
    return {
        file.absolute(): file.name if file == root else file.relative_to(root).as_posix()
        for root, files in zip(roots, list_by_root(roots), strict=True)
        for file in files
    }


def _plan(
    photographs: Collection[Path], file: Path, settings: CropSettings, workers: Workers
) -> tuple[dict[Path, tuple[int, int]], list[Failure]]:
    """The first number and the count of the crops of each photograph, as ``file`` says or will say; who has no head.

    It is written before any crop is, so that a run that is killed leaves no number that another photograph takes.
    """
    plan = _read_plan(file)
    new = [path for path in photographs if path not in plan]
    after = max((first + count for first, count in plan.values()), default=0)
    failed, small = [], 0
    for path, count in workers.over(new, lambda path: _count(path, settings), lambda path: path, "head"):
        if isinstance(count, Failure):
            failed.append(count)
        elif count:
            plan[path] = (after, count)
            after += count
        else:
            small += 1
    if small:
        workers.say(f"{small} of {len(photographs)} photographs are too small for crops of {settings.size}")
    write_table(file, ("first", "count", "photograph"), ((*numbers, path) for path, numbers in plan.items()))
    return plan, failed


def _read_plan(file: Path) -> dict[Path, tuple[int, int]]:
    if not file.exists():
        return {}
    with file.open(encoding="utf-8", errors="surrogateescape", newline="") as lines:
        rows = list(csv.reader(lines))[1:]
    try:
        return {Path(path): (int(first), int(count)) for first, count, path in rows}
    except ValueError:
        raise DataError(f"{file}: expected rows of first, count, photograph. Take another folder") from None


def _count(path: Path, settings: CropSettings) -> int:
    head = header(path)
    return len(reductions((head.height, head.width), _is_jpeg(path), settings))


def _is_jpeg(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\xff\xd8"


def reductions(size: tuple[int, int], jpeg: bool, settings: CropSettings) -> list[int]:
    """By how much a photograph of ``size`` (H, W) is reduced for each of its crops."""
    found = []
    for scale in settings.scales:
        factor = scale * (settings.jpeg_shrink if jpeg else 1)
        height, width = (axis.out for axis in axes(size, 1 / factor, None))
        if min(height, width) >= settings.size:
            found += [factor] * max(round(settings.density * height * width / settings.size**2), 1)
    return found


def draw(path: Path, key: str, count: int, settings: CropSettings) -> Iterator[Array | None]:
    """``count`` crops of a photograph in turn, None for one without enough detail; ``key`` goes into the seed.

    Each is cut out of the whole reduced photograph, but no more than the crop is computed of it.
    """
    pixels = read(path).pixels
    factors = reductions(pixels.shape[:2], _is_jpeg(path), settings)
    if not factors:
        raise DataError(f"it has become too small for crops of {settings.size}")
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
    rng = np.random.default_rng([settings.seed, *digest])
    for factor in islice(cycle(factors), count):
        yield _crop(pixels, factor, rng, settings)


def _crop(pixels: Array, factor: int, rng: np.random.Generator, settings: CropSettings) -> Array | None:
    height, width = (axis.out for axis in axes(pixels.shape[:2], 1 / factor, None))
    side = settings.size
    for _ in range(_TRIES if settings.min_detail else 1):
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        if factor == 1:
            crop = pixels[top : top + side, left : left + side]
        else:
            crop = resize_uint8(pixels, 1 / factor, window=(top, left, side, side))
        if not settings.min_detail or sharpness(gray(Picture(crop))) >= settings.min_detail:
            return crop
    return None
