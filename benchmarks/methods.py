"""Time and memory of one training iteration of each method, with its shipped template's networks and losses.

Each measurement is a process of its own: the template on sample photographs, its batch and crop as given here, without
pretrained weights (feature networks get random ones). Time is the median of iterations after the first ones; memory is
the peak resident size above that of the imported program on the CPU, the peak of the allocator on CUDA.

    python benchmarks/methods.py
    python benchmarks/methods.py --methods pix2pix,cyclegan --batch 1 --crop 256 --device cuda
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "codes"))
TEMPLATES = {
    "sr": "sr/train_sr.yml",
    "ppon": "sr/train_ppon.yml",
    "srflow": "srflow/train_srflow.yml",
    "pix2pix": "i2i/train_pix2pix.yml",
    "cyclegan": "i2i/train_cyclegan.yml",
    "wbc": "i2i/train_wbc.yml",
}
DROPPED = ("pretrain_model_G", "pretrain_model_G_A", "pretrain_model_G_B", "load_submodule")


def shortened(template: Path, folder: Path, batch: int, crop: int, device: str) -> dict[str, Any]:
    """The template's options, on sample photographs."""
    import yaml

    from darkroom.data.photographs import write_sample

    write_sample(folder / "sample")
    photographs = str(folder / "sample/train/HR")
    options: dict[str, Any] = yaml.safe_load(template.read_text(encoding="utf-8"))
    data = options["datasets"]["train"]
    for key in ("load_size", "sampler_weights", "dataroot_AB", "direction", "dataroot_HR", "virtual_batch_size"):
        data.pop(key, None)
    if options["datasets"]["train"]["mode"] == "concat_unaligned":
        data["mode"] = "unaligned"
    roots = ("A", "B") if template.parent.name == "i2i" else ("HR",)
    data |= {f"dataroot_{root}": photographs for root in roots}
    data |= {"batch_size": batch, "crop_size": crop, "n_workers": 1, "preprocess": "crop"}
    options["datasets"] = {"train": data}
    options["path"] = {"root": str(folder)}
    options["gpu_ids"] = [0] if device == "cuda" else []
    options["use_tb_logger"] = False
    for key in ("val_freq", "metrics", "display_freq"):
        options["train"].pop(key, None)
    return options


def backbones(folder: Path) -> None:
    """The feature network of random weights in torch's cache, as the published one is large and far away."""
    import os

    import torch

    from darkroom.archs.vgg import VGGFeatures

    os.environ["TORCH_HOME"] = str(folder)
    vgg = VGGFeatures(layers=("conv5_4",))
    home = folder / "hub" / "checkpoints"
    home.mkdir(parents=True)
    state = {key: torch.randn(value.shape) / value[0].numel() ** 0.5 for key, value in vgg.state_dict().items()}
    torch.save(state, home / vgg.file)


def measure(template: Path, batch: int, crop: int, device: str, iterations: int) -> dict[str, float]:
    """Seconds and MiB of an iteration, in this process."""
    import torch
    import yaml

    from darkroom.build.plan import plan_training, read_options
    from darkroom.build.training import open_run

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        backbones(folder)
        file = folder / "options.yml"
        file.write_text(yaml.safe_dump(shortened(template, folder, batch, crop, device)), encoding="utf-8")
        before = peak()
        options = read_options(file)
        run = open_run(plan_training(options), options.notes, file, announce=False)
        batches, seconds = run.loop.data(0), []
        for _ in range(iterations + 2):
            start = time.perf_counter()
            run.loop.iterate([run.loop.on_device(next(batches))])
            if device == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
        run.close()
        memory = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else peak() - before
    return {"seconds": statistics.median(seconds[2:]), "memory": memory}


def peak() -> float:
    """The largest resident size of this process so far, in MiB."""
    import platform
    import resource

    unit = 2**20 if platform.system() == "Darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def main() -> None:
    """Measure each method in a process of its own, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default=",".join(TEMPLATES), help="which (default: all)")
    parser.add_argument("--batch", type=int, default=1, help="images per iteration (default: 1)")
    parser.add_argument("--crop", type=int, default=256, help="side of the target's crops (default: 256)")
    parser.add_argument("--iterations", type=int, default=5, help="that are measured (default: 5)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    o = parser.parse_args()
    if o.one:
        found = measure(ROOT / "options" / TEMPLATES[o.one], o.batch, o.crop, o.device, o.iterations)
        print(json.dumps(found))
        return
    print(f"batch {o.batch}, crop {o.crop}, {o.device}, median of {o.iterations}")
    for name in o.methods.split(","):
        command = [sys.executable, __file__, "--one", name, "--batch", str(o.batch), "--crop", str(o.crop)]
        command += ["--iterations", str(o.iterations), "--device", o.device]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{name:10} failed: {done.stderr.strip().splitlines()[-1]}")
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        print(f"{name:10} {found['seconds']:8.2f} s {found['memory']:8.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
