"""Packed images: decoded once, kept as raw pixels in memory-mapped files, and read from there by every run.

A store has a folder for each folder of images, named after where that really is. In it are

* ``pixels-000.bin``, ...: images one after another, each (H, W, C) of 8 or 16 bits and then its alpha (H, W), if any.
  Rows stay interleaved: a crop is a view, and OpenCV takes views of such an array apart faster than numpy copies from
  planes as soon as it is mirrored or turned.
* ``index.bin``: an ``ENTRY`` for each image, of which the last one of a name counts; ``names.bin``: their names.
* ``unreadable.txt``: files that could not be decoded, with the reasons; ``folder.txt``: what is packed here.

Everything is only ever appended, pixels before the entry that tells of them. So whatever is in the index is whole,
whoever writes meanwhile and wherever they were killed. A file counts as unchanged while it has the size and the time of
change (to the nanosecond) that it had when it was packed: one ``stat`` for each image read.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import images, lmdb_folder
from .images import Picture

Array = np.ndarray[Any, np.dtype[Any]]

ENTRY = np.dtype(
    [
        ("key", "<u8"), ("key2", "<u8"),  # hash of the name
        ("size", "<u8"), ("changed", "<i8"),  # of the file
        ("at", "<u8"), ("segment", "<u4"), ("height", "<u4"), ("width", "<u4"),
        ("channels", "u1"), ("alpha", "u1"), ("bytes", "u1"), ("spare", "u1"),
        ("content", "<u8"), ("content2", "<u8"),  # hash of the pixels
        ("name", "<u8"),  # where in names.bin
        ("check", "<u8"),  # sum of the words before, each by an odd number of its own
    ]
)  # fmt: skip
"""What the index knows of an image. A height of 0 withdraws what an earlier entry says."""

STORE = "datasets/.packed"
"""Where images are packed unless it is said, seen from where the datasets are: the working directory."""
_LAYOUT = 1
_WORDS = ENTRY.itemsize // 8
_FACTORS = np.array([0x9E3779B97F4A7C15 * (2 * n + 1) % 2**64 for n in range(_WORDS - 1)], np.uint64)
_FOUND = 2**16
"""Images that are remembered where they are found, which takes longer than to see that their files are unchanged."""
_POLL = 1.0
"""Seconds between two looks for what another process has packed."""
_REST = 20
"""And at least so many times what reading the index takes."""


def place_of(store: Path | str, folder: Path | str) -> Path:
    """Where the images of that folder are packed."""
    real = os.path.realpath(folder)
    return Path(store) / f"{Path(real).name[:40]}-{_digest(f'{_LAYOUT}{real}').hex()[:12]}"


def base_of(root: Path | str) -> Path:
    """The folder whose images are packed together, for a folder or an image that options name."""
    path = Path(root).expanduser()
    return path.parent if path.is_file() else path


def key_of(name: str) -> tuple[int, int]:
    """By what an image is found, from its path below the folder."""
    digest = _digest(name if os.sep == "/" else name.replace(os.sep, "/"))
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


def _digest(name: str) -> bytes:
    return hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def checks(entries: Array) -> Array:
    """The last word of each of the ``entries``, as it must be."""
    words = np.ascontiguousarray(entries).view("<u8").reshape(-1, _WORDS)[:, :-1]
    total: Array = (words * _FACTORS).sum(axis=1, dtype=np.uint64)
    return total


def read_index(place: Path) -> Array:
    """The whole entries of a packed folder, mapped; none if nothing is packed there yet."""
    try:
        with (place / "index.bin").open("rb") as file:
            count = os.fstat(file.fileno()).st_size // ENTRY.itemsize
            if not count:
                return np.empty(0, ENTRY)
            data = mmap.mmap(file.fileno(), count * ENTRY.itemsize, access=mmap.ACCESS_READ)
    except OSError:
        return np.empty(0, ENTRY)
    entries = np.frombuffer(data, ENTRY)
    whole = checks(entries) == entries["check"]
    return entries if whole.all() else entries[whole]


class Entry(NamedTuple):
    """One of the index, as Python's numbers."""

    key: int
    key2: int
    size: int
    changed: int
    at: int
    segment: int
    height: int
    width: int
    channels: int
    alpha: int
    bytes: int
    spare: int
    content: int
    content2: int
    name: int
    check: int = 0

    @property
    def end(self) -> int:
        """Where its pixels end."""
        return self.at + self.height * self.width * (self.channels + self.alpha) * self.bytes


