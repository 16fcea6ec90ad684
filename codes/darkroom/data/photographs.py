"""A small free dataset of photographs, cut from the pictures that the package of scikit-image brings along."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from .images import read, write


class Photograph(NamedTuple):
    """A file of ``skimage/data`` and the part of it that is used."""

    file: str
    top: int
    left: int
    height: int
    width: int
    tile: int | None = None
    """Side of the tiles that it is cut into; None leaves it whole."""


TRAIN = (
    Photograph("astronaut.png", 0, 0, 512, 512, 256),  # NASA, public domain
    Photograph("rocket.jpg", 0, 64, 427, 512, 256),  # SpaceX, public domain
    Photograph("hubble_deep_field.jpg", 180, 244, 256, 512, 256),  # NASA, public domain
    Photograph("retina.jpg", 450, 450, 256, 256, 256),  # M. Häggström, CC0
    Photograph("camera.png", 0, 0, 512, 512, 256),  # L. Varshney, CC0, gray
    Photograph("brick.png", 0, 0, 256, 512, 256),  # CC0Textures, CC0, gray
    Photograph("grass.png", 0, 0, 256, 512, 256),  # linolafett, CC0, gray
    Photograph("gravel.png", 0, 0, 256, 512, 256),  # CC0Textures, CC0, gray
)
"""Cut to 256 pixels, because a small file is read quickly; the more of a picture, the more often it is drawn."""

VAL = (
    Photograph("coffee.png", 2, 0, 396, 600),  # R. Michetti, CC0
    Photograph("chelsea.png", 0, 3, 300, 444),  # S. van der Walt, CC0
)
"""In colour, never trained on; the sides are multiples of 12, hence of the scales 2, 3 and 4."""


def write_sample(folder: Path | str) -> int:
    """Write the photographs to ``folder``/train/HR and ``folder``/val/HR as PNG files, unless they are there; how many.

    Raises:
        OSError: the folder cannot be written.
        UnreadableImage: this scikit-image came without one of its pictures.
    """
    count = 0
    for part, photographs in (("train", TRAIN), ("val", VAL)):
        target = Path(folder) / part / "HR"
        target.mkdir(parents=True, exist_ok=True)
        for photograph in photographs:
            count += _write_tiles(photograph, target)
    return count


def _write_tiles(photograph: Photograph, folder: Path) -> int:
    stem = Path(photograph.file).stem
    tile = photograph.tile
    if tile is None:
        names = {folder / f"{stem}.png": (photograph.top, photograph.left, photograph.height, photograph.width)}
    else:
        rows, columns = (_starts(side, tile) for side in (photograph.height, photograph.width))
        places = [(photograph.top + r, photograph.left + c, tile, tile) for r in rows for c in columns]
        names = {folder / f"{stem}_{n}.png": place for n, place in enumerate(places, 1)}
    missing = {path: place for path, place in names.items() if not path.exists()}
    if missing:
        pixels = read(_source(photograph.file)).pixels
        for path, (top, left, height, width) in missing.items():
            write(path, pixels[top : top + height, left : left + width])
    return len(missing)


def _starts(side: int, tile: int) -> list[int]:
    """Where the tiles begin: as many as it takes to cover the side, evenly spread."""
    count = -(-side // tile)
    return [round(n * (side - tile) / max(count - 1, 1)) for n in range(count)]


def _source(file: str) -> Path:
    """Beside the package's modules, not in ``skimage.data.data_dir``: that is a cache of downloads."""
    import skimage

    return Path(str(skimage.__file__)).parent / "data" / file
