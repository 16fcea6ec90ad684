"""A look at every file of a dataset before training: what is there, what is missing, what does not fit."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import DataError
from .folders import some
from .images import Header, UnreadableImage, header


@dataclass(frozen=True)
class Survey:
    """What was found. Each finding is one line that begins with the file's name."""

    targets: int
    """How many images there are, not counting inputs."""
    inputs: int
    """How many of them have an input file."""
    usable: int
    """How many can be trained on, though the small ones may have to be padded."""
    unreadable: tuple[str, ...] = ()
    """Files whose head cannot be read: missing, empty, truncated, no images."""
    mismatched: tuple[str, ...] = ()
    """Inputs that cannot be used, as their size is not that of their target over the scale."""
    adapted: tuple[str, ...] = ()
    """Such inputs in a dataset that makes something of them."""
    small: tuple[str, ...] = ()
    """Targets smaller than the crop."""
    strays: tuple[str, ...] = ()
    """Inputs without a target."""
    alone: tuple[str, ...] = ()
    """Targets without an input, in a dataset that has inputs."""
    smallest: tuple[int, int] | None = None
    """Width and height of the target with the fewest pixels."""
    largest: tuple[int, int] | None = None
    """Width and height of the target with the most pixels."""
    gray: int = 0
    """Targets of one channel."""
    transparent: int = 0
    """Targets with alpha, which is dropped."""
    deep: int = 0
    """Targets of 16 bits."""

    def report(self, shown: int = 10) -> str:
        """Several lines for the terminal, with at most ``shown`` names of each kind."""
        lines = [self._counts()]
        for title, findings in (
            ("Unreadable", self.unreadable),
            ("Inputs of the wrong size", self.mismatched),
            ("Inputs of another size, which the dataset resizes or makes anew", self.adapted),
            ("Targets smaller than the crop", self.small),
            ("Targets without an input file, theirs is made", self.alone),
            ("Inputs without a target, not used", self.strays),
        ):
            if findings:
                lines += [f"{title}: {len(findings)}", *(f"  {line}" for line in findings[:shown])]
                lines += [f"  and {len(findings) - shown} more"] if len(findings) > shown else []
        return "\n".join(lines)

    def _counts(self) -> str:
        kinds = ((self.gray, "gray"), (self.transparent, "with transparency"), (self.deep, "of 16 bits"))
        sizes = ""
        if self.smallest and self.largest:
            low, high = (f"{w}x{h}" for w, h in (self.smallest, self.largest))
            sizes = f", {low}" if low == high else f", {low} to {high}"
        special = "".join(f", {count} {kind}" for count, kind in kinds if count)
        inputs = f", {self.inputs} with an input file" if self.inputs or self.alone else ""
        return f"{self.targets} images{inputs}{sizes}{special}"


Head = Header | UnreadableImage


def survey(
    pairs: Sequence[tuple[Path, Path | None]],
    scale: int = 1,
    crop: int | None = None,
    strays: Sequence[Path] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
    threads: int | None = None,
    refuse: bool = True,
) -> Survey:
    """Read the head of every file of ``pairs`` (target, input or None) in ``threads`` side by side.

    ``strays`` are inputs that have no target, as a dataset's pairing found them. ``progress`` is called with the number
    of pairs that are done and the number of all. Inputs that do not fit their targets can be used unless the dataset
    is to ``refuse`` them. No pixel is decoded, so damage inside of a file is not found.
    """
    heads = []
    pool = ThreadPoolExecutor(threads or min(16, 4 * (os.cpu_count() or 1)))
    try:
        for both in pool.map(_heads, pairs):
            heads.append(both)
            progress(len(heads), len(pairs))
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C
    has_inputs = any(partner is not None for _, partner in pairs)
    found = [(t, _large(t, h, scale), p, q) for (t, p), (h, q) in zip(pairs, heads, strict=True)]
    targets = [h for _, h, _, _ in found if isinstance(h, Header)]
    misfits = tuple(line for entry in found if (line := _mismatch(*entry, scale)) is not None)
    readable = sum(not isinstance(h, UnreadableImage) and not isinstance(q, UnreadableImage) for _, h, _, q in found)
    by_area = sorted(((h.width, h.height) for h in targets), key=lambda s: s[0] * s[1])
    return Survey(
        targets=len(pairs),
        inputs=sum(p is not None for _, p in pairs),
        usable=readable - (len(misfits) if refuse else 0),
        unreadable=tuple(
            str(h) for _, head, _, other in found for h in (head, other) if isinstance(h, UnreadableImage)
        ),
        mismatched=misfits if refuse else (),
        adapted=() if refuse else misfits,
        small=tuple(
            f"{t}: {h.width}x{h.height}" for t, h, _, _ in found if isinstance(h, Header) and _is_small(h, crop)
        ),
        strays=tuple(str(p) for p in strays),
        alone=tuple(str(t) for t, p in pairs if p is None) if has_inputs else (),
        smallest=by_area[0] if by_area else None,
        largest=by_area[-1] if by_area else None,
        gray=sum(h.channels == 1 for h in targets),
        transparent=sum(h.alpha for h in targets),
        deep=sum(h.bits == 16 for h in targets),
    )


def refuse_misfits(name: str, pairs: Sequence[tuple[Path, Path | None]], scale: int, count: int = 100) -> None:
    """Look at the heads of ``count`` pairs, spread over the dataset ``name``: a few may be wrong, many may not.

    Raises:
        DataError: more than one input, and more than a tenth, have a size that does not fit their targets; or all.
    """
    both = [pair for pair in pairs if pair[1] is not None]
    found = survey(both[:: -(-len(both) // count)] if both else [], scale)
    wrong = len(found.mismatched)
    if wrong > max(1, found.targets / 10) or wrong == found.targets > 0:
        raise DataError(
            f"dataset {name!r}: {wrong} of {found.targets} pairs that were looked at do not fit together at scale "
            f"{scale}: {some(found.mismatched, 2)}. Either scale is wrong, or the folder of the inputs is not that of "
            "these targets"
        )


def _heads(paths: tuple[Path, Path | None]) -> tuple[Head, Head | None]:
    return _head(paths[0]), None if paths[1] is None else _head(paths[1])


def _head(path: Path) -> Head:
    try:
        return header(path)
    except UnreadableImage as error:
        return error


def _large(target: Path, head: Head, scale: int) -> Head:
    """The head, unless the image has no pixel left at the scale."""
    if isinstance(head, Header) and min(head.width, head.height) < scale:
        return UnreadableImage(str(target), f"it is {head.width}x{head.height}, smaller than a pixel at scale {scale}")
    return head


def _is_small(head: Header, crop: int | None) -> bool:
    return crop is not None and min(head.width, head.height) < crop


def _mismatch(target: Path, head: Head, partner: Path | None, other: Head | None, scale: int) -> str | None:
    if not isinstance(head, Header) or not isinstance(other, Header):
        return None
    sides = ((head.width, other.width), (head.height, other.height))
    if all(small in (large // scale, -(-large // scale)) for large, small in sides):
        return None
    needed = f"{head.width // scale}x{head.height // scale}"
    return f"{partner}: {other.width}x{other.height}, for {target} of {head.width}x{head.height} it should be {needed}"