class Index(NamedTuple):
    """The entries of a packed folder, to be found by key."""

    entries: Array
    keys: Array
    """Sorted."""
    rows: Array
    """The entry of each of the ``keys``."""

    @classmethod
    def of(cls, place: Path) -> Index:
        """As it is now."""
        entries = read_index(place)
        keys = np.ascontiguousarray(entries["key"])
        rows = np.argsort(keys, kind="stable")  # so that the last of several is the newest
        return cls(entries, keys[rows], rows)

    def find(self, name: str) -> Entry | None:
        """The newest entry of an image, if it was not withdrawn."""
        key, key2 = key_of(name)
        last = self.keys.searchsorted(np.uint64(key), side="right") - 1
        if last < 0 or self.keys[last] != key:
            return None
        entry = Entry._make(self.entries[self.rows[last]].item())
        return entry if entry.key2 == key2 and entry.height else None

    def newest(self) -> Iterator[Entry]:
        """That of every image."""
        last = np.flatnonzero(np.append(self.keys[1:] != self.keys[:-1], True)[: len(self.keys)])
        for row in self.rows[last]:
            entry = Entry._make(self.entries[row].item())
            if entry.height:
                yield entry


class Packed:
    """A folder of packed images, mapped when they are asked for."""

    def __init__(self, place: Path) -> None:
        """Of ``place_of`` a folder, which may be yet to be packed."""
        self.place = place
        self._index: Index | None = None
        self._seen = -1
        self._look = 0.0
        self._maps: dict[int, mmap.mmap] = {}
        self._found: dict[str, tuple[int, int, Picture]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Maps and what was read belong to the process."""
        return {"place": self.place}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin as new."""
        self.__init__(**state)  # type: ignore[misc]

    def find(self, name: str, status: os.stat_result) -> Picture | None:
        """The image of that path below the folder, if it was packed from a file that had this status."""
        if self._index is None or time.monotonic() >= self._look:
            self._refresh()
        now = status.st_size, status.st_mtime_ns
        known = self._found.get(name)
        if known is not None and known[:2] == now:
            return known[2]
        assert self._index is not None
        entry = self._index.find(name)
        picture = None if entry is None or (entry.size, entry.changed) != now else self.picture(entry)
        if picture is not None:
            if len(self._found) >= _FOUND:
                self._found = {}
            self._found[name] = (*now, picture)
        return picture

    def picture(self, entry: Entry) -> Picture | None:
        """The image of an entry, as views that cannot be written to; None if its pixels are gone."""
        pixels = self._map(entry.segment, entry.end)
        if pixels is None:
            return None
        kind = np.uint8 if entry.bytes == 1 else np.uint16
        plane = entry.height * entry.width
        image = np.frombuffer(pixels, kind, plane * entry.channels, entry.at)
        image = image.reshape(entry.height, entry.width, entry.channels)
        if not entry.alpha:
            return Picture(image)
        alpha = np.frombuffer(pixels, kind, plane, entry.end - plane * entry.bytes)
        return Picture(image, alpha.reshape(entry.height, entry.width))

    def _map(self, segment: int, end: int) -> mmap.mmap | None:
        """The file of a segment, which must be mapped up to ``end``."""
        found = self._maps.get(segment)
        if found is None or len(found) < end:
            try:
                with segment_file(self.place, segment).open("rb") as file:
                    found = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except (OSError, ValueError):  # it is not there, or empty
                return None
            self._maps[segment] = found
        return found if len(found) >= end else None

    def _refresh(self) -> None:
        """Read the index if it has grown; a long one is not read so often that it takes the time of the images."""
        start = time.monotonic()
        self._look = start + _POLL
        try:
            size = (self.place / "index.bin").stat().st_size
        except OSError:
            size = 0
        if size != self._seen or self._index is None:
            self._index, self._seen, self._found = Index.of(self.place), size, {}
            self._look = start + max(_POLL, _REST * (time.monotonic() - start))


def segment_file(place: Path, number: int) -> Path:
    """The file with the pixels of that number."""
    return place / f"pixels-{number:03}.bin"


class PackedReader:
    """Reads images as ``images.read`` does, from their packed pixels where there are any.

    It can be pickled, and works in any process and thread. What a packer adds meanwhile is seen within a second.
    """

    def __init__(self, store: Path | str, roots: Sequence[Path | str]) -> None:
        """``store`` is where they are packed, ``roots`` the folders, or images, as options name them."""
        bases = list(dict.fromkeys(base_of(root) for root in roots))
        # the beginning of the paths that a listing of the folder has
        self._packed = [(str(base / "_")[:-1], Packed(place_of(store, base))) for base in bases]

    def __call__(self, path: Path | str) -> Picture:
        """The image of that path; its arrays may be views of read-only memory.

        Raises:
            UnreadableImage: see ``images.read``.
        """
        text = os.fspath(path)
        try:
            status = lmdb_folder.status(text)
        except OSError:
            return images.read(path)  # which says what is wrong
        for beginning, packed in self._packed:
            if text.startswith(beginning):
                found = packed.find(text[len(beginning) :], status)
                if found is not None:
                    return found
        return images.read(path)
