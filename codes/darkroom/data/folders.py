"""Finding images in folders, and the low-resolution partner of each high-resolution image by name."""

from __future__ import annotations

import difflib
import gc
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..core.errors import DataError
from .formats import IMAGE_SUFFIXES
from .listing import list_folder, natural
from .lmdb_folder import is_lmdb, list_lmdb

__all__ = ["Pairing", "list_by_root", "list_images", "natural", "nearby", "pair", "some"]

_NAMES_SHOWN = 10


def some(names: Iterable[object], shown: int = _NAMES_SHOWN) -> str:
    """``a, b, c and 17 more``."""
    listed = [str(n) for n in names]
    rest = f" and {len(listed) - shown} more" if len(listed) > shown else ""
    return ", ".join(listed[:shown]) + rest


def list_images(roots: Sequence[Path | str]) -> list[Path]:
    """All images below the folders ``roots`` (or the files ``roots``), in natural order within each, none twice.

    Links to folders are followed, each folder once. Names that begin with a dot are left out.

    Raises:
        DataError: a folder does not exist, or has no images.
    """
    return [path for images in list_by_root(roots) for path in images]


def list_by_root(roots: Sequence[Path | str]) -> list[list[Path]]:
    """As ``list_images``, one list for each root; an image below two roots belongs to the first."""
    seen: set[str] = set()
    with _uncollected():
        return [_list_root(Path(root).expanduser(), seen, alone=len(roots) == 1) for root in roots]


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without Python's search for garbage, which takes a third of the time where a million objects are made to stay."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _list_root(root: Path, seen: set[str], *, alone: bool) -> list[Path]:
    if not root.exists():
        raise DataError(f"there is no {root}.{nearby(root)}")
    if root.is_file():
        found = [(str(root), os.path.realpath(root))]
    elif is_lmdb(root):
        found = [(str(path), f"{os.path.realpath(root)}{os.sep}{path.relative_to(root)}") for path in list_lmdb(root)]
    else:
        listing = list_folder(root)
        if alone and listing.names and not listing.links:  # then none can be there twice
            return [Path(path) for path in listing.below(str(root))]
        found = list(listing.paths(str(root)))
    if not found:
        held = some(sorted(p.name for p in root.iterdir()), 5)
        endings = " ".join(sorted(IMAGE_SUFFIXES))
        raise DataError(f"{root} has no images, nor have its subfolders ({endings}). It holds: {held or 'nothing'}")
    new = []
    for path, real in found:
        if real not in seen:
            seen.add(real)
            new.append(Path(path))
    return new


def nearby(path: Path) -> str:
    """``" Did you mean 'data/train/HR'?"`` instead of ``data/trian/HR``; nothing if there is nothing like it."""
    found = _nearest(path)
    return "" if found is None else f" Did you mean {str(found)!r}?"


def _nearest(path: Path) -> Path | None:
    """What there is by nearly that path, each of its parts with a typo at most."""
    if path.exists():
        return path
    parent = _nearest(path.parent) if path.parent != path else None
    if parent is None or not parent.is_dir():
        return None
    if (parent / path.name).exists():
        return parent / path.name
    there = {p.name.lower(): p.name for p in parent.iterdir() if not p.name.startswith(".")}
    near = difflib.get_close_matches(path.name.lower(), there, n=1)
    return parent / there[near[0]] if near else None


@dataclass(frozen=True)
class Pairing:
    """Which input belongs to which target."""

    pairs: tuple[tuple[Path, Path | None], ...]
    """Every target in order, with its input or None."""
    strays: tuple[Path, ...] = ()
    """Inputs that no target belongs to."""
    ambiguous: tuple[tuple[str, tuple[Path, ...], tuple[Path, ...]], ...] = ()
    """Names that several files could be paired by: the name, the targets and the inputs."""

    @property
    def alone(self) -> tuple[Path, ...]:
        """Targets without input."""
        return tuple(target for target, partner in self.pairs if partner is None)


