"""Samples per second that a dataset makes: from PNG, JPEG and packed pixels, in line, in a thread and in a process.

    python benchmarks/data.py --seconds 3

Sources are 480 x 480 crops of free photographs, and their inputs at a quarter of the size. They are cropped to 128 or
256, flipped and turned, in batches of 16. OpenCV and torch are held to one thread, so the figures are those of one
core. ``wall`` is what a training would get, the median of many short spans. ``core`` counts the time on a core of the
process that makes the samples instead, and is that of the best tenth of the spans: what an undisturbed core does, where
others share the machine and its memory.
Then the time to degrade a batch at once, and to list a folder of many files, anew and from the cache.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
import yaml

from darkroom.build.plan import plan_training, read_options
from darkroom.data import listing
from darkroom.data.aligned import Aligned
from darkroom.data.dataset import ImageDataset
from darkroom.data.degrade.deferred import finish
from darkroom.data.folders import list_images
from darkroom.data.images import Picture, read, write
from darkroom.data.pack import PackedReader
from darkroom.data.packing import pack
from darkroom.data.photographs import write_sample
from darkroom.data.stream import stream
from darkroom.filters.resize import resize_uint8

SIDE, SCALE, BATCH, WARM = 480, 4, 16, 3
SPAN = 0.1
"""Seconds."""
WORKERS = {"in line": (0, "threads"), "1 thread": (1, "threads"), "1 process": (1, "processes")}


class Source(NamedTuple):
    """Where the images come from."""

    name: str
    high: str
    low: str
    reader: Callable[[str], Picture]


class Stamped:
    """A dataset whose items tell how long their process has been on a core by then."""

    yields = Aligned.yields

    def __init__(self, dataset: ImageDataset) -> None:
        self.dataset, self.crop, self.strays = dataset, dataset.crop, dataset.strays
        self.kernels, self.notes, self.pairs = dataset.kernels, dataset.notes, dataset.pairs

    def __len__(self) -> int:
        return len(self.dataset)

    def item(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """With the key ``seconds``."""
        return {**self.dataset.item(index, rng), "seconds": time.process_time()}


Make = Callable[[Source, int], ImageDataset]
"""Of a source and the side of the crop."""


def pairs(source: Source, crop: int) -> ImageDataset:
    """Targets with inputs that are there."""
    return Aligned(source.high, source.low, crop=crop, scale=SCALE, flip=True, rotate=True, reader=source.reader)


def made(source: Source, crop: int) -> ImageDataset:
    """Targets whose inputs are made by MATLAB's bicubic."""
    return Aligned(source.high, crop=crop, scale=SCALE, flip=True, rotate=True, reader=source.reader)


def degraded(strategy: str, run_on: str = "cpu") -> Make:
    """Targets whose inputs go through the degradations of a preset."""

    def make(source: Source, crop: int) -> ImageDataset:
        train = {"mode": "aligned", "dataroot_HR": source.high, "crop_size": crop, "use_flip": True, "use_rot": True}
        train |= {"augs_strategy": strategy, "degrade_on": run_on}
        options = {"name": "b", "model": "sr", "scale": SCALE, "datasets": {"train": train}, "network_G": "esrgan"}
        options["train"] = {"niter": 1, "pixel_criterion": "l1", "pixel_weight": 1}
        file = Path(source.high).parent / "options.yml"
        file.write_text(yaml.safe_dump(options), encoding="utf-8")
        plan = plan_training(read_options(file))
        assert plan.degrade is not None
        dataset: ImageDataset = plan.dataset.make(**plan.degrade.arguments(), reader=source.reader)
        return dataset

    return make


MAKERS: Sequence[tuple[str, Make, Sequence[int]]] = (
    ("pairs", pairs, (128, 256)),
    ("input made", made, (128,)),
    ("bsrgan", degraded("bsrgan"), (128,)),
    ("resrgan", degraded("resrgan"), (128,)),
)
"""What is measured: its name, how it is made, and the sides of its crops."""


