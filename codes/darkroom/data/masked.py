"""Images, what is missing of them, and their edges, for EdgeConnect: https://arxiv.org/abs/1901.00212.

As in https://github.com/knazeri/edge-connect. What differs: masks may have colours; external edges of a picture that is
not cut are not cut either; a mask without a hole is left out; and a file that cannot be read is named and replaced by
the next one (there by the first image, without a word).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..core.errors import DataError
from ..filters.canny import canny, gray
from . import DATASETS
from .aligned import subset
from .augment import Array, several, to_tensor
from .dataset import UnreadableImage
from .flist import list_files
from .images import Picture, as_bytes, read
from .masks import KINDS, SHAPES, Hole, Kind, Size


class _Files(NamedTuple):
    """What belongs to one image."""

    image: str
    mask: str | None
    edge: str | None


@DATASETS.register("masked")
class Masked:
    """Items ``image`` (3, H, W), ``mask`` (1, H, W), 255 where it is missing, and ``edge`` (1, H, W), 255 on an edge.

    Images are the squares in the middle, resized as Pillow's bilinear does. Transparency is dropped and the colour
    below it kept as it is stored; 16 bits become 8.
    """

    yields: ClassVar[tuple[str, ...]] = ("image", "mask", "edge")
    crop: int | None = None
    strays: Sequence[Path] = ()
    kernels: Sequence[str] = ()

    def __init__(
        self,
        images: str | tuple[str, ...],
        masks: str | tuple[str, ...] = (),
        edges: str | tuple[str, ...] = (),
        mask: Kind = "block",
        size: int = 256,
        sigma: float = 2.0,
        nms: bool = True,
        masked_edges: bool = False,
        flip: bool = False,
        subset_file: str | None = None,
        limit: int | None = None,
        reader: Callable[[str], Picture] = read,
    ) -> None:
        """List images, masks and external edges, each in text files (.flist), folders or single files.

        ``mask`` is a ``block`` of half the height and width, the left or right ``half``, ``strokes`` of a brush, any
        one of the ``external`` masks, or one of several by chance; with ``paired``, mask n belongs to image n, and a
        single one to all. What is not black is missing. ``size`` is the side that images get, 0 leaves them as they
        are. Edges are Canny's for ``sigma``: 0 draws 1 to 4 for each item, -1 makes none. With ``edges``, file n has
        those of image n; ``nms`` thins them out to where Canny has edges of exactly that ``sigma``. With
        ``masked_edges`` Canny sees only what is not missing, as in a test. ``flip`` mirrors half of the items.
        ``subset_file`` lists names below the folders of the images, one a line, to which they are restricted;
        ``limit`` takes the first so many.

        Raises:
            DataError: a list or folder is missing or empty, or has not one file for each image.
            ValueError: an option that cannot be, or does not fit the others.
        """
        self.size, self.sigma, self.nms, self.masked_edges, self.flip = size, float(sigma), nms, masked_edges, flip
        self._read = reader
        self._check(mask, limit, bool(images), bool(masks), bool(edges))
        self._shapes = KINDS[mask]
        found, given = _listed(images), _listed(masks)
        self._masks = [] if mask == "paired" else given
        own = [] if self._masks else given * (len(found) if len(given) == 1 else 1)
        belonging = _belonging(found, own, "masks"), _belonging(found, _listed(edges), "edges")
        self._files = [_Files(*files) for files in zip(found, *belonging, strict=True)]
        if subset_file is not None:
            roots = [*several(images), *dict.fromkeys(str(Path(path).parent) for path in found)]
            chosen = {str(path) for path, _ in subset([(Path(path), None) for path in found], roots, subset_file)}
            self._files = [files for files in self._files if files.image in chosen]
        self._files = self._files[:limit]

    def _check(self, mask: str, limit: int | None, images: bool, masks: bool, edges: bool) -> None:
        if not images:
            raise ValueError("images: expected a list, a folder or an image, found none")
        if mask not in KINDS:
            raise ValueError(f"mask: expected {', '.join(KINDS)}, found {mask!r}")
        from_files = not {*KINDS[mask]} <= {*SHAPES}
        if from_files != masks:
            wanted = f"files for mask: {mask}, found none" if from_files else f"none, because mask: {mask} reads none"
            raise ValueError(f"masks: expected {wanted}")
        if self.size < 0:
            raise ValueError(f"size: expected 0 or more, found {self.size}")
        if not (self.sigma == -1 or 0 <= self.sigma < float("inf")):
            raise ValueError(f"sigma: expected more than 0, or 0 for any, or -1 for no edges, found {self.sigma:g}")
        if edges and self.nms and self.sigma == -1:
            raise ValueError("nms: expected false with sigma: -1, because it thins edges out by Canny's; found true")
        if limit is not None and limit < 1:
            raise ValueError(f"limit: expected at least 1, found {limit}")

    def __len__(self) -> int:
        """How many images there are."""
        return len(self._files)

    def pairs(self) -> list[tuple[Path, Path | None]]:
        """Every image, and then every mask and every file of edges, each alone and once."""
        belonging = [path for files in self._files for path in (files.mask, files.edge) if path is not None]
        return [(Path(p), None) for p in dict.fromkeys([*(f.image for f in self._files), *self._masks, *belonging])]

    @property
    def notes(self) -> tuple[str, ...]:
        """How many masks and edges there are, for the log."""
        masks = {*self._masks, *(files.mask for files in self._files)}
        counts = (masks, "masks"), ({files.edge for files in self._files}, "files of edges")
        return tuple(f"{len(paths - {None}):,} {name}" for paths, name in counts if paths - {None})

    def item(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Tensors ``image``, ``mask`` and ``edge``, uint8, and ``path`` of the image's file.

        Numbers are drawn in this order: which shape; those of the shape, or which file; sigma, if any may be; mirror.

        Raises:
            UnreadableImage: a file cannot be decoded, or is a mask without a hole.
        """
        files = self._files[index]
        small = self._fitted(as_bytes(self._read(files.image).pixels))
        image = np.broadcast_to(small, (*small.shape[:2], 3))
        hole = self._hole(index, (image.shape[0], image.shape[1]), rng)
        edge = self._edge(files, image, hole, rng)
        views = image, hole[:, :, None] * np.uint8(255), edge[:, :, None]
        step = -1 if self.flip and int(rng.integers(2)) else 1
        tensors = {name: to_tensor(view[:, ::step]) for name, view in zip(self.yields, views, strict=True)}
        return {**tensors, "path": files.image}

    def _fitted(self, pixels: Array, size: Size | None = None) -> Array:
        """(H', W', C) of an image (H, W, C), or of what belongs to one of that ``size``."""
        if self.size:
            return resized(central(pixels), (self.size, self.size))
        return pixels if size is None else resized(pixels, size)

    def _hole(self, index: int, size: Size, rng: np.random.Generator) -> Hole:
        shape = self._shapes[int(rng.integers(len(self._shapes)))]
        if shape in SHAPES:
            return SHAPES[shape](size, rng)
        own = self._files[index].mask
        if own is not None:
            return _missing(self._fitted(_mask_of(self._read(own)), size))
        # the index too, because another item takes the place of one whose mask is broken
        path = self._masks[(int(rng.integers(len(self._masks))) + index) % len(self._masks)]
        hole = _missing(resized(central(_mask_of(self._read(path))), size))
        if not hole.any():
            raise UnreadableImage(path, f"it is no mask: at {size[1]}x{size[0]} it is black throughout")
        return hole

    def _edge(self, files: _Files, image: Array, hole: Hole, rng: np.random.Generator) -> Array:
        """(H, W), uint8, of ``image`` (H, W, 3)."""
        known = ~hole if self.masked_edges else None
        if files.edge is not None:
            size = image.shape[0], image.shape[1]
            given: Array = self._fitted(as_bytes(self._read(files.edge).as_channels(1)), size)[:, :, 0]
            return given * canny(gray(image), self.sigma, known) if self.nms else given
        if self.sigma == -1:
            return np.zeros(hole.shape, np.uint8)
        sigma = self.sigma or int(rng.integers(1, 5))
        return canny(gray(image), sigma, known) * np.uint8(255)


