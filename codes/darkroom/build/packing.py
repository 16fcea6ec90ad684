"""Packing of the images that an option file reads, for the command and for training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal

from tqdm import tqdm

from ..data.flist import read_flist
from ..data.images import IMAGE_SUFFIXES
from ..data.lmdb_writer import create_lmdb
from ..data.mixing import paths_of
from ..data.pack import STORE, PackedReader
from ..data.pack_background import PackInBackground
from ..data.packing import LIMIT_GB, gigabytes, pack, stored, verify
from .paths import FOLDERS
from .plan import TrainPlan

__all__ = [
    "LIMIT_GB",
    "STORE",
    "Bar",
    "kind_of_workers",
    "list_store",
    "pack_roots",
    "packing_of",
    "reader_of",
    "roots_of",
    "verify_store",
    "write_lmdb",
]

_NO_IMAGES = ("maps",)


def roots_of(plan: TrainPlan) -> list[str]:
    """The folders of images, and the images, that training and validation read, as far as they are there."""
    planned = [plan.dataset, *(dataset for _, dataset in plan.sets.values())]
    named = [d.arguments.get(key) or () for d in planned for key in FOLDERS if key not in _NO_IMAGES]
    roots: list[str] = []
    for root in (path for given in named for path in paths_of(given)):
        path = Path(root).expanduser()
        if path.is_file() and path.suffix.lower() not in IMAGE_SUFFIXES:
            roots += map(str, read_flist(path))
        elif path.exists():
            roots.append(root)
    return list(dict.fromkeys(roots))


def reader_of(plan: TrainPlan) -> PackedReader | None:
    """What reads the images of the run where they are packed; None if they are not to be."""
    return PackedReader(Path(plan.run.pack_store).expanduser(), roots_of(plan)) if plan.run.pack else None


def packing_of(plan: TrainPlan, say: Callable[[str], None]) -> PackInBackground | None:
    """What packs them meanwhile; None if they are not to be."""
    if not plan.run.pack:
        return None
    store = Path(plan.run.pack_store).expanduser()
    return PackInBackground(roots_of(plan), store, plan.run.pack_limit_gb, say=say)


def kind_of_workers(plan: TrainPlan) -> Literal["processes", "threads"]:
    """What reads the training images."""
    if plan.loader.workers_are != "auto":
        return plan.loader.workers_are
    degrades = plan.degrade is not None and plan.degrade.options.run_on == "cpu"
    return "threads" if plan.run.pack and not degrades else "processes"


class Bar:
    """A progress bar for each thing that is done, one after another."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._what = ""

    def __enter__(self) -> Bar:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last one."""
        if self._bar is not None:
            self._bar.close()

    def __call__(self, what: str, done: int, total: int) -> None:
        """``done`` of ``total`` are; those that were done before the first call do not count for the speed."""
        if self._bar is None or self._what != what:
            if self._bar is not None:
                self._bar.close()
            self._what = what
            self._bar = tqdm(desc=what, initial=done - 1, total=total, unit="image", disable=None)
        self._bar.update(done - self._bar.n)


def pack_roots(
    roots: Sequence[str], store: Path, limit_gb: float, threads: int | None, dry: bool, say: Callable[[str], None]
) -> int:
    """Pack, or with ``dry`` only say what would be packed; the exit code.

    Raises:
        DataError: there is no room, or a folder is not there.
    """
    with Bar() as bar:
        done = pack(roots, store, limit_gb, threads, say, bar, dry=dry)
    if dry:
        return 0
    say(f"{done.images:,} images are packed in {store}, {done.new:,} of them now")
    if done.unreadable:
        say(f"{done.unreadable:,} files cannot be decoded; unreadable.txt in the folders there lists them")
    if not done.whole:
        say("some files changed while they were read: run this again")
    return 0 if done.whole and not done.unreadable else 1


def verify_store(store: Path, roots: Sequence[str], say: Callable[[str], None]) -> int:
    """Compare all packed pixels with what they were; the exit code."""
    with Bar() as bar:
        damaged = verify(store, roots, bar)
    for name in damaged:
        say(f"damaged: {name}")
    say(f"{len(damaged):,} packed images are damaged" + ("; from now on, their files are read" if damaged else ""))
    return 1 if damaged else 0


def list_store(store: Path, say: Callable[[str], None]) -> int:
    """What is packed, and how large that is; the exit code."""
    for folder, size in stored(store):
        say(f"{gigabytes(size):>10}  {folder}")
    return 0


def write_lmdb(folder: Path, root: Path, say: Callable[[str], None]) -> int:
    """Make an LMDB folder of a folder of images; the exit code.

    Raises:
        DataError: see ``create_lmdb``.
    """
    with Bar() as bar:
        count = create_lmdb(folder, root, lambda done, total: bar(f"writing {folder.name}", done, total))
    say(f"{count:,} images are in {folder}")
    return 0
