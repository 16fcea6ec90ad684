"""Pairs of a target and its degraded input, with maps of what is where, for SFTGAN: https://arxiv.org/abs/1804.02815.

The maps are made beforehand, by ``scripts/test_seg.py``: one file for each target, with a probability for every class
at every pixel. As in the published code, one item in ten is a crop of a general image, all of it background, and the
class of an image is a word in its name or folders. What differs: the word nearest to the file counts, not any part of
the path; images too small for a crop keep their proportions; shrinking averages instead of dropping pixels.
"""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from ..core.errors import DataError
from . import DATASETS
from .aligned import Aligned
from .augment import Array, Choice, draw_turn, to_tensor
from .crops import Box, Crop
from .dataset import UnreadableImage
from .folders import nearby, some
from .images import Picture, read
from .opening import check_crop

CATEGORIES = ("building", "plant", "mountain", "water", "sky", "grass", "animal")
"""Words by which the published code tells the class of an image, of numbers 1 to 7; all others are background, 0."""
MAP_SUFFIXES = (".npz", ".pth", ".pt", ".png")
"""Endings of files of maps, the first ones preferred where there are several of one name."""
KEY = "maps"
"""Name of the array in a .npz file: (classes, H, W), uint8, probabilities times 255."""
MARK = "_bic"
"""What ``test_seg.py`` puts after the name of an image."""
VOID = 255
"""Class index of pixels that nobody labelled; they count as background."""
BLOCK = 8
"""The published script cuts images to multiples of it, so maps may lack up to seven rows and columns."""


class _Scene(NamedTuple):
    path: str
    target: Array
    """(H, W, C)."""
    given: Array | None
    """(h, w, C), or None where the input is made of the target."""
    maps: Array | None
    """As of ``read_maps``; None is background throughout."""
    maps_path: str
    category: int


