"""Find images that are nearly the same, and images in which there is little to see. Nothing is deleted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from ..data.folders import list_images
from ..data.images import as_bytes, read, write
from ..inference.sheets import Cell, sheet
from .detail import entropy, gray, sharpness
from .phash import check_distance, near_pairs, perceptual_hash
from .work import Failure, Journal, Workers, apart, look_at, write_table, write_text

_FLAT = 2.0
"""Standard deviation, in levels of 255, of an image whose hash is that of noise."""
_THUMB = 192


@dataclass(frozen=True, slots=True)
class Seen:
    """One image."""

    file: Path
    width: int
    height: int
    size: int
    """In bytes."""
    deviation: float
    """Of its levels, 0 to 127.5."""
    entropy: float
    sharpness: float
    hash: int

    @property
    def rank(self) -> tuple[int, int, str]:
        """Less for the one of a group that is to be kept: the largest image, then the largest file."""
        return -self.width * self.height, -self.size, str(self.file)


@dataclass(slots=True)
class Findings:
    """What was found. A group begins with the image that is to be kept."""

    seen: list[Seen] = field(default_factory=list)
    groups: list[list[Seen]] = field(default_factory=list)
    low: list[Seen] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)


def similar(
    inputs: Sequence[Path],
    output: Path,
    distance: int = 6,
    min_entropy: float = 3.0,
    min_sharpness: float = 10.0,
    pairs_shown: int = 20,
    workers: Workers | None = None,
) -> Findings:
    """Groups of images that differ in at most ``distance`` of the 64 bits of their hashes, and images of low detail.

    A group is an image that is to be kept and those that are near it. ``output`` gets ``report.csv``, a row for each
    image; ``similar.txt``, all images of the groups but the first of each; ``low_detail.txt``, those with an entropy or
    a sharpness below the limits; and ``similar.png``, which shows the first pairs side by side. What
    was measured is kept, so that a second run with other limits decodes nothing again.

    Raises:
        DataError: there is no image, or the output is not apart from the inputs.
        ValueError: the distance is not in 0..31.
    """
    check_distance(distance)
    apart(inputs, [output])
    files = list_images(inputs)
    found = Findings()
    outcomes = look_at(files, _look, lambda file: (file,), Journal(output, "similar"), workers or Workers())
    for file, outcome in zip(files, outcomes, strict=True):
        if isinstance(outcome, Failure):
            found.failed.append(outcome)
        else:
            found.seen.append(Seen(file, *outcome[:-1], int(outcome[-1], 16)))
    found.groups = groups(found.seen, distance)
    found.low = [s for s in found.seen if s.entropy < min_entropy or s.sharpness < min_sharpness]
    _report(found, output, pairs_shown)
    return found


def _look(file: Path) -> tuple[int, int, int, float, float, float, str]:
    levels = gray(read(file))
    height, width = levels.shape
    deviation, bits, sharp = (round(value, 3) for value in (float(levels.std()), entropy(levels), sharpness(levels)))
    return width, height, file.stat().st_size, deviation, bits, sharp, f"{perceptual_hash(levels):016x}"


def groups(seen: Sequence[Seen], distance: int) -> list[list[Seen]]:
    """Images to be kept, each with those near it by rank, in the order of their names. Flat images are left out.

    Of images that hang together, the one of the first rank is kept, and each that is near none of those kept before.
    """
    by_hash: dict[int, list[Seen]] = defaultdict(list)
    for image in seen:
        if image.deviation >= _FLAT:
            by_hash[image.hash].append(image)
    hashes = np.array([*by_hash], np.uint64)
    parents = list(range(len(hashes)))

    def root(i: int) -> int:
        while parents[i] != i:
            parents[i] = i = parents[parents[i]]
        return i

    for left, right, _ in near_pairs(hashes, distance):
        for a, b in zip(left.tolist(), right.tolist(), strict=True):
            parents[root(b)] = root(a)
    joined: dict[int, list[Seen]] = defaultdict(list)
    for number, images in enumerate(by_hash.values()):
        joined[root(number)] += images
    found = (group for images in joined.values() for group in _around_kept(images, distance) if len(group) > 1)
    return sorted(found, key=lambda group: str(group[0].file))


def _around_kept(images: Sequence[Seen], distance: int) -> list[list[Seen]]:
    """Groups of images that hang together."""
    found: list[list[Seen]] = []
    for image in sorted(images, key=lambda s: s.rank):
        near = next((group for group in found if (group[0].hash ^ image.hash).bit_count() <= distance), None)
        if near is None:
            found.append([image])
        else:
            near.append(image)
    return found


def _report(found: Findings, output: Path, pairs_shown: int) -> None:
    place = {s.file: (n, (s.hash ^ g[0].hash).bit_count()) for n, g in enumerate(found.groups, 1) for s in g}
    low = {s.file for s in found.low}
    head = ("file", "width", "height", "entropy", "sharpness", "low_detail", "group", "distance", "hash")
    write_table(
        output / "report.csv",
        head,
        (
            (s.file, s.width, s.height, s.entropy, s.sharpness, int(s.file in low), *place.get(s.file, ("", "")),
             f"{s.hash:016x}")
            for s in found.seen
        ),
    )  # fmt: skip
    copies = [(group[0], copy) for group in found.groups for copy in group[1:]]
    write_text(output / "similar.txt", "".join(f"{copy.file}\n" for _, copy in copies))
    write_text(output / "low_detail.txt", "".join(f"{s.file}\n" for s in found.low))
    rows = [[_cell(first, "keep"), _cell(copy, f"{place[copy.file][1]} bits")] for first, copy in copies[:pairs_shown]]
    if rows:
        write(output / "similar.png", sheet(rows, f"{len(copies)} images that are nearly another one"))


def _cell(image: Seen, note: str) -> Cell:
    pixels = as_bytes(read(image.file).as_channels(3))
    factor = min(_THUMB / max(image.width, image.height), 1)
    size = (max(round(image.width * factor), 1), max(round(image.height * factor), 1))
    name = "/".join(image.file.parts[-2:])
    name = name if len(name) < 36 else f"...{name[-32:]}"
    return f"{name} {image.width}x{image.height}, {note}", cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
