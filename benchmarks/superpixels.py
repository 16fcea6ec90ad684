"""The representations of white-box cartoonization: how long they take, and what superpixels cost who waits meanwhile.

python benchmarks/superpixels.py --side 256 --rounds 5

Prints ms of one core for an image with each algorithm, beside merging and painting by the loops of the tests, and for
the guided filter forwards and backwards beside pooling; then how fast a batch is and how fast torch goes on, with
threads and with processes that compute the superpixels.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from darkroom.data.images import read
from darkroom.data.photographs import write_sample
from darkroom.filters import guided
from darkroom.filters.merging import merge_alike
from darkroom.filters.superpixels import Algorithm, segment, segment_colours, superpixels

SEGMENTS = 60
"""So few that Felzenszwalb's segments are merged."""


def milliseconds(function: Callable[[], object], rounds: int) -> float:
    """The median time of a call, of the process: the others on the machine do not count."""
    function()
    times = []
    for _ in range(rounds):
        start = time.process_time()
        function()
        times.append(1000 * (time.process_time() - start))
    return statistics.median(times)


def photograph(side: int) -> np.ndarray:
    """(side, side, 3) of a free photograph."""
    with tempfile.TemporaryDirectory() as folder:
        write_sample(Path(folder))
        whole = read(Path(folder) / "val" / "HR" / "chelsea.png").pixels
    return np.ascontiguousarray(whole[:side, :side])


def algorithms(image: np.ndarray, rounds: int) -> None:
    """Each algorithm with each reduction, and what the parts of the usual one take."""
    print(f"superpixels, {image.shape[1]} x {image.shape[0]}, {SEGMENTS} segments, ms")
    print(f"{'':18}{'none':>8}{'selective':>11}{'cluster':>9}{'rag':>8}")
    for algorithm in get_args(Algorithm):
        try:
            row = [
                milliseconds(lambda: superpixels(image, algorithm, SEGMENTS, reduction), rounds)  # noqa: B023
                for reduction in (None, "selective", "cluster", "rag")
            ]
        except ValueError:
            print(f"{algorithm:18} this OpenCV lacks it")
            continue
        print(f"{algorithm:18}{row[0]:8.0f}{row[1]:11.0f}{row[2]:9.0f}{row[3]:8.0f}")
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from test_representations import naive_merge, naive_paint

    labels = segment(image, "sk_felzenszwalb", SEGMENTS)
    flat = cv2.cvtColor(naive_paint(image, labels, "mix"), cv2.COLOR_RGB2LAB)
    for name, ours, loop in (
        ("merging", lambda: merge_alike(flat, labels, SEGMENTS), lambda: naive_merge(flat, labels, SEGMENTS)),
        ("painting", lambda: segment_colours(image, labels), lambda: naive_paint(image, labels, "mix")),
    ):
        times = milliseconds(ours, rounds), milliseconds(loop, rounds)
        print(f"{name}: {times[0]:.1f}, by a loop {times[1]:.1f} ms, {times[1] / times[0]:.1f} times as long")


def pooled(image: Tensor, radius: int, border: guided.Border = "reflect") -> Tensor:
    """``box_mean`` as pooling."""
    del border
    return F.avg_pool2d(F.pad(image, (radius,) * 4, mode="reflect"), 2 * radius + 1, 1)


def filters(side: int, rounds: int) -> None:
    """Forwards and backwards, a batch of 16, by sums and by pooling."""
    guide = torch.rand(16, 3, side, side)
    image = guide.clone().requires_grad_()
    own = guided.box_mean
    for radius in (1, 5):
        times = []
        for mean in (own, pooled):
            guided.box_mean = mean
            times.append(
                milliseconds(lambda: guided.guided_filter(guide, image, radius).sum().backward(), rounds)  # noqa: B023
            )
        guided.box_mean = own
        print(f"guided filter, radius {radius}: {times[0]:.0f}, by pooling {times[1]:.0f} ms")


def meanwhile(image: np.ndarray) -> None:
    """32 images in a pool while the main thread trains: with few large operations, and with many small ones."""
    large = torch.nn.Sequential(*(torch.nn.Conv2d(32, 32, 3, padding=1) for _ in range(4))), torch.rand(2, 32, 128, 128)
    small = torch.nn.Sequential(*(torch.nn.Conv2d(4, 4, 3, padding=1) for _ in range(40))), torch.rand(1, 4, 8, 8)
    for name, (network, x) in (("large", large), ("small", small)):
        deadline = time.perf_counter() + 3
        alone = rate(network, x, lambda: time.perf_counter() > deadline)  # noqa: B023
        for count in (1, 2):
            for pool in (
                ThreadPoolExecutor(count),
                ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")),
            ):
                seconds, speed = race(pool, image, network, x)
                kind = type(pool).__name__.removesuffix("PoolExecutor")
                print(f"{name} operations, {kind} {count}: 32 images in {seconds:.1f} s, torch at {speed / alone:.2f}")


def rate(network: torch.nn.Module, x: Tensor, done: Callable[[], bool]) -> float:
    """Steps in a second until it is done."""
    start, steps = time.perf_counter(), 0
    while not done():
        network(x).sum().backward()
        steps += 1
    return steps / (time.perf_counter() - start)


def race(pool: Executor, image: np.ndarray, network: torch.nn.Module, x: Tensor) -> tuple[float, float]:
    """Seconds for 32 images, and steps in a second meanwhile."""
    with pool:
        list(pool.map(superpixels, [image] * 8))
        start = time.perf_counter()
        work = [pool.submit(superpixels, image) for _ in range(32)]
        speed = rate(network, x, lambda: all(future.done() for future in work))
        return time.perf_counter() - start, speed


def main() -> None:
    """Measure and print."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--side", type=int, default=256, help="of the square photograph, at most 300")
    p.add_argument("--rounds", type=int, default=5)
    given = p.parse_args()
    image = photograph(given.side)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    algorithms(image, given.rounds)
    filters(given.side, given.rounds)
    meanwhile(image)


if __name__ == "__main__":
    main()
