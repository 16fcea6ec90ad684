"""The endless order of a run's samples. Sample n is a function of (seed, n), of the dataset, and of nothing else.

Not of the number of workers or processes, nor of where a run was interrupted: sample i of a process's micro-batch n is
draw d = (n * world + rank) * batch_size + i of the run. It takes its image from the permutation of epoch d // len, its
random numbers from a generator of its own. Both come from Philox, whose streams are addressed by a key: J. Salmon et
al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011.

Of a dataset of several groups, the group of each draw is chosen at random by its share, or that of all draws of the
micro-batches n of all processes together; and if c earlier draws were of that group, c takes the place of d above in
choosing the image. Each group has permutations of its own.
"""

from __future__ import annotations

import itertools
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..core.errors import DataError
from .dataset import Group, Grouped, ImageDataset, UnreadableImage
from .degrade.deferred import SOURCE, gathered
from .folders import some
from .threads import ThreadBatches, ThreadLoader

UNREADABLE = "unreadable"
"""Key of a batch under which the files are that could not be read, as (path, reason)."""

_WORD = 2**64
_EPOCHS = 2**63
_GROUP = 2**40
"""Epochs that a group has numbers for."""
_CHOICES = 2**63 + 2**62
_BLOCK = 2**16
"""Choices of a group that are made at once."""
_Numbers = np.ndarray[Any, np.dtype[np.int64]]


def generator(seed: int, number: int) -> np.random.Generator:
    """The random numbers that belong to ``(seed, number)``."""
    return np.random.Generator(np.random.Philox(key=np.array([seed % _WORD, number % _WORD], np.uint64)))


@lru_cache(maxsize=8)
def order(seed: int, epoch: int, length: int, group: int = 0) -> _Numbers:
    """The permutation of the ``length`` items of a group in that epoch."""
    return generator(seed, _EPOCHS + group * _GROUP + epoch).permutation(length)


@lru_cache(maxsize=4)
def _choices(seed: int, block: int, shares: tuple[float, ...]) -> _Numbers:
    """Numbers ``block * _BLOCK`` and following of the groups that are chosen."""
    limits = np.cumsum(shares)
    return np.searchsorted(limits / limits[-1], generator(seed, _CHOICES + block).random(_BLOCK), side="right")


