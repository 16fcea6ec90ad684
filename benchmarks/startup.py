"""How long a user waits: for --help, for --dry-run, and for the first iteration, beside what torch itself takes.

python benchmarks/startup.py --rounds 5
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
QUICKSTART = ROOT / "options" / "sr" / "quickstart.yml"
BARE = """
import torch
from torch import nn
body = [nn.Sequential(nn.PReLU({nf}), nn.Conv2d({nf}, {nf}, 3, padding=1)) for _ in range({n})]
net = nn.Sequential(nn.Conv2d(3, {nf}, 3, padding=1), *body, nn.Conv2d({nf}, 12, 3, padding=1), nn.PixelShuffle(2))
optimizer = torch.optim.Adam(net.parameters())
x, y = torch.rand({batch}, 3, {crop} // 2, {crop} // 2), torch.rand({batch}, 3, {crop}, {crop})
nn.functional.l1_loss(net(x), y).backward()
optimizer.step()
"""


def seconds(command: list[str]) -> float:
    """Wall time of a command that must succeed."""
    start = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return time.perf_counter() - start


def first_iteration(folder: Path) -> float:
    """From the launch of train.py to the end of its first iteration, by its own log line."""
    command = [sys.executable, "train.py", "-opt", str(QUICKSTART), "--set", "logger.print_freq=1"]
    command += ["--set", f"path.root={folder}"]
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "iter:       1," in line:
            break
    else:
        raise SystemExit("train.py ended before its first iteration")
    taken = time.perf_counter() - start
    process.kill()
    process.wait()
    return taken


def main() -> None:
    """Measure and print the table."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rounds", type=int, default=5)
    args = p.parse_args()
    sys.path.insert(0, str(ROOT / "codes"))
    from darkroom.build.plan import plan_training, read_options

    plan = plan_training(read_options(QUICKSTART))
    sizes = {
        "nf": plan.networks["G"].arguments["nf"], "n": plan.networks["G"].arguments["num_conv"],
        "batch": plan.loader.batch_size, "crop": plan.dataset.arguments["crop"],
    }  # fmt: skip
    rows: dict[str, list[float]] = {
        k: [] for k in ("import torch", "bare first iteration", "--help", "--dry-run", "first iteration")
    }
    with tempfile.TemporaryDirectory() as name:
        for _ in range(args.rounds):
            rows["import torch"].append(seconds([sys.executable, "-c", "import torch"]))
            rows["bare first iteration"].append(seconds([sys.executable, "-c", BARE.format(**sizes)]))
            rows["--help"].append(seconds([sys.executable, "train.py", "--help"]))
            rows["--dry-run"].append(seconds([sys.executable, "train.py", "-opt", str(QUICKSTART), "--dry-run"]))
            rows["first iteration"].append(first_iteration(Path(name)))
    medians = {k: statistics.median(v) for k, v in rows.items()}
    for k, v in rows.items():
        print(f"{k:22} median {medians[k]:.2f} s   ({min(v):.2f} .. {max(v):.2f})")
    print(f"--dry-run / import torch: {medians['--dry-run'] / medians['import torch']:.2f} (target 1.5)")
    print(f"first iteration / bare:   {medians['first iteration'] / medians['bare first iteration']:.2f} (target 1.5)")


if __name__ == "__main__":
    main()
