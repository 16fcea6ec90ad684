"""The real training loop against a bare PyTorch loop with the same network, batch and optimizer, data in memory.

Each measurement is a process of its own, in the order bare, real, bare, real, ...: the ratio is taken between
neighbours, so that a machine that slows down for both does not count. Memory is the peak resident size of the process
(and of its data workers beside it), measured by the process at its end.

    python benchmarks/train_loop.py --rounds 3 --iterations 40
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "codes"))
NETWORK = {"type": "esrgan", "nb": 2, "nf": 32, "gaussian": False}
BATCH, CROP, SCALE, WARM = 8, 128, 4, 5


def options(folder: Path, iterations: int, workers: int) -> dict:
    """The option file of the real run: PNG photographs on the disk, LR made on the fly, logs, TensorBoard."""
    return {
        "name": "benchmark",
        "model": "sr",
        "scale": SCALE,
        "gpu_ids": [],
        "sample_photographs": str(folder / "sample"),
        "datasets": {
            "train": {
                "type": "aligned", "target": [str(folder / "sample/train/HR")], "crop": CROP, "flip": True,
                "rotate": True, "batch_size": BATCH, "workers": workers,
            }
        },
        "network_G": NETWORK,
        "losses": [{"type": "l1"}],
        "optim_G": {"type": "adam", "lr": 1e-4},
        "train": {"iterations": iterations},
        "checkpoint": {"every": 10**6},
        "logger": {"every": 10},
        "path": {"root": str(folder)},
    }  # fmt: skip


def bare(iterations: int) -> list[float]:
    """Seconds of each iteration of the plain loop."""
    import torch

    from darkroom.archs import ARCHS

    torch.manual_seed(0)
    network = ARCHS["esrgan"](scale=SCALE, **{k: v for k, v in NETWORK.items() if k != "type"}).train()
    optimizer = torch.optim.Adam(network.parameters(), 1e-4)
    lr, hr = torch.rand(BATCH, 3, CROP // SCALE, CROP // SCALE), torch.rand(BATCH, 3, CROP, CROP)
    times = []
    for _ in range(iterations):
        start = time.perf_counter()
        loss = torch.nn.functional.l1_loss(network(lr), hr)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
    return times


def real(iterations: int, workers: int) -> list[float]:
    """Seconds of each iteration of a run from an option file: data, step, chores, everything between two iterations."""
    import yaml

    from darkroom.build.plan import plan_training, read_options
    from darkroom.build.training import open_run
    from darkroom.engine.loop import Every

    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "options.yml"
        path.write_text(yaml.safe_dump(options(Path(name), iterations, workers)), encoding="utf-8")
        run = open_run(plan_training(read_options(path)), (), path)
        stamps: list[float] = []
        run.loop.chores = [*run.loop.chores, Every(1, lambda loop: stamps.append(time.perf_counter()))]
        run.train()
        run.close()
    return [b - a for a, b in pairwise(stamps)]


def peak_mib() -> dict[str, float]:
    """Peak resident memory of this process and of its largest finished child."""
    import resource

    unit = 1024 if platform.system() == "Linux" else 1024**2
    who = {"process": resource.RUSAGE_SELF, "largest worker": resource.RUSAGE_CHILDREN}
    return {name: resource.getrusage(which).ru_maxrss / unit for name, which in who.items()}


def child(kind: str, iterations: int, workers: int, threads: int) -> dict:
    """Measure one kind in a process of its own."""
    command = [sys.executable, __file__, "--measure", kind, "--iterations", str(iterations), "--workers", str(workers)]
    env = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure and print the table."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--iterations", type=int, default=40)
    p.add_argument("--workers", type=int, default=1)
    p.add_argument("--threads", type=int, default=1, help="of the computation; a core is left for reading by default")
    p.add_argument("--measure", choices=("bare", "real"), help=argparse.SUPPRESS)
    args = p.parse_args()
    if args.measure:
        times = bare(args.iterations) if args.measure == "bare" else real(args.iterations, args.workers)
        print(
            json.dumps(
                {"seconds": statistics.median(times[WARM:]), "mean": statistics.mean(times[WARM:]), "peak": peak_mib()}
            )
        )
        return
    ratios, means = [], []
    print(f"esrgan nb=2 nf=32, batch {BATCH}, crop {CROP}, {args.iterations} iterations")
    print(f"{args.threads} compute threads, {args.workers} data workers")
    for i in range(args.rounds):
        a, b = (child(kind, args.iterations, args.workers, args.threads) for kind in ("bare", "real"))
        ratios.append(b["seconds"] / a["seconds"])
        means.append(b["mean"] / a["mean"])
        print(
            f"round {i + 1}: bare {a['seconds']:.4f} s/it, real {b['seconds']:.4f} s/it, "
            f"ratio of medians {ratios[-1]:.3f}, of means {means[-1]:.3f}; "
            f"peak MiB: bare {a['peak']['process']:.0f}, real {b['peak']['process']:.0f} "
            f"(largest worker {b['peak']['largest worker']:.0f})"
        )
    print(f"ratio real/bare, median of rounds: {statistics.median(ratios):.3f} (means: {statistics.median(means):.3f})")


if __name__ == "__main__":
    main()