@DATASETS.register("segmented")
class Segmented:
    """Items ``input`` (C, h, w), ``target`` (C, s h, s w), ``maps`` (classes, s h, s w) and ``category``, an int64.

    Maps are uint8, 255 for a probability of 1. Crops, flips and turns are the same for all three; without ``crop``,
    items are whole images. Small targets without input files are enlarged to the crop; with input files, left out.
    """

    yields: ClassVar[tuple[str, ...]] = ("input", "target", "maps", "category")

    def __init__(
        self,
        target: str | tuple[str, ...],
        maps: str | tuple[str, ...] = (),
        input: str | tuple[str, ...] = (),  # noqa: A002 - the name of the tensor
        background: str | tuple[str, ...] = (),
        background_share: float = 0.1,
        crop: int | None = None,
        scale: int = 4,
        shrink: tuple[float, ...] = (1.0,),
        flip: bool = False,
        rotate: bool = False,
        channels: Literal[1, 3] = 3,
        kernel: str | tuple[str, ...] | Mapping[str, float] = "cubic",
        classes: int = 8,
        category: Literal["name", "maps"] = "name",
        categories: tuple[str, ...] = CATEGORIES,
        subset_file: str | None = None,
        limit: int | None = None,
        reader: Callable[[str], Picture] = read,
    ) -> None:
        """Pair the images of the folders ``target`` with maps and, as ``aligned`` does, with those of ``input``.

        ``maps`` are folders with ``photo.npz``, ``photo_bic.pth`` or ``photo.png`` (class indices) for ``photo.jpg``;
        without any, folders ``bicseg`` beside the targets' ``img``. Of the items ``background_share`` are crops of the
        folders ``background``. Crops of targets without input files are taken at one of the sizes ``shrink``.
        ``category`` comes from the ``name``, in which the n-th of the ``categories`` stands for class n, or is the
        class that covers most of the item's ``maps``.

        Raises:
            DataError: as of ``aligned``, or no target has maps.
            ValueError: a number that does not fit the others.
        """
        # whole pairs, or whole targets whose input is made of the crop; the crop is taken here, of the maps as well
        self._aligned = Aligned(
            target, input, scale=scale if input else 1, channels=channels, kernel=kernel, subset_file=subset_file,
            reader=reader,
        )  # fmt: skip
        self.crop, self.scale, self.flip, self.rotate = crop, scale, flip, rotate
        self.shrink, self.background_share, self._kernels = tuple(shrink), background_share, Choice.of(kernel)
        self.classes, self.category, self.categories = classes, category, tuple(categories)
        self._check(limit, bool(background))
        self._files = self._aligned.pairs()
        roots, map_roots = ((v,) if isinstance(v, str) else v for v in (target, maps))
        found, self._unused = find_maps([t for t, _ in self._files], roots, map_roots or _beside(roots))
        self._alone = [t for t, _ in self._files if t not in found]
        self._items = [(i, found[t]) for i, (t, _) in enumerate(self._files) if t in found][:limit]
        self._classes = [category_of(self._files[i][0], self.categories) for i, _ in self._items]
        self._backgrounds = Aligned(background, scale=1, channels=channels, reader=reader) if background else None
        self.kernels, self.strays = self._aligned.kernels, self._aligned.strays

    def _check(self, limit: int | None, has_background: bool) -> None:
        check_crop(self.crop, self.scale)
        for name, value in (("limit", limit), ("classes", self.classes)):
            if value is not None and value < 1:
                raise ValueError(f"{name}: expected at least 1, found {value}")
        if not 0 <= self.background_share <= 1:
            raise ValueError(f"background_share: expected 0 to 1, found {self.background_share}")
        if not self.shrink or not all(0 < s <= 1 for s in self.shrink):
            raise ValueError(f"shrink: expected sizes above 0 up to 1, found {list(self.shrink)}")
        if self.category not in ("name", "maps"):
            raise ValueError(f"category: expected name or maps, found {self.category!r}")
        if has_background and self.crop is None:
            raise ValueError("background: is for training on crops, and there is no crop; remove it")

    def __len__(self) -> int:
        """How many targets with maps there are; backgrounds come in addition."""
        return len(self._items)

    def pairs(self) -> list[tuple[Path, Path | None]]:
        """Every target that has maps, with its input or None."""
        return [self._files[i] for i, _ in self._items]

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about the files, for the log."""
        out = [*self._aligned.notes]
        if self._alone:
            out.append(
                f"{len(self._alone)} of {len(self._files)} targets have no maps and are not used: {some(self._alone)}. "
                "scripts/test_seg.py makes them"
            )
        if self._unused:
            out.append(f"{len(self._unused)} maps have no target and are not used: {some(self._unused)}")
        if self.category == "name":
            counts, words = Counter(self._classes), ("background", *self.categories)
            out.append("classes by name: " + ", ".join(f"{words[c]} {counts[c]}" for c in sorted(counts)))
            if set(counts) == {0}:
                out[-1] += ". The class loss is 0 throughout; category: maps takes the classes from the maps"
        return tuple(out)

    def item(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """The tensors of the class, and ``path`` of the target's file, which may be that of a background.

        Numbers are drawn in this order: whether a background and which (if there are any), size, row, column, kernel,
        mirror, turn.

        Raises:
            UnreadableImage: a file cannot be decoded, or its size does not fit.
        """
        scene = self._scene(index, rng)
        covered = scene.target.shape[:2]
        target = self._resized(scene, self.shrink[int(rng.integers(len(self.shrink)))])
        s = self.scale
        rows, columns = (side // s for side in target.shape[:2])
        height, width = (rows, columns) if self.crop is None else (self.crop // s,) * 2
        top, left = int(rng.integers(rows - height + 1)), int(rng.integers(columns - width + 1))
        kernel = self.kernels[0] if self.crop is None else self._kernels.draw(rng)
        turn = draw_turn(rng, self.flip, self.rotate)
        crop = Crop(target, Box(top, left, height, width).times(s))
        cut = crop.cut()
        if scene.given is not None:
            low = scene.given[top : top + height, left : left + width]
        elif s == 1:
            low = cut
        else:
            low = crop.lowered(s, kernel, 0).cut()
        starts = (top * s, left * s)
        maps = self._maps(scene, *map(_nearest, covered, target.shape, starts, cut.shape))
        found = scene.category if self.category == "name" else int(maps.sum(axis=(1, 2), dtype=np.int64).argmax())
        return {
            "input": to_tensor(turn(low)),
            "target": to_tensor(turn(cut)),
            "maps": to_tensor(turn(maps.transpose(1, 2, 0))),
            "category": torch.tensor(found),
            "path": scene.path,
        }

    def _scene(self, index: int, rng: np.random.Generator) -> _Scene:
        """A target with what belongs to it, all cut to what the maps cover and to multiples of the scale."""
        given = maps = None
        maps_path, category = Path(), 0
        if self._backgrounds is not None and rng.random() < self.background_share:
            # the index too, because another item takes the place of a broken one
            place = (int(rng.integers(len(self._backgrounds))) + index) % len(self._backgrounds)
            pair = self._backgrounds.item(place, rng)
        else:
            number, maps_path = self._items[index]
            pair, maps, category = self._aligned.item(number, rng), read_maps(maps_path), self._classes[index]
            given = pair["input"].numpy().transpose(1, 2, 0) if self._aligned.has_inputs else None
        target = pair["target"].numpy().transpose(1, 2, 0)
        sides = target.shape[:2] if maps is None else maps.shape[-2:]
        if any(not -self.scale < n - m < BLOCK for n, m in zip(target.shape, sides, strict=False)):
            raise UnreadableImage(
                str(maps_path),
                f"the maps are {sides[1]}x{sides[0]}, but their target {pair['path']} is "
                f"{target.shape[1]}x{target.shape[0]}; make them from this very image",
            )
        h, w = (min(n, m) // self.scale for n, m in zip(target.shape, sides, strict=False))
        if not h or not w:
            raise UnreadableImage(pair["path"], f"it is smaller than a pixel at scale {self.scale}")
        target = target[: h * self.scale, : w * self.scale]
        given = None if given is None else given[:h, :w]
        return _Scene(pair["path"], target, given, maps, str(maps_path), category)

    def _resized(self, scene: _Scene, share: float) -> Array:
        """The target at that share of its size, but no smaller than the crop; one with an input file as it is."""
        target, crop, least = scene.target, self.crop, min(scene.target.shape[:2])
        if crop is None:
            return target
        if scene.given is not None and least < crop:
            raise UnreadableImage(scene.path, f"its shorter side is {least}, smaller than the crop of {crop}")
        share = max(share, crop / least)
        if scene.given is not None or share == 1:
            return target
        height, width = (max(int(n * share) // self.scale * self.scale, crop) for n in target.shape[:2])
        method = cv2.INTER_AREA if share < 1 else cv2.INTER_CUBIC
        out: Array = cv2.resize(np.ascontiguousarray(target), (width, height), interpolation=method)
        return out.reshape(height, width, target.shape[2])

    def _maps(self, scene: _Scene, rows: Array, columns: Array) -> Array:
        """(classes, h, w) uint8, at these rows and columns of the maps' file."""
        if scene.maps is None:
            return as_bytes(np.zeros((len(rows), len(columns)), np.uint8), self.classes)
        try:
            return as_bytes(scene.maps[..., rows[:, None], columns], self.classes)
        except ValueError as error:
            raise UnreadableImage(scene.maps_path, str(error)) from None