@dataclass(frozen=True)
class _Entry:
    path: Path
    root: int
    relative: str

    @cached_property
    def name(self) -> str:
        return self.relative.casefold()

    @cached_property
    def stem(self) -> str:
        return self.name.removesuffix(self.path.suffix.casefold())

    @cached_property
    def plain(self) -> str:
        """The stem without the marks of a resolution, such as ``x4``, ``_SRF_4_LR`` and ``_HR``."""
        folder, slash, last = self.stem.rpartition("/")
        last = re.sub(r"(?<=.)(?:[_-]?srf[_-]?\d+)?[_-](?:lr|hr|gt|lq|hq)$", "", last)
        return folder + slash + re.sub(r"(?<=.)[_-]?x\d+[a-z]?$", "", last)

    @cached_property
    def bare(self) -> str:
        return self.plain.rpartition("/")[2]

    def is_of(self, scale: int) -> bool | None:
        """Whether the name says that it is of this scale; None if it says nothing."""
        found = re.search(r"(?<=.)(?:x(\d+)[a-z]?$|srf[_-]?(\d+))", self.stem)
        return None if found is None else int(found[1] or found[2]) == scale


_KEYS: tuple[Callable[[_Entry], object], ...] = (
    lambda e: e.relative,
    lambda e: e.name,
    lambda e: e.stem,
    lambda e: e.plain,
    lambda e: e.bare,
)
"""What two files may have in common, from the surest to the vaguest."""


def pair(target_roots: Sequence[Path | str], input_roots: Sequence[Path | str], scale: int | None = None) -> Pairing:
    """Find the input of every target by name: the same path below its folder, whatever the ending.

    As many folders of inputs as of targets belong together one to one; otherwise an input may be in any of them.
    Where no path is the same, marks of a resolution (``x4``, ``_LR``) are overlooked, and then subfolders too, if the
    name is unique; ``scale`` chooses between ``x2`` and ``x4``. No pair depends on the position of a file in a list,
    so one that is missing or too many disturbs no other.

    Raises:
        DataError: see ``list_images``.
    """
    with _uncollected():
        return _pair(target_roots, input_roots, scale)


def _pair(target_roots: Sequence[Path | str], input_roots: Sequence[Path | str], scale: int | None) -> Pairing:
    together = len(target_roots) == len(input_roots)
    targets, inputs = _entries(target_roots, together), _entries(input_roots, together)
    found: dict[Path, Path] = {}
    taken: set[Path] = set()
    ambiguous = {}
    for key in _KEYS:
        if len(found) == len(targets):
            break
        by_key = _grouped(inputs, key)
        for name, group in _grouped(targets, key).items():
            candidates = _of_scale(by_key.get(name, []), scale)
            if all(e.path in taken for e in candidates) or all(e.path in found for e in group):
                continue
            if len(group) == len(candidates) == 1:
                found[group[0].path] = candidates[0].path
                taken.add(candidates[0].path)
            elif not any(e.path in found for e in group):
                names = tuple(e.path for e in group), tuple(e.path for e in candidates)
                ambiguous[group[0].root, group[0].bare] = (group[0].bare, *names)
    undecided = tuple(a for a in ambiguous.values() if not any(t in found for t in a[1]))
    strays = tuple(e.path for e in inputs if e.path not in taken)
    return Pairing(tuple((e.path, found.get(e.path)) for e in targets), strays, undecided)


def _entries(roots: Sequence[Path | str], by_root: bool) -> list[_Entry]:
    out = []
    for number, (given, images) in enumerate(zip(roots, list_by_root(roots), strict=True)):
        root = Path(given).expanduser()
        base = root.parent if root.is_file() else root
        skip = len(str(base / "_")) - 1
        belongs = number if by_root else 0
        out += [_Entry(path, belongs, str(path)[skip:].replace(os.sep, "/")) for path in images]
    return out


def _grouped(entries: Iterable[_Entry], key: Callable[[_Entry], object]) -> dict[object, list[_Entry]]:
    groups: dict[object, list[_Entry]] = defaultdict(list)
    for entry in entries:
        groups[entry.root, key(entry)].append(entry)
    return groups


def _of_scale(candidates: list[_Entry], scale: int | None) -> list[_Entry]:
    """Of several candidates those that are marked with this scale, if any, and none that is marked with another."""
    if scale is None or len(candidates) < 2:
        return candidates
    marked = [e for e in candidates if e.is_of(scale)]
    return marked or [e for e in candidates if e.is_of(scale) is None]
