"""The one writer of a packed folder (see ``pack``): appends images, and tells of them once they are on the disk.

It may be killed at any instant: the next one goes on behind the last image that the index has whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from filelock import FileLock, Timeout

from ..core.errors import DataError
from .images import Picture
from .pack import ENTRY, Entry, checks, key_of, read_index, segment_file

SEGMENT = 2**32
"""Bytes of a file of pixels, from which on another one is begun."""
ALIGNED = 64
"""Bytes of which every image begins at a multiple."""
_COMMIT_BYTES, _COMMIT_SECONDS = 2**28, 5.0
_LOCK_SECONDS = 0.5


@dataclass(frozen=True)
class File:
    """An image that is to be packed."""

    name: str
    """Path below the folder, with slashes."""
    path: Path
    size: int
    changed: int
    """Time in nanoseconds."""


def content_of(picture: Picture) -> tuple[int, int]:
    """Two words that tell the image from any other."""
    digest = hashlib.blake2b(f"{picture.pixels.shape}{picture.bits}".encode(), digest_size=16)
    digest.update(picture.pixels.data)
    if picture.alpha is not None:
        digest.update(picture.alpha.data)
    return int.from_bytes(digest.digest()[:8], "little"), int.from_bytes(digest.digest()[8:], "little")


@contextmanager
def locked(place: Path, wait: Callable[[], bool]) -> Iterator[bool]:
    """Be the only one who writes in ``place``, and yield True.

    While another one is, ``wait`` is asked twice a second; when it says False, so does this.

    Raises:
        DataError: nothing can be written there.
    """
    lock = FileLock(place / "lock")
    while not lock.is_locked:
        try:
            place.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=_LOCK_SECONDS)
        except Timeout:
            if not wait():
                break
        except OSError as error:
            raise DataError(f"{place} cannot be written: {error.strerror or error}. Choose another store") from None
    try:
        yield lock.is_locked
    finally:
        lock.release()


def read_unreadable(place: Path) -> dict[str, tuple[int, int, str]]:
    """Size, time of change and reason, by name, of the files that could not be decoded."""
    found = {}
    with suppress(OSError, ValueError):
        for line in (place / "unreadable.txt").read_text(encoding="utf-8").splitlines():
            name, size, changed, reason = line.split("\t", 3)
            found[json.loads(name)] = int(size), int(changed), reason
    return found


class PackWriter:
    """To be used as a context, by whom ``locked`` has let in."""

    def __init__(self, place: Path, folder: Path) -> None:
        """Go on in ``place`` with the images of ``folder``."""
        self.place = place
        _replace(place / "folder.txt", f"{os.path.realpath(folder)}\n".encode("utf-8", "surrogateescape"))
        entries, index = read_index(place), place / "index.bin"
        if index.exists() and index.stat().st_size != entries.nbytes:  # someone was killed, or the disk is damaged
            _replace(index, entries.tobytes())
        self._segment = int(entries["segment"].max(initial=0))
        own = entries[entries["segment"] == self._segment]
        end = Entry._make(own[own["at"].argmax()].item()).end if len(own) else 0
        pixels = segment_file(place, self._segment)
        if end and (not pixels.exists() or pixels.stat().st_size < end):  # it was cut, which readers see by its length
            self._segment, end = self._segment + 1, 0
        self._pixels = _append(segment_file(place, self._segment), end)
        self._names, self._index = _append(place / "names.bin"), _append(index)
        self._unreadable, self._unreadable_changed = read_unreadable(place), False
        self._entries: list[Entry] = []
        self._pending, self._committed = 0, time.monotonic()

    def __enter__(self) -> PackWriter:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit what is whole, unless the disk is the matter."""
        try:
            if not isinstance(error, OSError):
                self.commit()
        finally:
            for file in (self._pixels, self._names, self._index):
                with suppress(OSError):
                    file.close()

    def add(self, file: File, picture: Picture, content: tuple[int, int]) -> None:
        """Append an image; ``content`` is ``content_of`` it.

        Raises:
            OSError: the disk is full, or worse.
        """
        if self._pixels.tell() >= SEGMENT:
            self.commit()
            self._pixels.close()
            self._segment += 1
            self._pixels = _append(segment_file(self.place, self._segment), 0)
        at = -(-self._pixels.tell() // ALIGNED) * ALIGNED
        self._pixels.write(bytes(at - self._pixels.tell()))
        self._pixels.write(picture.pixels.data)
        if picture.alpha is not None:
            self._pixels.write(picture.alpha.data)
        name = self._names.tell()
        self._names.write(file.name.encode("utf-8", "surrogateescape") + b"\0")
        (height, width), channels, alpha = picture.size, picture.pixels.shape[2], int(picture.alpha is not None)
        size = file.size, file.changed
        place = at, self._segment, height, width, channels, alpha, picture.bits // 8, 0
        entry = Entry(*key_of(file.name), *size, *place, *content, name)
        self._entries.append(entry)
        self._unreadable_changed |= self._unreadable.pop(file.name, None) is not None
        self._pending += entry.end - at
        if self._pending > _COMMIT_BYTES or time.monotonic() > self._committed + _COMMIT_SECONDS:
            self.commit()

    def withdraw(self, entry: Entry) -> None:
        """Let the file be read again instead of what is packed."""
        self._entries.append(entry._replace(at=0, segment=0, height=0))

    def quarantine(self, file: File, reason: str) -> None:
        """Remember not to try that file again."""
        self._unreadable[file.name] = file.size, file.changed, " ".join(reason.split())
        self._unreadable_changed = True

    def commit(self) -> None:
        """Tell readers of all that was added, which then outlives a loss of power."""
        if self._entries:
            for file in (self._pixels, self._names):
                _sync(file)
            entries = np.array(self._entries, ENTRY)
            entries["check"] = checks(entries)
            self._index.write(entries.tobytes())
            _sync(self._index)
        if self._unreadable_changed:
            lines = (f"{json.dumps(name)}\t{s}\t{t}\t{reason}\n" for name, (s, t, reason) in self._unreadable.items())
            _replace(self.place / "unreadable.txt", "".join(lines).encode())
        self._entries, self._unreadable_changed = [], False
        self._pending, self._committed = 0, time.monotonic()


def _append(path: Path, length: int | None = None) -> BinaryIO:
    """The file, open at its end, or cut after ``length`` bytes."""
    file = path.open("r+b" if path.exists() else "w+b")
    if length is not None:
        file.truncate(length)
    file.seek(0, os.SEEK_END)
    return file


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _replace(path: Path, data: bytes) -> None:
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        file.write(data)
        _sync(file)
    partial.replace(path)
