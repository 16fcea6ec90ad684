"""Packing of folders (see ``pack``): what is to be done, whether there is room for it, doing it, and proving it."""

from __future__ import annotations

import math
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

from ..core.errors import DataError
from . import images, lmdb_folder
from .dataset import UnreadableImage
from .folders import list_by_root
from .images import Picture
from .pack import ENTRY, Index, Packed, base_of, place_of
from .pack_writer import ALIGNED, File, PackWriter, content_of, locked, read_unreadable

LIMIT_GB = 100.0
RESERVE = 2**30
"""Bytes that packing leaves free on the disk."""

T = TypeVar("T")
R = TypeVar("R")
_CHUNK = 64
"""Heads that a thread reads at a time."""

Say = Callable[[str], None]
Progress = Callable[[str, int, int], None]
"""Called with what is being done, with how many of it are done, and with how many there are."""


class NoRoom(DataError):
    """The limit, or the disk, is too small for what is to be packed."""


@dataclass
class Work:
    """What is to be done for a folder."""

    folder: Path
    place: Path
    files: list[File] = field(default_factory=list)
    """Those that are not packed as they are now."""
    packed: int = 0
    """How many are."""
    unreadable: int = 0
    """How many are known to be no images."""
    bytes: int = 0
    """That packing will take."""


class Packing(NamedTuple):
    """What came of it."""

    images: int
    """Packed by now."""
    new: int
    """Packed this time."""
    unreadable: int
    """That could not be decoded, now or earlier."""
    whole: bool
    """Whether nothing is left to do."""


def pack(
    roots: Sequence[Path | str],
    store: Path,
    limit_gb: float = LIMIT_GB,
    threads: int | None = None,
    say: Say = lambda message: None,
    progress: Progress = lambda what, done, total: None,
    stop: Callable[[], bool] = lambda: False,
    dry: bool = False,
) -> Packing:
    """Pack the images of ``roots``, folders or images as options name them, into ``store``.

    What is packed already and has not changed is left alone. ``threads`` (default: as many as there are cores) decode.
    When ``stop()``, which is asked often, this ends early and leaves what it did. ``dry``: only say what is to be done.

    Raises:
        NoRoom: the store would take more than ``limit_gb`` (10**9 bytes), or the disk is too small. Nothing was packed.
        DataError: see ``list_images``.
    """
    threads = threads or os.cpu_count() or 1
    pool = ThreadPoolExecutor(threads, "pack")
    try:
        works = find_work(roots, store)
        _measure(works, pool, threads, progress, stop)
        _check_room(works, store, limit_gb, say)
        new = 0
        for work in [] if dry or stop() else works:
            if work.files:
                new += _pack_folder(work, pool, threads, say, progress, stop)
        works = [_remaining(work) for work in works]
    finally:
        pool.shutdown(cancel_futures=True)
    packed, unreadable = (sum(counts) for counts in zip(*((w.packed, w.unreadable) for w in works), strict=True))
    return Packing(packed, new, unreadable, not any(work.files for work in works))


def find_work(roots: Sequence[Path | str], store: Path) -> list[Work]:
    """What is to be packed, by folder.

    Raises:
        DataError: see ``list_images``.
    """
    paths: dict[Path, list[Path]] = {}
    for root, found in zip(roots, list_by_root(roots), strict=True):
        paths.setdefault(base_of(root), []).extend(found)
    works = []
    for folder, found in paths.items():
        skip = len(str(folder / "_")) - 1
        files = [File(str(path)[skip:].replace(os.sep, "/"), path, *_state(path)) for path in found]
        works.append(_remaining(Work(folder, place_of(store, folder), files)))
    return works


def _remaining(work: Work) -> Work:
    """The same, without the files that are packed by now."""
    index, unreadable = Index.of(work.place), read_unreadable(work.place)
    left = Work(work.folder, work.place, [], work.packed, work.unreadable)
    for file in work.files:
        entry = index.find(file.name)
        if entry is not None and (entry.size, entry.changed) == (file.size, file.changed):
            left.packed += 1
        elif file.name in unreadable and unreadable[file.name][:2] == (file.size, file.changed):
            left.unreadable += 1
        else:
            left.files.append(file)
    return left


def _state(path: Path) -> tuple[int, int]:
    try:
        status = lmdb_folder.status(path)
    except OSError:
        return 0, 0  # a link to nowhere
    return status.st_size, status.st_mtime_ns