def _nearest(covered: int, side: int, start: int, count: int) -> Array:
    """Where in ``covered`` pixels the centres of pixels ``start`` to ``start + count`` of ``side`` pixels are."""
    places = (np.arange(start, start + count) + 0.5) * (covered / side)
    return np.minimum(places.astype(np.int64), covered - 1)


def read_maps(path: Path | str) -> Array:
    """Probabilities (classes, H, W), floats or uint8, or class indices (H, W), uint8, of a file; see ``as_bytes``.

    A .npz file has them under ``maps``; a .pth or .pt file is a tensor, of which only what is used is read; a .png file
    is gray or has a palette, whose numbers are the classes.

    Raises:
        UnreadableImage: it is missing, damaged, or holds something else.
    """
    path = Path(path)
    try:
        maps = _READERS[path.suffix.lower()](path)
    except OSError as error:
        raise UnreadableImage(str(path), error.strerror or str(error)) from None
    except Exception as error:  # a damaged file may raise anything
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise UnreadableImage(str(path), f"it cannot be read: {said[0]}") from None
    maps = maps[0] if maps.ndim == 4 and len(maps) == 1 else maps
    if maps.ndim != (2 if path.suffix.lower() == ".png" else 3) or not maps.size:
        raise UnreadableImage(str(path), f"expected maps (classes, H, W), found {maps.shape} of {maps.dtype}")
    return maps


def _read_npz(path: Path) -> Array:
    with np.load(path, allow_pickle=False) as arrays:
        if KEY not in arrays:
            raise ValueError(f"it has no array {KEY!r}, only {', '.join(arrays)}")
        return np.asarray(arrays[KEY])


def _read_tensor(path: Path) -> Array:
    # what torch wrote before 1.6 is no archive, and has to be read as a whole
    tensor = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    if not isinstance(tensor, Tensor):
        raise ValueError(f"expected a tensor, found a {type(tensor).__name__}")
    return np.asarray(tensor.detach())


def _read_indices(path: Path) -> Array:
    from PIL import Image

    with Image.open(path) as image:
        if image.mode not in ("L", "P"):
            raise ValueError(f"expected class indices, gray or with a palette, found an image of mode {image.mode}")
        return np.asarray(image)


_READERS = {".npz": _read_npz, ".pth": _read_tensor, ".pt": _read_tensor, ".png": _read_indices}


