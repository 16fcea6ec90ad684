"""Writing of LMDB folders that BasicSR, traiNNer and their like read (see ``lmdb_folder``)."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import DataError
from .folders import list_images
from .images import header, read, write
from .lmdb_folder import contents, is_inside, package

_CHUNK = 2**26
"""Bytes that a transaction writes."""


def create_lmdb(folder: Path, root: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> int:
    """Write the LMDB folder ``folder`` of all images below ``root``; how many.

    PNG files are copied as they are, others written as PNG. The key of an image is its path below ``root``, without the
    ending. The folder appears when it is whole. ``progress`` is called with the number of images done and of all.

    Raises:
        DataError: it is there already, two names differ in their endings only, or a file cannot be read.
    """
    if folder.suffix != ".lmdb":
        raise DataError(f"{folder}: expected a name that ends in .lmdb")
    if folder.exists():
        raise DataError(f"{folder} is there already: remove it, or take another name")
    if not root.is_dir():
        raise DataError(f"{root}: expected a folder of images")
    keys = {path: path.relative_to(root).as_posix().removesuffix(path.suffix) for path in list_images((root,))}
    key, count = Counter(keys.values()).most_common(1)[0]
    if count > 1:
        raise DataError(f"{root} has {count} files {key!r} with different endings; an LMDB folder holds one of a name")
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
    partial.mkdir(parents=True)
    try:
        _fill(partial, keys, progress)
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return len(keys)


def _fill(folder: Path, keys: dict[Path, str], progress: Callable[[int, int], None]) -> None:
    lines: list[str] = []
    chunk: list[tuple[bytes, bytes]] = []
    environment = package().open(str(folder), map_size=2 * _CHUNK, lock=False)
    try:
        for path, key in keys.items():
            data, shape = _encoded(path)
            chunk.append((key.encode(), data))
            lines.append(f"{key}.png ({','.join(map(str, shape))}) 1\n")
            if len(lines) == len(keys) or sum(len(data) for _, data in chunk) > _CHUNK:
                _put(environment, chunk)
                chunk = []
            progress(len(lines), len(keys))
    finally:
        environment.close()
    (folder / "meta_info.txt").write_text("".join(lines), encoding="utf-8")


def _encoded(path: Path) -> tuple[bytes, tuple[int, int, int]]:
    """The image as PNG, with its height, width and channels."""
    picture, head = read(path), header(path)  # decoded, as damage inside shows only then
    shape = head.height, head.width, head.channels + head.alpha
    data = contents(path) if is_inside(path) else path.read_bytes()
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data, shape
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder, "image.png")
        write(again, picture)
        return again.read_bytes(), shape


def _put(environment: Any, entries: Sequence[tuple[bytes, bytes]]) -> None:
    """All of them in one transaction, for which room is made."""
    while True:
        try:
            with environment.begin(write=True) as writing:
                for key, data in entries:
                    writing.put(key, data)
        except package().MapFullError:
            environment.set_mapsize(2 * environment.info()["map_size"])
        else:
            return
