"""Images without a target, for testing and for models that learn from one domain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from . import DATASETS
from .augment import Array, to_tensor
from .folders import list_images
from .images import Picture, read
from .preprocess import Preprocess, Rounding, Small


@DATASETS.register("single")
class Single:
    """Items ``input`` (C, H, W): whole images, unless they are to be resized or cut.

    Transparency is dropped, the colour below it kept.
    """

    yields: ClassVar[tuple[str, ...]] = ("input",)
    strays: Sequence[Path] = ()
    notes: Sequence[str] = ()
    kernels: Sequence[str] = ()

    def __init__(
        self,
        input: str | tuple[str, ...],  # noqa: A002 - the name of the tensor
        channels: Literal[1, 3] = 3,
        limit: int | None = None,
        preprocess: str | None = None,
        load_size: int | tuple[int, ...] | None = None,
        crop_size: int | None = None,
        center_crop_size: int | None = None,
        aspect_ratio: float | None = None,
        none: Rounding = "power2",
        multiple_of: int = 4,
        small: Small = "pad",
        antialias: bool = False,
        reader: Callable[[str], Picture] = read,
    ) -> None:
        """List the images of the folders ``input``; ``limit`` takes the first so many.

        For the options from ``preprocess`` on see ``Preprocess``; without it, images stay as they are.

        Raises:
            DataError: a folder is missing or has no images.
            ValueError: an option that does not fit the others.
        """
        if channels not in (1, 3):
            raise ValueError(f"channels: expected 1 or 3, found {channels}")
        if limit is not None and limit < 1:
            raise ValueError(f"limit: expected at least 1, found {limit}")
        sizes = load_size, crop_size, center_crop_size, aspect_ratio
        if preprocess is None and any(size is not None for size in sizes):
            raise ValueError("preprocess: expected what to do with the sizes, such as scale_width, found none")
        self._preprocess = None
        if preprocess is not None:
            self._preprocess = Preprocess(preprocess, *sizes, none, multiple_of, small, antialias)
        self.crop = None if self._preprocess is None else self._preprocess.cut
        self.channels, self._read = channels, reader
        self._paths = [str(p) for p in list_images((input,) if isinstance(input, str) else input)[:limit]]

    def __len__(self) -> int:
        """How many images there are."""
        return len(self._paths)

    def pairs(self) -> list[tuple[Path, Path | None]]:
        """Every image, as ``Aligned.pairs`` gives them."""
        return [(Path(p), None) for p in self._paths]

    def item(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """The tensor ``input``, uint8 or uint16 as its file is, and ``path``; ``Preprocess.plan`` may draw numbers.

        Raises:
            UnreadableImage: the file cannot be decoded, or is too small.
        """
        path = self._paths[index]
        return {"input": to_tensor(self.view(self._read(path), rng, path)), "path": path}

    def view(self, picture: Picture, rng: np.random.Generator | None = None, path: str = "the image") -> Array:
        """(H, W, channels) of a picture, as in an item. Without ``rng`` nothing is left to chance.

        Raises:
            UnreadableImage: the picture, called ``path``, is too small.
        """
        pixels = picture.as_channels(self.channels)
        return pixels if self._preprocess is None else self._preprocess.plan(picture.size, rng, path)(pixels)

    def whole(self, picture: Picture, other: Picture | None = None) -> tuple[Picture, None]:
        """The picture, resized and cut as in an item if it is to be, its transparency alike.

        Raises:
            UnreadableImage: it is too small.
        """
        del other
        if self._preprocess is None:
            return picture, None
        geometry = self._preprocess.plan(picture.size)
        alpha = None if picture.alpha is None else geometry(picture.alpha[:, :, None])[:, :, 0]
        return Picture(np.ascontiguousarray(geometry(picture.pixels)), alpha), None
