"""LMDB folders as BasicSR and traiNNer make them: ``data.mdb`` with encoded images, ``meta_info.txt`` with their names.

A line of ``meta_info.txt`` is ``name.png (height,width,channels) compression``, and the key of the image is the name
without its last ending: ``a.b`` of ``a.b.png``. Here the images have paths, ``folder.lmdb/name.png``, so that whatever
takes a folder of images takes such a folder too. LMDB: https://lmdb.readthedocs.io, of the extra ``[lmdb]``.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from pathlib import Path, PurePath
from typing import Any

from ..core.errors import DataError
from .dataset import UnreadableImage
from .formats import IMAGE_SUFFIXES
from .listing import natural

_LINE = re.compile(r"(?P<name>.*\S)\s+\(\d+,\s*\d+(?:,\s*\d+)?\)(?:\s+\S+)?\s*")

_open: dict[str, Any] = {}
"""The folders that this process has open, by their names."""
_opening = threading.Lock()


def _forget() -> None:
    """Close what a process was born with: it must not be used after a fork."""
    global _opening
    for environment in _open.values():
        environment.close()
    _open.clear()
    _opening = threading.Lock()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forget)


def is_lmdb(folder: Path | str) -> bool:
    """Whether the folder is of this kind."""
    return str(folder).endswith(".lmdb") and os.path.isfile(os.path.join(folder, "data.mdb"))  # noqa: PTH113, PTH118


def parts_of(path: Path | str) -> tuple[str, str] | None:
    """The LMDB folder and the name in it that a path stands for, or None for the path of a file."""
    text = os.fspath(path)
    at = text.rfind(f".lmdb{os.sep}")
    if at < 0 or not is_lmdb(folder := text[: at + 5]):
        return None
    return folder, text[at + 6 :]


def is_inside(path: Path | str) -> bool:
    """Whether the path is that of an image in such a folder."""
    return ".lmdb" in os.fspath(path) and parts_of(path) is not None


def list_lmdb(folder: Path) -> list[Path]:
    """The paths of its images, by ``meta_info.txt`` or, where that is missing, by their keys, in natural order.

    Raises:
        DataError: it cannot be read, or its ``meta_info.txt`` is not of this kind.
    """
    names = folder / "meta_info.txt"
    if not names.is_file():
        return [folder / name for name in sorted(_keys(folder), key=natural)]
    found = []
    for number, line in enumerate(names.read_text(encoding="utf-8-sig").splitlines(), 1):
        match = _LINE.fullmatch(line)
        if match is not None:
            found.append(match["name"])
        elif line.strip():
            raise DataError(f"{names}:{number}: expected 'name.png (height,width,channels) 1', found {line!r}")
    return [folder / name for name in sorted(found, key=natural)]


def contents(path: Path | str) -> bytes:
    """The encoded image that the path stands for.

    Raises:
        UnreadableImage: it is not there, or its folder cannot be read.
        DataError: the package ``lmdb`` is missing.
    """
    parts = parts_of(path)
    if parts is None:
        raise UnreadableImage(str(path), "it is not in an LMDB folder")
    folder, name = parts
    name = PurePath(name).as_posix()
    lmdb = package()
    try:
        with _environment(folder).begin() as reading:
            for key in (name.removesuffix(PurePath(name).suffix), name):
                data = reading.get(key.encode())
                if data is not None:
                    return bytes(data)
    except lmdb.Error as error:
        raise UnreadableImage(str(path), f"the LMDB folder cannot be read: {error}") from None
    raise UnreadableImage(str(path), f"{folder} has no image of that name")


def status(path: Path | str) -> os.stat_result:
    """Size and time of the file with the image of that path: the image file itself, or all of ``data.mdb``.

    Raises:
        OSError: there is none.
    """
    try:
        return os.stat(path)  # noqa: PTH116 - for every image that is read
    except (FileNotFoundError, NotADirectoryError):
        parts = parts_of(path)
        if parts is None:
            raise
        return Path(parts[0], "data.mdb").stat()


def package() -> Any:
    """The library.

    Raises:
        DataError: it is not installed.
    """
    try:
        import lmdb
    except ImportError:
        raise DataError("to read LMDB folders, install the package lmdb: pip install darkroom[lmdb]") from None
    return lmdb


def _environment(folder: str) -> Any:
    if folder not in _open:
        with _opening:
            real = os.path.realpath(folder)  # which may be opened once, whatever its names
            if real not in _open:
                _open[real] = package().open(real, readonly=True, lock=False, readahead=False, max_spare_txns=16)
            _open[folder] = _open[real]
    return _open[folder]


def _keys(folder: Path) -> list[str]:
    lmdb = package()
    try:
        with _environment(str(folder)).begin() as reading, reading.cursor() as cursor:
            keys = [bytes(key).decode("utf-8", "replace") for key in cursor.iternext(values=False)]
    except lmdb.Error as error:
        raise DataError(f"{folder} cannot be read: {error}") from None
    return [key if PurePath(key).suffix.lower() in IMAGE_SUFFIXES else f"{key}.png" for key in keys]