def chosen(seed: int, first: int, count: int, shares: tuple[float, ...]) -> _Numbers:
    """Numbers ``first`` to ``first + count`` of the groups that are chosen by their shares."""
    if len(shares) == 1:
        return np.zeros(count, np.int64)
    blocks = range(first // _BLOCK, (first + count - 1) // _BLOCK + 1)
    start = first - blocks.start * _BLOCK
    return np.concatenate([_choices(seed, block, shares) for block in blocks])[start : start + count]


def earlier(seed: int, first: int, shares: tuple[float, ...]) -> list[int]:
    """How many of the choices before number ``first`` are of each group."""
    if len(shares) == 1:
        return [first]
    counts = np.zeros(len(shares), np.int64)
    for start in range(0, first, _BLOCK):
        counts += np.bincount(_choices(seed, start // _BLOCK, shares)[: first - start], minlength=len(shares))
    return [int(count) for count in counts]


class _OneGenerator(threading.local):
    """A generator for each thread, which is set to the numbers of one sample after the other.

    To make a new one takes ten times as long.
    """

    def __init__(self) -> None:
        self._bits = np.random.Philox(key=np.zeros(2, np.uint64))
        self._state = self._bits.state
        self._generator = np.random.Generator(self._bits)

    def at(self, seed: int, number: int) -> np.random.Generator:
        """As ``generator`` makes it; it is good until the next call in this thread."""
        self._state["state"]["key"][:] = seed % _WORD, number % _WORD
        self._bits.state = self._state
        return self._generator


_one_generator = _OneGenerator()


class Draw(NamedTuple):
    """One sample of the run: which item, and the address of its random numbers."""

    item: int
    number: int


def draws(seed: int, length: int, first: int, count: int, group: int = 0) -> list[Draw]:
    """Draws ``first`` to ``first + count`` of a run over the ``length`` items of a group."""
    numbers = range(first, first + count)
    return [Draw(int(order(seed, d // length, length, group)[d % length]), d) for d in numbers]


def groups_of(dataset: ImageDataset) -> tuple[Group, ...]:
    """The groups of its items, of which there is but one in most datasets."""
    return tuple(dataset.groups) if isinstance(dataset, Grouped) else (Group(len(dataset), 1.0),)


def _ranges(groups: Sequence[Group]) -> list[range]:
    """The items of each group."""
    ends = itertools.accumulate(group.length for group in groups)
    return [range(end - group.length, end) for end, group in zip(ends, groups, strict=True)]


class Batches:
    """The draws of each micro-batch of one process, from the ``start``-th on: the sampler of a ``DataLoader``."""

    def __init__(
        self, groups: Sequence[Group], batch_size: int, seed: int, rank: int, world: int, mixed: bool = False
    ) -> None:
        """``groups`` of the dataset, ``mixed`` within a batch or not; see ``stream`` for the rest."""
        self.groups, self.batch_size, self.seed, self.rank, self.world = groups, batch_size, seed, rank, world
        self.mixed, self.start = mixed, 0

    def __iter__(self) -> Iterator[list[Draw]]:
        """Without end."""
        ranges, shares = _ranges(self.groups), tuple(group.share for group in self.groups)
        together = self.world * self.batch_size
        choices, draws_each = (together, 1) if self.mixed else (1, together)
        counts = [c * draws_each for c in earlier(self.seed, self.start * choices, shares)]
        own = slice(self.rank * self.batch_size, (self.rank + 1) * self.batch_size)
        orders: dict[int, tuple[int, _Numbers]] = {}
        for n in itertools.count(self.start):
            groups = np.repeat(chosen(self.seed, n * choices, choices, shares), draws_each).tolist()
            found = zip(groups[own], _places(groups, counts)[own], strict=True)
            items = [self._item(group, place, ranges, orders) for group, place in found]
            yield [Draw(item, n * together + own.start + i) for i, item in enumerate(items)]

    def _item(self, group: int, place: int, ranges: Sequence[range], orders: dict[int, tuple[int, _Numbers]]) -> int:
        """The item that is number ``place`` of all that the run takes of a group, whose last order is remembered."""
        epoch, place = divmod(place, len(ranges[group]))
        if group not in orders or orders[group][0] != epoch:
            orders[group] = epoch, order(self.seed, epoch, len(ranges[group]), group)
        return ranges[group][int(orders[group][1][place])]


def _places(groups: Sequence[int], counts: list[int]) -> list[int]:
    """For each draw how many before it are of its group, ``counts`` of which were before these draws; they go on."""
    places = []
    for group in groups:
        places.append(counts[group])
        counts[group] += 1
    return places


class _Items(Dataset[dict[str, Any]]):
    """What a worker does for a draw; the errors that are the user's to fix come back as values."""

    def __init__(self, dataset: ImageDataset, seed: int) -> None:
        self.dataset, self.seed, self.ranges = dataset, seed, _ranges(groups_of(dataset))

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        """The item; for one that cannot be read, the next one of its group that can."""
        around = next(items for items in self.ranges if draw.item in items)
        length = len(around)
        broken: list[tuple[str, str]] = []
        for attempt in range(length):
            place = around[(draw.item - around.start + attempt) % length]
            try:
                item = self.dataset.item(place, _one_generator.at(self.seed, draw.number))
            except UnreadableImage as error:
                broken.append((error.path, error.reason))
            except DataError as error:
                return {"error": error}
            else:
                return {**item, UNREADABLE: broken}
        names = some((f"{path}: {reason}" for path, reason in broken), 3)
        return {"error": DataError(f"none of the {length} items of the dataset can be used: {names}")}


class _Whole(_Items):
    """One item of a validation set, or only the fact that it cannot be read."""

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        """The item with its index."""
        try:
            item = self.dataset.item(draw.item, _one_generator.at(self.seed, draw.number))
        except UnreadableImage as error:
            return {UNREADABLE: [(error.path, error.reason)]}
        except DataError as error:
            return {"error": error}
        return {**item, "index": draw.item, UNREADABLE: []}


def collate(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A batch of items: tensors stacked, ``path`` and other values as lists, all unreadable files in one list.

    Images of 8 bits stay uint8; with one of 16 bits among them, all become float32 in [0, 1]. Those that are yet to be
    degraded may differ in size.

    Raises:
        DataError: the images of one name differ in size.
    """
    error = next((item["error"] for item in items if "error" in item), None)
    if error is not None:
        return {"error": error}
    broken = [entry for item in items for entry in item[UNREADABLE]]
    batch: dict[str, Any] = {
        name: _stack(name, [item[name] for item in items], items) for name in items[0] if name != UNREADABLE
    }
    return {**batch, UNREADABLE: broken}


def _stack(name: str, values: list[Any], items: Sequence[Mapping[str, Any]]) -> Any:
    if not isinstance(values[0], Tensor):
        return values
    if any(v.dtype == torch.uint16 for v in values):
        values = [_unit(v) for v in values]
    if name == SOURCE:
        return gathered(values)
    if any(v.shape != values[0].shape for v in values):
        sizes = some((f"{item['path']} {tuple(v.shape)}" for v, item in zip(values, items, strict=True)), 4)
        raise DataError(f"the images {name!r} of a batch differ in size: {sizes}. Set a crop, or batch_size: 1")
    return torch.stack(values)


def to_unit(batch: Mapping[str, Any]) -> dict[str, Any]:
    """The batch with its uint8 images as float32 in [0, 1]; everything else stays as it is."""
    return {name: _unit(value) if isinstance(value, Tensor) else value for name, value in batch.items()}


def _unit(value: Tensor) -> Tensor:
    largest = {torch.uint8: 255, torch.uint16: 65535}.get(value.dtype)
    return value if largest is None else value.to(torch.float32).div_(largest)


def _collate_safely(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    try:
        return collate(items)
    except DataError as error:
        return {"error": error}


def _start_worker(number: int) -> None:
    """Leave signals to the main process, which ends its workers itself, and the other cores to the other workers."""
    del number
    for known in (signal.SIGINT, signal.SIGTERM):
        signal.signal(known, signal.SIG_IGN)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


class Stream:
    """Batches of a dataset without end, from any position. Made by ``stream``."""

    def __init__(
        self, loader: Iterable[Any], sampler: Batches, warn: Callable[[str], None] = lambda message: None
    ) -> None:
        """``loader`` draws from ``sampler``; ``warn`` is told of each unreadable file once."""
        self.broken: dict[str, str] = {}
        """Reason by path of the files that could not be read so far."""
        self._loader: Iterable[Any] | None = loader
        self._sampler = sampler
        self._warn = warn
        self._running: Iterator[Any] | None = None
        self._starts = 0

    def batches(self, start: int = 0) -> Iterator[dict[str, Any]]:
        """The micro-batches from the ``start``-th on. Only the newest iterator is valid.

        Raises:
            DataError: nothing can be read, sizes do not fit, or a worker process died.
        """
        if self._loader is None:
            raise RuntimeError("the stream is closed")
        self._sampler.start = start
        self._starts += 1
        self._end_threads()
        self._running = iter(self._loader)  # processes that run already drop what they had prepared
        return self._follow(self._starts)

    def _follow(self, mine: int) -> Iterator[dict[str, Any]]:
        # without a reference of its own to the running loader, so that close() lets the workers go
        while self._running is not None:
            if self._starts != mine:
                raise RuntimeError("these batches have ended: the stream was started at another position")
            try:
                with _explained():
                    batch = _checked(next(self._running))
            except DataError:
                self.close()
                raise
            self._report(batch[UNREADABLE])
            yield batch

    def _report(self, broken: Sequence[tuple[str, str]]) -> None:
        for path, reason in broken:
            if path not in self.broken:
                self.broken[path] = reason
                self._warn(f"left out: {path}: {reason}")

    def close(self) -> None:
        """Stop the workers; iterators end."""
        self._end_threads()
        self._running = self._loader = None

    def _end_threads(self) -> None:
        if isinstance(self._running, ThreadBatches):
            self._running.close()


@contextmanager
def _explained() -> Iterator[None]:
    """Say what to do about a worker process that died."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise DataError(
            f"a process that reads images ended unexpectedly ({error}). Most often memory ran out: use fewer workers, "
            "a smaller batch_size or smaller images; workers: 0 reads without further processes"
        ) from None


def _checked(batch: dict[str, Any]) -> dict[str, Any]:
    """The batch, unless it is the error that a worker met."""
    if "error" in batch:
        raise batch["error"]
    return batch


def stream(
    dataset: ImageDataset,
    batch_size: int,
    seed: int,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
    pin_memory: bool = False,
    prefetch: int = 2,
    warn: Callable[[str], None] = lambda message: None,
    context: str | None = None,
    workers_are: Literal["processes", "threads"] = "processes",
) -> Stream:
    """The samples of a run in shuffled epochs, for process ``rank`` of ``world``.

    ``workers`` processes or threads each prepare ``prefetch`` batches ahead; processes are started by ``context``
    (``fork``, ``spawn``; default: the platform's). All make the same batches. A batch has the dataset's tensors
    (B, C, H, W), uint8 unless its files have 16 bits, ``path``, a list of B names, and ``unreadable``, a list of
    (path, reason) of files that were replaced by the next readable ones; ``warn`` is told of each such file once.

    Raises:
        DataError: the dataset is empty.
        ValueError: a number below its least value.
    """
    if workers_are not in ("processes", "threads"):
        raise ValueError(f"workers_are: expected processes or threads, found {workers_are!r}")
    for name, value, least in (("batch_size", batch_size, 1), ("workers", workers, 0), ("prefetch", prefetch, 1)):
        if value < least:
            raise ValueError(f"{name}: expected at least {least}, found {value}")
    if not 0 <= rank < world:
        raise ValueError(f"rank: expected 0 to {world - 1}, found {rank}")
    if not len(dataset):
        raise DataError("the dataset has no items")
    mixed = isinstance(dataset, Grouped) and dataset.mixed
    sampler = Batches(groups_of(dataset), batch_size, seed, rank, world, mixed)
    items = _Items(dataset, seed)
    loader: Iterable[Any]
    if workers and workers_are == "threads":
        loader = ThreadLoader(sampler, items.__getitem__, _collate_safely, workers, prefetch, pin_memory)
    else:
        loader = _loader(items, sampler, workers, prefetch, pin_memory, context)
    return Stream(loader, sampler, warn)


def prove(dataset: ImageDataset, seed: int) -> dict[str, Any]:
    """The first item that can be made, in the order of the run, as a batch of one; that of the first of several groups.

    Making it, and one of every other group, shows what would stop all of them.

    Raises:
        DataError: nothing can be read, or an item cannot be made.
    """
    items = _Items(dataset, seed)
    firsts = [Draw(around[draws(seed, len(around), 0, 1, n)[0].item], 0) for n, around in enumerate(items.ranges)]
    made = [collate([_checked(items[first])]) for first in firsts]
    return made[0]


def whole(
    dataset: ImageDataset,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
    broken: MutableMapping[str, str] | None = None,
    seed: int = 0,
) -> Iterator[dict[str, Any]]:
    """Items ``rank``, ``rank + world``, ... of a validation or test set in order, each as a batch of one.

    ``index`` is a list of the one index. Files that cannot be read are left out and, by path, entered in ``broken``.

    Raises:
        DataError: a worker process died.
    """
    indices = range(rank, len(dataset), world)
    loader = _loader(_Whole(dataset, seed), [[Draw(i, i)] for i in indices], min(workers, len(indices)), 2)
    running = iter(loader)
    try:
        for _ in indices:
            with _explained():
                batch = _checked(next(running))
            for path, reason in batch.pop(UNREADABLE):
                if broken is not None:
                    broken[path] = reason
            if batch:
                yield batch
    finally:
        del running, loader  # the workers end now, not when an error's traceback is let go


def _loader(
    items: _Items,
    sampler: Any,
    workers: int,
    prefetch: int,
    pin_memory: bool = False,
    context: str | None = None,
) -> DataLoader[Any]:
    warnings.filterwarnings("once", "This DataLoader will create")  # not for every set again
    several: dict[str, Any] = {
        "persistent_workers": True,
        "prefetch_factor": prefetch,
        "worker_init_fn": _start_worker,
        "multiprocessing_context": context,
    }
    return DataLoader(
        items,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=_collate_safely,
        pin_memory=pin_memory,
        **(several if workers else {}),
    )