def _in_order(
    pool: ThreadPoolExecutor, function: Callable[[T], R], items: Iterable[T], ahead: int, stop: Callable[[], bool]
) -> Iterator[R]:
    """What the pool makes of the items, of which it has no more than ``ahead`` in hand."""
    waiting: deque[Future[R]] = deque()
    for item in items:
        if stop():
            break
        waiting.append(pool.submit(function, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting and not stop():
        yield waiting.popleft().result()
    for future in waiting:
        future.cancel()


def _measure(
    works: Sequence[Work], pool: ThreadPoolExecutor, threads: int, progress: Progress, stop: Callable[[], bool]
) -> None:
    """Find the ``bytes`` of each, from the heads of the files."""
    total, done = sum(len(work.files) for work in works), 0
    for work in works:
        chunks = [work.files[n : n + _CHUNK] for n in range(0, len(work.files), _CHUNK)]
        for chunk, taken in zip(chunks, _in_order(pool, _bytes_of, chunks, 2 * threads, stop), strict=False):
            work.bytes += taken
            done += len(chunk)
            progress("measuring", done, total)


def _bytes_of(files: Sequence[File]) -> int:
    """What they take, each with its entry and its name."""
    taken = 0
    for file in files:
        try:
            head = images.header(file.path)
        except UnreadableImage:
            continue
        pixels = head.width * head.height * (head.channels + head.alpha) * head.bits // 8
        taken += -(-pixels // ALIGNED) * ALIGNED + ENTRY.itemsize + len(file.name) + 1
    return taken


def _check_room(works: Sequence[Work], store: Path, limit_gb: float, say: Say) -> None:
    needed, used = sum(work.bytes for work in works), sum(taken for _, taken in stored(store))
    there = next(path for path in (store.absolute(), *store.absolute().parents) if path.exists())
    free = max(shutil.disk_usage(there).free - RESERVE, 0)
    count = sum(len(work.files) for work in works)
    done = sum(work.packed for work in works)
    state = f"{gigabytes(used)} of at most {limit_gb:g} GB are used in {store}, the disk has room for {gigabytes(free)}"
    what = f"{count:,} images to pack take {gigabytes(needed)}" if count else "nothing to pack"
    if needed + used > limit_gb * 1e9:
        others = "".join(f"\n  {gigabytes(size)}  {folder}" for folder, size in stored(store))
        raise NoRoom(
            f"{what}, but {state}. Raise the limit to {math.ceil((needed + used) / 1e8) / 10:g} or more, pack fewer "
            f"folders, or remove what is no longer used{':' if others else '.'}{others}"
        )
    if needed > free:
        raise NoRoom(f"{what}, but {state}. Take a store on another disk, or pack fewer folders")
    say(f"{what} ({done:,} are packed); {state}")


def stored(store: Path) -> list[tuple[str, int]]:
    """Every folder that is packed in a store, and how many bytes that takes."""
    found = []
    for about in sorted(store.glob("*/folder.txt")):
        size = sum(path.stat().st_size for path in about.parent.iterdir())
        found.append((f"{about.parent} (of {_folder_of(about.parent)})", size))
    return found


def _folder_of(place: Path) -> Path:
    """What is packed there."""
    return Path((place / "folder.txt").read_text(encoding="utf-8", errors="surrogateescape").rstrip("\n"))


def gigabytes(size: float) -> str:
    """``1.2 GB``."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _pack_folder(
    work: Work, pool: ThreadPoolExecutor, threads: int, say: Say, progress: Progress, stop: Callable[[], bool]
) -> int:
    """How many images it packed."""
    told: list[str] = []

    def wait() -> bool:
        if not told:
            told.append(f"another process is packing {work.folder}; waiting for it")
            say(told[0])
        return not stop()

    with locked(work.place, wait) as alone:
        left = _remaining(work)  # which may be less by now
        if not alone or not left.files:
            return 0
        new, total = 0, len(left.files) + left.packed + left.unreadable
        with PackWriter(work.place, work.folder) as writer:
            for done, (file, made) in enumerate(_in_order(pool, _decoded, left.files, 2 * threads, stop), 1):
                if isinstance(made, str):
                    writer.quarantine(file, made)
                elif made is not None:
                    _add(writer, file, made)
                    new += 1
                progress(f"packing {work.folder}", total - len(left.files) + done, total)
    return new


def _decoded(file: File) -> tuple[File, tuple[Picture, tuple[int, int]] | str | None]:
    """The file with its image and what that contains; why it is none; or nothing, if it changes just now."""
    try:
        picture = images.read(file.path)
    except UnreadableImage as error:
        return file, error.reason
    same = _state(file.path) == (file.size, file.changed)
    return file, (picture, content_of(picture)) if same else None


def _add(writer: PackWriter, file: File, made: tuple[Picture, tuple[int, int]]) -> None:
    try:
        writer.add(file, *made)
    except OSError as error:
        raise NoRoom(f"{writer.place}: {error.strerror or error}. What is packed so far is kept") from error


def verify(
    store: Path,
    folders: Sequence[Path | str] = (),
    progress: Progress = lambda what, done, total: None,
    stop: Callable[[], bool] = lambda: False,
) -> list[str]:
    """The packed images whose pixels are no longer those that were packed; they are read from their files from now on.

    Of all ``folders``, or of everything in the store.

    Raises:
        DataError: nothing of one of the ``folders`` is packed there.
    """
    bases = [base_of(folder) for folder in folders]
    missing = [str(base) for base in bases if not (place_of(store, base) / "folder.txt").exists()]
    if missing:
        raise DataError(f"nothing is packed in {store} of: {', '.join(missing)}. Pack it first")
    places = [place_of(store, base) for base in bases] or [path.parent for path in store.glob("*/folder.txt")]
    return [name for place in places for name in _verify(place, progress, stop)]


def _verify(place: Path, progress: Progress, stop: Callable[[], bool]) -> list[str]:
    folder = _folder_of(place)
    damaged: list[str] = []
    with locked(place, lambda: not stop()) as alone:
        if not alone:
            return []
        with PackWriter(place, folder) as writer:  # which makes whole what a killed one left
            packed, entries = Packed(place), list(Index.of(place).newest())
            names = (place / "names.bin").read_bytes()
            for done, entry in enumerate(entries, 1):
                picture = packed.picture(entry)
                if picture is None or content_of(picture) != (entry.content, entry.content2):
                    writer.withdraw(entry)
                    name = names[entry.name :].partition(b"\0")[0].decode("utf-8", "replace")
                    damaged.append(str(folder / name))
                progress(f"verifying {folder}", done, len(entries))
                if stop():
                    break
    return damaged
