"""Images without a target, for testing and for models that learn from one domain."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from . import DATASETS
from .augment import to_tensor
from .folders import list_images
from .images import read


@DATASETS.register("single")
class Single:
    """Items ``input`` (C, H, W): whole images. Transparency is dropped, the colour below it kept."""

    yields: ClassVar[tuple[str, ...]] = ("input",)
    crop: int | None = None
    strays: Sequence[Path] = ()
    notes: Sequence[str] = ()
    kernels: Sequence[str] = ()

    def __init__(
        self,
        input: str | tuple[str, ...],  # noqa: A002 - the name of the tensor
        channels: Literal[1, 3] = 3,
        limit: int | None = None,
    ) -> None:
        """List the images of the folders ``input``; ``limit`` takes the first so many.

        Raises:
            DataError: a folder is missing or has no images.
            ValueError: ``channels`` is neither 1 nor 3, or ``limit`` below 1.
        """
        if channels not in (1, 3):
            raise ValueError(f"channels: expected 1 or 3, found {channels}")
        if limit is not None and limit < 1:
            raise ValueError(f"limit: expected at least 1, found {limit}")
        self.channels = channels
        self._paths = [str(p) for p in list_images((input,) if isinstance(input, str) else input)[:limit]]

    def __len__(self) -> int:
        """How many images there are."""
        return len(self._paths)

    def pairs(self) -> list[tuple[Path, Path | None]]:
        """Every image, as ``Aligned.pairs`` gives them."""
        return [(Path(p), None) for p in self._paths]

    def item(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """The tensor ``input``, uint8 or uint16 as its file is, and ``path``; nothing is drawn.

        Raises:
            UnreadableImage: the file cannot be decoded.
        """
        del rng
        path = self._paths[index]
        return {"input": to_tensor(read(path).as_channels(self.channels)), "path": path}