def as_bytes(maps: Array, classes: int) -> Array:
    """(classes, h, w) uint8, 255 for a probability of 1, of what ``read_maps`` gives, or of a part of that.

    Raises:
        ValueError: another number of classes, or no probabilities.
    """
    if maps.ndim == 2:
        labels = np.where(maps == VOID, 0, maps)
        if labels.max() >= classes:
            raise ValueError(f"it has a class {labels.max()}, expected 0 to {classes - 1}")
        out = np.zeros((classes, *labels.shape), np.uint8)
        np.put_along_axis(out, labels[None].astype(np.int64), 255, axis=0)
        return out
    if len(maps) != classes:
        raise ValueError(f"it has maps of {len(maps)} classes, expected {classes}")
    if maps.dtype == np.uint8:
        return maps
    wide = maps.astype(np.float32)
    low, high = wide.min(), wide.max()
    if not (low >= -1e-3 and high <= 1 + 1e-3):  # not a number neither
        raise ValueError(f"it has numbers from {low:.3g} to {high:.3g}, expected probabilities")
    return np.clip(np.rint(wide * 255), 0, 255).astype(np.uint8)


def category_of(path: Path, categories: Sequence[str] = CATEGORIES) -> int:
    """Which of the ``categories`` the name says, from 1 on, else the folder, else the one around it, ...; 0 if none.

    They are words, also in the plural: ``sky_01.png`` and ``waters/3.png``, not ``skyline.png``.
    """
    for part in (path.stem, *reversed(path.parts[:-1])):
        for number, word in enumerate(categories, 1):
            if re.search(rf"(?<![a-z]){re.escape(word.casefold())}s?(?![a-z])", part.casefold()):
                return number
    return 0


def find_maps(
    targets: Sequence[Path], roots: Sequence[str], map_roots: Sequence[str]
) -> tuple[dict[Path, Path], list[Path]]:
    """The maps of each of the ``targets`` below ``roots`` that has any, and the maps that belong to none.

    They are found by their path below their folder, whatever the ending, or by their name alone if it is unique. As
    many folders of maps as of targets belong together one to one.

    Raises:
        DataError: a folder of maps does not exist, or no target has maps.
    """
    together = len(roots) == len(map_roots)
    exact: dict[tuple[int, str], Path] = {}
    by_name: dict[str, list[Path]] = {}
    for number, base in enumerate(Path(root).expanduser() for root in map_roots):
        for path in _map_files(base):
            key = (number * together, _stem(path, base).removesuffix(MARK))
            if exact.setdefault(key, path) is path:
                by_name.setdefault(key[1].rpartition("/")[2], []).append(path)
    bases = [base.parent if base.is_file() else base for base in (Path(root).expanduser() for root in roots)]
    names = Counter(target.stem.casefold() for target in targets)
    found = {}
    for target in targets:
        number, base = next((n, b) for n, b in enumerate(bases) if target.is_relative_to(b))
        stem, name = _stem(target, base), target.stem.casefold()
        # of a.jpg and a.png, test_seg.py calls the maps a_jpg_bic and a_png_bic
        candidates = (stem, stem.removesuffix(MARK), f"{stem}_{target.suffix[1:].casefold()}")
        maps = next((exact[key] for s in candidates if (key := (number * together, s)) in exact), None)
        if maps is None and len(by_name.get(name, ())) == names[name] == 1:
            maps = by_name[name][0]
        if maps is not None:
            found[target] = maps
    if not found:
        raise DataError(
            f"no maps in {some(map_roots)} have the name of a target: the targets are "
            f"{some((t.name for t in targets), 3)}, the maps {some((p.name for p in exact.values()), 3) or 'none'} "
            f"(they end in {' '.join(MAP_SUFFIXES)}). scripts/test_seg.py makes them"
        )
    used = {*found.values()}
    return found, [path for path in exact.values() if path not in used]


def _map_files(root: Path) -> list[Path]:
    if not root.is_dir():
        raise DataError(f"there is no folder of segmentation maps {root}.{nearby(root)} scripts/test_seg.py makes one")
    files = [p for p in root.rglob("*") if p.suffix.lower() in MAP_SUFFIXES and not p.name.startswith(".")]
    return sorted(files, key=lambda p: (MAP_SUFFIXES.index(p.suffix.lower()), p))


def _stem(path: Path, base: Path) -> str:
    return path.relative_to(base).with_suffix("").as_posix().casefold()


def _beside(roots: Sequence[str]) -> list[str]:
    """The published layout: ``OST/train/bicseg`` has the maps of ``OST/train/img``."""
    out = []
    for root in roots:
        parts = Path(root).expanduser().parts
        if "img" not in parts:
            raise DataError(
                f"no folder of segmentation maps is given, and {root} is not called img, beside which one called "
                "bicseg would be looked for. scripts/test_seg.py makes one"
            )
        last = len(parts) - 1 - parts[::-1].index("img")
        out.append(str(Path(*parts[:last], "bicseg", *parts[last + 1 :])))
    return out
