"""What a dataset is: items by index, each drawn with a generator of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from ..core.errors import DataError


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
    """Side of the random part of an image that an item is; None for whole images."""
    strays: Sequence[Path]
    """Files that belong to no item."""
    kernels: Sequence[str]
    """What makes inputs that no file has."""

    @property
    def notes(self) -> Sequence[str]:
        """What the user should know about the files, for the log."""
        ...

    def pairs(self) -> list[tuple[Path, Path | None]]:
        """The files of every item: the image, and its degraded input if there is a file of it."""
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
