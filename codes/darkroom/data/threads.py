"""Batches prepared by threads of this process, in the order of a sampler, as a ``DataLoader`` does with processes.

A batch costs no copy between processes, and packed images are mapped once. Decoders, OpenCV and torch let go of
Python's global lock, so threads work side by side; the Python between takes turns.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import islice
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

D = TypeVar("D")
Batch = dict[str, Any]


class ThreadLoader(Generic[D]):
    """Batches from the beginning of the sampler whenever it is iterated over."""

    def __init__(
        self,
        sampler: Iterable[Sequence[D]],
        make: Callable[[D], Mapping[str, Any]],
        collate: Callable[[Sequence[Mapping[str, Any]]], Batch],
        threads: int,
        prefetch: int,
        pin_memory: bool = False,
    ) -> None:
        """``threads`` each ``make`` the items of a batch and ``collate`` them, up to ``prefetch`` batches ahead."""
        self.sampler, self.make, self.collate = sampler, make, collate
        self.threads, self.prefetch = threads, prefetch
        self.pin_memory = pin_memory and torch.cuda.is_available()

    def __iter__(self) -> ThreadBatches:
        """The batches, which threads prepare from now on until they are closed or let go."""
        return ThreadBatches(self)


class ThreadBatches(Iterator[Batch]):
    """Those of a ``ThreadLoader`` from one beginning on."""

    def __init__(self, loader: ThreadLoader[Any]) -> None:
        """Set threads to work."""
        self._loader, self._sampler, self._pool = loader, iter(loader.sampler), _threads(loader.threads)
        self._ending = threading.Event()
        self._waiting: deque[Future[Batch]] = deque()
        for draws in islice(self._sampler, loader.threads * loader.prefetch):
            self._submit(draws)

    def _submit(self, draws: Sequence[Any]) -> None:
        # no reference to this object goes along, so that it ends when it is let go
        self._waiting.append(self._pool.submit(_batch, self._loader, draws, self._ending))

    def __next__(self) -> Batch:
        """The next batch."""
        if not self._waiting:
            raise StopIteration
        batch = self._waiting.popleft().result()
        for draws in islice(self._sampler, 1):
            self._submit(draws)
        return batch

    def _stop(self) -> list[Future[Batch]]:
        """Begin no more items; what is still at work."""
        self._ending.set()
        left = [future for future in self._waiting if not future.cancel()]
        self._waiting.clear()
        return left

    def close(self) -> None:
        """Begin no more items, and wait for those that are being made."""
        wait(self._stop())

    def __del__(self) -> None:
        """Begin no more items; this may be called in one of the threads, which must not wait for itself."""
        with suppress(AttributeError):  # if it was never quite begun
            self._stop()


def _batch(loader: ThreadLoader[Any], draws: Sequence[Any], ending: threading.Event) -> Batch:
    items = [loader.make(draw) for draw in draws if not ending.is_set()]
    if ending.is_set():
        return {}
    batch = loader.collate(items)
    if not loader.pin_memory:
        return batch
    return {name: value.pin_memory() if isinstance(value, Tensor) else value for name, value in batch.items()}


_pools: dict[int, ThreadPoolExecutor] = {}
"""By their numbers of threads, which never end: after a thread that called Intel's MKL has ended, a process that is
forked may hang in its own first call (seen with torch 2.15: one process in five to sixty)."""


def _threads(count: int) -> ThreadPoolExecutor:
    """Threads in which torch starts no further threads, which would get in the way of the training's."""
    if count not in _pools:
        usual = torch.get_num_threads()
        started = threading.Barrier(count + 1)

        def start() -> None:
            torch.get_num_threads()  # which settles that of this thread, or its first operation would do so later
            torch.set_num_threads(1)  # of this thread, and of those that are yet to come
            started.wait()

        _pools[count] = pool = ThreadPoolExecutor(count, "images", start)
        for _ in range(count):
            pool.submit(int)  # a thread is started for each
        started.wait()
        torch.set_num_threads(usual)
    return _pools[count]


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_pools.clear)  # threads stay with the parent
