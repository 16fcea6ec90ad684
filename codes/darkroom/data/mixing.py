"""Folders of which more is taken than of others: ``target: [{path: A, weight: 3}, B]``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..core.errors import DataError
from .dataset import Group


@dataclass(frozen=True)
class Folder:
    """A folder of images, and how often one is taken from it next to the other folders."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    path: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what is no weight.

        Raises:
            ValueError: that is so.
        """
        if not 0 < self.weight < float("inf"):
            raise ValueError(f"weight: expected more than 0, found {self.weight:g} for {self.path}")


def paths_of(given: str | Sequence[str | Folder]) -> tuple[str, ...]:
    """The folders without their weights."""
    if isinstance(given, str):
        return (given,)
    return tuple(folder.path if isinstance(folder, Folder) else folder for folder in given)


def groups_of_folders(given: str | Sequence[str | Folder], images: Sequence[str], split: bool) -> tuple[Group, ...]:
    """One group for each folder, if any has a weight or they are to be ``split``; else one group.

    ``images`` follow one another in the order of the folders that they were listed by.

    Raises:
        DataError: a folder has none of them.
    """
    folders = [given] if isinstance(given, str) else given
    if not split and not any(isinstance(folder, Folder) for folder in folders):
        return (Group(len(images), 1.0),)
    roots = [Path(path).expanduser() for path in paths_of(given)]
    counts, place = [0] * len(roots), 0
    for image in map(Path, images):
        while not image.is_relative_to(roots[place]):
            place += 1
        counts[place] += 1
    if 0 in counts:
        folder = roots[counts.index(0)]
        raise DataError(f"no image of {folder} is left by subset_file, limit and the folders before it; leave it out")
    weights = [folder.weight if isinstance(folder, Folder) else 1.0 for folder in folders]
    return tuple(Group(count, weight) for count, weight in zip(counts, weights, strict=True))


def shares_text(roots: Sequence[str], groups: Sequence[Group], what: str) -> tuple[str, ...]:
    """``75% of the samples: A, 300 images`` for each folder; nothing if there is one group."""
    if len(groups) < 2:
        return ()
    whole = sum(group.share for group in groups)
    parts = zip(roots, groups, strict=True)
    return tuple(f"{group.share / whole:.0%} of the {what}: {root}, {group.length:,} images" for root, group in parts)
