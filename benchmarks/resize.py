"""How long MATLAB-like resizing takes on one core, beside Pillow's of the same kind.

python benchmarks/resize.py --side 1024 --rounds 20
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from darkroom.filters.resize import imresize, resize, resize_uint8

KERNELS = ("cubic", "linear", "box", "lanczos3")
PILLOW = {
    "cubic": Image.Resampling.BICUBIC,
    "linear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
    "lanczos3": Image.Resampling.LANCZOS,
}


def milliseconds(function: Callable[[], object], rounds: int) -> float:
    """The median time of a call."""
    function()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def main() -> None:
    """Measure and print the table."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--side", type=int, default=1024, help="of the square image with three channels")
    p.add_argument("--rounds", type=int, default=20)
    given = p.parse_args()
    torch.set_num_threads(1)
    pixels = np.random.default_rng(0).integers(0, 256, (given.side, given.side, 3), dtype=np.uint8)
    floats = pixels.astype(np.float32) / 255
    tensor = torch.from_numpy(floats).permute(2, 0, 1)[None].contiguous()
    picture = Image.fromarray(pixels)
    print(f"{given.side} x {given.side} x 3, one thread, ms (median of {given.rounds}); ratio: bytes over Pillow")
    print(f"{'kernel':10}{'scale':>6}{'bytes':>9}{'floats':>9}{'tensor':>9}{'Pillow':>9}{'ratio':>8}")
    for kernel in KERNELS:
        for scale in (1 / 4, 1 / 2, 2.0):
            size = (round(given.side * scale),) * 2
            ours = milliseconds(lambda: resize_uint8(pixels, scale, kernel=kernel), given.rounds)  # noqa: B023
            others = [
                milliseconds(lambda: imresize(floats, scale, kernel=kernel), given.rounds),  # noqa: B023
                milliseconds(lambda: resize(tensor, scale, kernel=kernel), given.rounds),  # noqa: B023
                milliseconds(lambda: picture.resize(size, PILLOW[kernel]), given.rounds),  # noqa: B023
            ]
            row = "".join(f"{value:9.1f}" for value in (ours, *others))
            print(f"{kernel:10}{scale:6.2f}{row}{ours / others[-1]:8.2f}")


if __name__ == "__main__":
    main()
