"""Lists of image files in text files, one path a line, and the split of a folder into three of them.

As in https://github.com/knazeri/edge-connect and https://github.com/youyuge34/Anime-InPainting. What differs: paths may
have spaces and ``#``; a relative one is looked for beside the list first, and then from where one stands; folders are
listed with their subfolders, and all kinds of images that are read here count.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..core.errors import DataError
from .folders import list_images, nearby, some
from .formats import IMAGE_SUFFIXES


def list_files(given: Sequence[str]) -> list[Path]:
    """All images of ``given``, each a list (any file that does not end as images do), a folder, or an image.

    Folders are in natural order, lists in their own, and a file counts as often as it is listed.

    Raises:
        DataError: one of them does not exist, has no images, or lists what is not there.
    """
    found = []
    for path in (Path(name).expanduser() for name in given):
        listed = path.is_file() and path.suffix.lower() not in IMAGE_SUFFIXES
        found += read_flist(path) if listed else list_images((path,))
    return found


def read_flist(file: Path) -> list[Path]:
    """The files that the text file names.

    Raises:
        DataError: it cannot be read, names nothing, or names what is not there; the message says which lines.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: expected paths, one a line, in UTF-8, found other bytes: {error}") from None
    named = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    if not named:
        raise DataError(f"{file} names no files: expected one path a line")
    found = [_place(line, file.parent) for _, line in named]
    missing = [entry for entry, path in zip(named, found, strict=True) if path is None]
    if missing:
        hint = nearby(file.parent / missing[0][1])
        raise DataError(
            f"{file}: {len(missing)} of its {len(named)} files are not there: "
            f"{some((f'line {number} {line!r}' for number, line in missing), 5)}. A path is absolute, or begins at "
            f"{file.parent} or at {Path.cwd()}.{hint}"
        )
    return [path for path in found if path is not None]


def _place(line: str, folder: Path) -> Path | None:
    """Where the file of a line is; joining leaves an absolute path alone."""
    return next((path for path in (folder / line, Path(line)) if path.is_file()), None)


class Split(NamedTuple):
    """What is for what; each list in the order of the names."""

    train: list[Path]
    val: list[Path]
    test: list[Path]


def split_folder(root: Path, train: int = 28, val: int = 1, test: int = 1) -> Split:
    """Deal out the images below ``root``, absolute paths, in the order of their names; nothing is random.

    They are counted through, those of a folder before those of its subfolders. Of every ``train + val + test`` of them
    the first ``val`` are for validation, the next ``test`` for tests, and the others for training: so all three are
    spread over the whole, even of pictures that are ordered by year.

    Raises:
        DataError: there is no such folder, or no image in it.
        ValueError: a negative number, or none that is not 0.
    """
    if min(train, val, test) < 0 or not train + val + test:
        raise ValueError(f"expected numbers from 0 on, one of them more, found {train}, {val} and {test}")
    root = root.expanduser().resolve()
    if root.is_file():
        raise DataError(f"{root}: expected a folder of images, found a file")
    images = sorted(list_images((root,)), key=lambda path: _place_in_walk(path.relative_to(root)))
    parts = Split([], [], [])
    for number, path in enumerate(images):
        place = number % (train + val + test)
        part = parts.val if place < val else parts.test if place < val + test else parts.train
        part.append(path)
    return Split(*(sorted(part, key=str) for part in parts))


def _place_in_walk(path: Path) -> tuple[tuple[int, str], ...]:
    """Files come before folders."""
    return *((1, part) for part in path.parts[:-1]), (0, path.name)


def write_flists(folder: Path, lists: Mapping[str, Sequence[Path]], force: bool = False) -> None:
    """Write ``folder``/NAME.flist of each of the ``lists``. The first one appears when the last one is written.

    Raises:
        DataError: one is there already, and not to be replaced by ``force``; or they cannot be written.
    """
    files = {folder / f"{name}.flist": paths for name, paths in lists.items()}
    there = [file for file in files if file.exists()]
    if there and not force:
        raise DataError(f"{some(there)} would be replaced; --force does that")
    partial = {file: file.with_name(f".{file.name}.{os.getpid()}.partial") for file in files}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(files, partial)
    except (OSError, UnicodeEncodeError) as error:  # a file's name may be no text
        raise DataError(f"{folder}: the lists cannot be written: {error}") from None


def _write(files: Mapping[Path, Sequence[Path]], partial: Mapping[Path, Path]) -> None:
    try:
        for file, paths in files.items():
            partial[file].write_text("".join(f"{path}\n" for path in paths), encoding="utf-8")
        for file, written in partial.items():
            written.replace(file)
    finally:
        for written in partial.values():
            written.unlink(missing_ok=True)