def prepare(folder: Path, count: int) -> list[Source]:
    """The sources, of the same pixels but for JPEG."""
    write_sample(folder / "sample")
    photographs = [picture.pixels for path in list_images([folder / "sample"]) if not (picture := read(path)).gray]
    rng = np.random.default_rng(0)
    for suffix in ("png", "jpg"):
        for part in ("HR", "LR"):
            (folder / suffix / part).mkdir(parents=True)
    for n in range(count):
        whole = photographs[n % len(photographs)]
        factor = max(SIDE / min(whole.shape[:2]), rng.uniform(0.6, 1.0))
        whole = cv2.resize(whole, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        top, left = (int(rng.integers(side - SIDE + 1)) for side in whole.shape[:2])
        high = np.ascontiguousarray(whole[top : top + SIDE, left : left + SIDE])
        for suffix in ("png", "jpg"):
            write(folder / suffix / "HR" / f"{n}.{suffix}", high)
            write(folder / suffix / "LR" / f"{n}.{suffix}", resize_uint8(high, 1 / SCALE))
    roots = {suffix: (str(folder / suffix / "HR"), str(folder / suffix / "LR")) for suffix in ("png", "jpg")}
    start = time.perf_counter()
    done = pack(roots["png"], folder / "store", threads=1)
    print(f"packed {done.new} images in {time.perf_counter() - start:.1f} s with one thread")
    return [
        Source("PNG", *roots["png"], read),
        Source("JPEG q95", *roots["jpg"], read),
        Source("packed", *roots["png"], PackedReader(folder / "store", roots["png"])),
    ]


def rates(dataset: ImageDataset, workers: int, workers_are: str, seconds: float) -> tuple[float, float]:
    """Samples per second, and per second on a core of the process that makes them."""
    data = stream(Stamped(dataset), BATCH, 0, workers=workers, workers_are=workers_are, prefetch=4)
    batches = data.batches()
    for _ in range(WARM + 4 * workers):  # what was prepared ahead is not measured
        next(batches)
    wall, core, end = [], [], time.perf_counter() + seconds
    on_core = next(batches)["seconds"][-1]
    while time.perf_counter() < end:
        count, start = 0, time.perf_counter()
        while time.perf_counter() < start + SPAN:
            batch = next(batches)
            count += BATCH
        wall.append(count / (time.perf_counter() - start))
        core.append(count / (batch["seconds"][-1] - on_core))
        on_core = batch["seconds"][-1]
    data.close()
    return statistics.median(wall), float(np.quantile(core, 0.9))


def table(sources: Sequence[Source], seconds: float) -> None:
    """Print the samples per second of everything."""
    heads = "".join(f"{name + ', wall':>16}{'core':>8}" for name in WORKERS)
    print(f"{'samples per second':32}{heads}")
    for name, make, crops in MAKERS:
        for crop in crops:
            for source in sources:
                dataset, row = make(source, crop), ""
                for workers, workers_are in WORKERS.values():
                    wall, core = rates(dataset, workers, workers_are, seconds)
                    row += f"{wall:16,.0f}{core:8,.0f}"
                print(f"{f'{name}, {crop}, {source.name}':32}{row}", flush=True)


def batched(source: Source, device: torch.device) -> None:
    """Print how long it takes to degrade a batch of 8 on a device."""
    for strategy in ("bsrgan", "resrgan"):
        batches = stream(degraded(strategy, "device")(source, 128), 8, seed=0).batches()
        spans = []
        for _ in range(24):
            batch = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in next(batches).items()}
            start = time.perf_counter()
            finish(batch)["input"].sum().item()
            spans.append(time.perf_counter() - start)
        milliseconds = statistics.median(spans[4:]) * 1000, min(spans[4:]) * 1000
        shown = "{:.0f} ms, at best {:.0f}".format(*milliseconds)
        print(f"{strategy}: 8 samples of 128 degraded at once on {device}: {shown}")


def index(folder: Path, count: int) -> None:
    """Print how long it takes to list so many files."""
    for n in range(count):
        if n % 1000 == 0:
            (folder / f"part{n // 1000}").mkdir(parents=True)
        (folder / f"part{n // 1000}" / f"image_{n * 7919 % 1_000_003}_s{n % 1000:03}.png").touch()
    times = {}
    listing._SETTLED = 0.0  # the folders are new
    cache = str(folder.with_name("cache"))
    for kind, where in (("anew", ""), ("and kept", cache), ("from the cache", cache)):
        os.environ["DARKROOM_CACHE"] = where
        start = time.process_time()
        found = len(list_images([folder]))
        times[kind] = (time.process_time() - start) * 1e6 / found
    shown = ", ".join(f"{seconds:.1f} s {kind}" for kind, seconds in times.items())
    print(f"listing of {count:,} files, as of a million: {shown}")


def main() -> None:
    """Measure and print."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seconds", type=float, default=3.0, help="of every measurement")
    p.add_argument("--images", type=int, default=64)
    p.add_argument("--files", type=int, default=50_000, help="to be listed; 0: leave that out")
    args = p.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        sources = prepare(Path(name), args.images)
        table(sources, args.seconds)
        for device in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
            batched(sources[-1], torch.device(device))
        if args.files:
            index(Path(name, "many"), args.files)


if __name__ == "__main__":
    main()
