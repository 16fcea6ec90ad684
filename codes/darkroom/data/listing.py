"""The images below a folder in natural order: a million of them in seconds, and at once when nothing has changed.

A long listing is kept in the user's cache (``DARKROOM_CACHE``, by default ``~/.cache/darkroom``; empty for none) beside
the identity and the time of change of every folder that was walked. A name that comes, goes or changes alters the time
of its folder, so one ``stat`` for each folder tells whether the listing still holds.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path

from ..core.errors import DataError
from .formats import IMAGE_SUFFIXES

WORTH_KEEPING = 20_000
"""A listing of fewer images is made as fast as it is read."""

_DIGITS = re.compile(r"\d+")
_SETTLED = 2.0
"""Seconds: a folder that changed later than that may have changed again within the same tick of its clock."""


def natural(name: str) -> str:
    """Sort key by which ``img2`` comes before ``img10``, whatever the case of the letters, which decides at last."""
    return f"{_comparable(name)}\0\0{name}"


def _comparable(name: str) -> str:
    return _DIGITS.sub(_number, name.casefold())


def _number(found: re.Match[str]) -> str:
    """A number that compares as a string: by how many digits it has, by these, and by how it is written.

    No name holds a zero character, hence the text before it ends at the first one, and numbers come before text.
    """
    written = found[0]
    digits = written.lstrip("0") if written.isascii() else str(int(written)).lstrip("0")
    return f"\0{chr(len(digits) + 1)}{digits}{written}\0"


@dataclass
class Listing:
    """What was found below a folder."""

    names: list[str] = field(default_factory=list)
    """Of the images, relative to the folder, with slashes."""
    folders: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    """By the beginning of the names, such as ``sub/``: where the folder really is, its inode, its time of change."""
    links: dict[str, str] = field(default_factory=dict)
    """Where the images are that are links."""

    def below(self, root: str) -> Iterator[str]:
        """Of each image the path."""
        base = root if root.endswith(os.sep) else root + os.sep
        return (base + (name if os.sep == "/" else name.replace("/", os.sep)) for name in self.names)

    def paths(self, root: str) -> Iterator[tuple[str, str]]:
        """Of each image the path, and where it really is."""
        for name, path in zip(self.names, self.below(root), strict=True):
            folder, slash, last = name.rpartition("/")
            yield path, self.links.get(name) or f"{self.folders[folder + slash][0]}{os.sep}{last}"


def list_folder(root: Path) -> Listing:
    """All images below ``root``, in natural order.

    Links to folders are followed, each folder once. Names that begin with a dot are left out.

    Raises:
        DataError: a folder may not be read.
    """
    start = time.time()
    known = _cache_file(root)
    listing = None if known is None else _load(known, root)
    if listing is None:
        listing = _walk(root)
        if known is not None and _may_be_kept(listing, start):
            _save(known, listing)
    return listing


def _walk(root: Path) -> Listing:
    listing, keyed = Listing(), []
    open_folders, entered = [(str(root), "")], {os.path.realpath(root)}
    while open_folders:
        folder, beginning = open_folders.pop()
        really = os.path.realpath(folder)
        status = Path(folder).stat()
        listing.folders[beginning] = really, status.st_ino, status.st_mtime_ns
        key = _comparable(beginning)
        for entry in _entries(folder):
            name = entry.name
            if name.startswith(".") or name == "__MACOSX":
                continue
            is_file = entry.is_file(follow_symlinks=False)
            if not is_file and entry.is_dir():
                is_link = entry.is_symlink()
                real = os.path.realpath(entry.path) if is_link else f"{really}{os.sep}{name}"
                if not is_link or real not in entered:
                    entered.add(real)
                    open_folders.append((entry.path, f"{beginning}{name}/"))
            elif name[name.rfind(".") :].lower() in IMAGE_SUFFIXES:
                relative = beginning + name
                keyed.append((f"{key}{_comparable(name)}\0\0{relative}", relative))
                if not is_file and entry.is_symlink():
                    listing.links[relative] = os.path.realpath(entry.path)
    keyed.sort(key=itemgetter(0))
    listing.names = [name for _, name in keyed]
    return listing


def _entries(folder: str) -> Sequence[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except PermissionError as error:
        raise DataError(f"{folder} may not be read: {error.strerror}") from None


def _cache_file(root: Path) -> Path | None:
    given = os.environ.get("DARKROOM_CACHE")
    if given == "":
        return None
    base = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "darkroom")
    about = "\0".join(["1", os.path.abspath(root.expanduser()), *sorted(IMAGE_SUFFIXES)])  # noqa: PTH100
    with contextlib.suppress(RuntimeError):  # a user without a home
        return base.expanduser() / "listings" / hashlib.blake2b(os.fsencode(about), digest_size=16).hexdigest()
    return None


def _may_be_kept(listing: Listing, start: float) -> bool:
    """Links may come to point elsewhere without a trace in their folder; clocks that stand at 0 tell nothing."""
    times = [changed for _, _, changed in listing.folders.values()]
    settled = min(times) > 0 and max(times) < (start - _SETTLED) * 1e9
    return len(listing.names) >= WORTH_KEEPING and settled and not listing.links


def _save(file: Path, listing: Listing) -> None:
    """Write it, if that can be done; nobody needs it."""
    names = "\0".join(listing.names).encode("utf-8", "surrogateescape")
    head = json.dumps([zlib.crc32(names), listing.folders]).encode()
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(head + b"\0" + names)
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)


def _load(file: Path, root: Path) -> Listing | None:
    """The listing that was kept, if all of its folders are as they were."""
    try:
        head, _, names = file.read_bytes().partition(b"\0")
        check, known_folders = json.loads(head)
        if check != zlib.crc32(names):
            return None
        folders = {name: (str(real), int(ino), int(moment)) for name, (real, ino, moment) in known_folders.items()}
        for name, known in folders.items():
            path = root / name
            status = path.stat()
            if (status.st_ino, status.st_mtime_ns) != known[1:] or os.path.realpath(path) != known[0]:
                return None
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    return Listing(names.decode("utf-8", "surrogateescape").split("\0"), folders)
