"""Batches prepared by threads of this process, in the order of a sampler, as a ``DataLoader`` does with processes.

A batch costs no copy between processes, and packed images are mapped once. Decoders, OpenCV and torch let go of
Python's global lock, so threads work side by side; the Python between takes turns.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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
        """Start the threads."""
        self._loader, self._sampler = loader, iter(loader.sampler)
        self._ending = threading.Event()
        self._pool = _single_threaded_pool(loader.threads)
        self._waiting: deque[Future[Batch]] = deque()
        for draws in islice(self._sampler, loader.threads * loader.prefetch):
            self._submit(draws)

    def _submit(self, draws: Sequence[Any]) -> None:
        # no reference to this object goes along, so that it ends when it is let go
        self._waiting.append(self._pool.submit(_batch, self._loader, draws, self._ending))

    def __next__(self) -> Batch:
        """The next batch."""
        if not self._waiting:
            self.close()
            raise StopIteration
        batch = self._waiting.popleft().result()
        for draws in islice(self._sampler, 1):
            self._submit(draws)
        return batch

    def close(self) -> None:
        """Wait for the items that are being made; no more are begun."""
        self._ending.set()
        self._waiting.clear()
        self._pool.shutdown(cancel_futures=True)

    def __del__(self) -> None:
        """Close it."""
        with suppress(AttributeError):  # if it was never quite begun
            self.close()


def _batch(loader: ThreadLoader[Any], draws: Sequence[Any], ending: threading.Event) -> Batch:
    items = [loader.make(draw) for draw in draws if not ending.is_set()]
    if ending.is_set():
        return {}
    batch = loader.collate(items)
    if not loader.pin_memory:
        return batch
    return {name: value.pin_memory() if isinstance(value, Tensor) else value for name, value in batch.items()}


def _single_threaded_pool(count: int) -> ThreadPoolExecutor:
    """Threads in which torch starts no further threads, which would get in the way of the training's."""
    usual = torch.get_num_threads()
    started = threading.Barrier(count + 1)

    def start() -> None:
        torch.get_num_threads()  # which settles that of this thread, or its first operation would do so later
        torch.set_num_threads(1)  # of this thread, and of those that are yet to come
        started.wait()

    pool = ThreadPoolExecutor(count, "images", start)
    for _ in range(count):
        pool.submit(int)  # a thread is started for each
    started.wait()
    torch.set_num_threads(usual)
    return pool
