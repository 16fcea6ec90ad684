"""What a dataset is: items by index, each drawn with a generator of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np

from ..core.errors import DataError

if TYPE_CHECKING:
    from .images import Picture


class UnreadableImage(DataError):
    """One file that cannot be decoded. The stream names it once, takes another item in its place, and goes on."""

    def __init__(self, path: str, reason: str) -> None:
        """``path`` of the file and the decoder's ``reason``."""
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with both arguments, so that the error crosses from a worker process."""
        return type(self), (self.path, self.reason)


class ImageDataset(Protocol):
    """An item is a function of ``(index, rng)`` and of the files, so it is the same wherever it is made."""

    yields: ClassVar[tuple[str, ...]]
    """Names of the image tensors that an item may have."""

    crop: int | None
    """Side of the square that is cut out of images as they are, so that some may be too small; None if none is."""
    strays: Sequence[Path]
    """Files that belong to no item."""
    kernels: Sequence[str]
    """What makes inputs that no file has."""

    @property
    def notes(self) -> Sequence[str]:
        """What the user should know about the files, for the log."""
        ...

    def pairs(self) -> list[tuple[Path, Path | None]]:
        """All files: each image, with the input that belongs to it if there is a file of it."""
        ...

    def __len__(self) -> int:
        """How many items there are."""
        ...

    def item(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Image tensors (C, H, W), RGB, uint8 in 0..255 or uint16 in 0..65535, and ``path``, the name to report.

        Raises:
            UnreadableImage: a file of this item cannot be decoded.
        """
        ...


class Group(NamedTuple):
    """A stretch of the items of a dataset: the first so many, the next so many, ..."""

    length: int
    share: float
    """How often a sample or a batch is taken from it, next to the shares of the other groups."""


@runtime_checkable
class Prepared(Protocol):
    """A dataset whose whole images are not simply those of its files."""

    def whole(self, picture: Picture, other: Picture | None) -> tuple[Picture, Picture | None]:
        """Input and target, if there is one, of the pictures of two files that ``pairs`` gives; nothing is random.

        Raises:
            UnreadableImage: the sizes do not fit.
        """
        ...


@runtime_checkable
class Grouped(Protocol):
    """A dataset from whose groups more or less is taken. The items of all other datasets are one group."""

    groups: Sequence[Group]
    """They cover all items."""
    mixed: bool
    """Whether the group is chosen for each sample, or for each batch."""