def central(pixels: Array) -> Array:
    """The square in the middle of (H, W, C); a view."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]


def resized(pixels: Array, size: Size) -> Array:
    """(H', W', C) of (H, W, C), uint8, by Pillow's bilinear filter, which takes the mean of what is made smaller."""
    from PIL import Image

    if pixels.shape[:2] == size:
        return pixels
    image = Image.fromarray(np.ascontiguousarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels))
    out = np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))
    return out.reshape(*size, pixels.shape[2])


def _mask_of(picture: Picture) -> Array:
    """The pixels of a mask; of 16 bits too, all that are not 0 stay so."""
    return np.minimum(picture.pixels, 255).astype(np.uint8)


def _missing(mask: Array) -> Hole:
    hole: Hole = mask.max(axis=2) > 0
    return hole


def _listed(given: str | tuple[str, ...]) -> list[str]:
    return [str(path) for path in list_files(several(given))] if given else []


def _belonging(images: Sequence[str], others: Sequence[str], what: str) -> Sequence[str | None]:
    """The file of each image, of the same number; None for all if there are no ``others``.

    Raises:
        DataError: there are more or less of them than images.
    """
    if others and len(others) != len(images):
        alone = (others[len(images) :] or images[len(others) :])[0]
        raise DataError(
            f"{what}: expected one for each of the {len(images)} images, in the same order, found {len(others)}; "
            f"the first one that stands alone is {alone}"
        )
    return others or [None] * len(images)
