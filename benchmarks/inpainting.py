"""How well a short training fills holes in photographs that it has not seen: against the mean colour around the hole.

Phase 2 of EdgeConnect (true edges) with a small generator, on crops of a folder of photographs; then every photograph
of another folder, with several random blocks missing. Prints the PSNR of the filled regions (their mean squared errors
averaged) and writes a sheet. Some twenty colour photographs of different things are about the least that serves:
generators normalise each image, so that colours have to be learnt from many.

    python benchmarks/inpainting.py --photographs PHOTOS --unseen OTHERS --iterations 3000
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "codes"))
HOLES = 4


def options(args: argparse.Namespace) -> dict[str, Any]:
    """A training file in native sections."""
    data = {"type": "masked", "mask": "block", "size": args.size, "sigma": 1}
    judged, fooled = ({"type": t, "mode": "nsgan", "player": who} for t, who in (("judged", "D"), ("fooled", "G")))
    return {
        "name": "inpainting",
        "model": {"type": "inpaint", "lead": "true"},
        "seed": 10,
        "gpu_ids": [],
        "datasets": {
            "train": {**data, "images": str(args.work / "crops"), "flip": True, "batch_size": 6, "workers": 0},
            "val": {**data, "images": str(args.unseen)},
        },
        "network_G": {"type": "inpaint_generator", "nf": 24, "residual_blocks": 2},
        "network_D": {"type": "edgeconnect_discriminator", "in_nc": 3, "nf": 16},
        "losses": [
            {"name": "l_d2", **judged},
            {"name": "l_g2", "weight": 0.001, **fooled},
            {"name": "l_l1", "type": "masked_l1", "to": "image", "player": "G"},
        ],
        "optim_G": {"type": "adam", "lr": 1e-3, "betas": [0.5, 0.99]},
        "optim_D": {"type": "adam", "lr": 1e-5, "betas": [0, 0.9]},
        "schedule": {"type": "cosine", "T_max": args.iterations},
        "ema": {"decay": 0.98},
        "train": {"iterations": args.iterations},
        "validate": {"every": args.iterations, "metrics": [{"type": "psnr", "of": "merged", "to": "image"}]},
        "checkpoint": {"every": args.iterations},
        "logger": {"every": 250, "tensorboard": False},
        "path": {"root": str(args.work)},
    }


def compare(run: Any, unseen: Path, size: int, sheet_file: Path) -> None:
    """Print the table, and write the sheet."""
    import numpy as np
    import torch

    from darkroom.data.images import write
    from darkroom.data.masked import Masked
    from darkroom.inference.sheets import enlarged, sheet

    dataset = Masked(str(unseen), mask="block", size=size, sigma=1)
    rows, total = [], np.zeros(2)
    print(f"{'photograph':24} {'mean colour':>12} {'model':>8}   (dB, in {HOLES} holes)")
    for index in range(len(dataset)):
        errors = np.zeros(2)
        for hole in range(HOLES):
            item = dataset.item(index, np.random.default_rng(hole))
            batch = {name: item[name][None].float() / 255 for name in ("image", "mask", "edge")}
            image, mask = batch["image"], batch["mask"]
            with torch.inference_mode():
                merged = run.validate.judge(run.loop, batch)["merged"]
            mean = ((image * (1 - mask)).sum((2, 3), keepdim=True) / (1 - mask).sum()).expand_as(image)
            fills = [fill * mask + image * (1 - mask) for fill in (mean, merged)]
            errors += [float((fill - image).square().sum() / (3 * mask.sum())) for fill in fills]
        shown = zip(("truth", "mean colour", "model"), (image, *fills), strict=True)
        levels = {name: (fill[0].permute(1, 2, 0) * 255).round().byte().numpy() for name, fill in shown}
        rows.append([(name, enlarged(pixels, 2)) for name, pixels in levels.items()])
        total += errors
        mean_db, model_db = -10 * np.log10(errors / HOLES)
        print(f"{Path(item['path']).name:24} {mean_db:12.2f} {model_db:8.2f}")
    mean_db, model_db = -10 * np.log10(total / HOLES / len(dataset))
    print(f"{'all':24} {mean_db:12.2f} {model_db:8.2f}")
    write(sheet_file, sheet(rows))


def main() -> None:
    """Run."""
    import yaml

    from darkroom.build.plan import plan_training, read_options
    from darkroom.build.training import open_run
    from darkroom.tools.crops import CropSettings, crops

    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--photographs", type=Path, required=True, metavar="DIR", help="to learn from")
    p.add_argument("--unseen", type=Path, required=True, metavar="DIR", help="to fill holes in")
    p.add_argument("--iterations", type=int, default=3000)
    p.add_argument("--size", type=int, default=64)
    p.add_argument(
        "--work", type=Path, default=Path("inpainting-benchmark"), metavar="DIR", help="where all is written"
    )
    args = p.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    settings = CropSettings(size=args.size, scales=(2, 3, 4, 6), density=6.0, jpeg_shrink=1)
    crops([args.photographs], args.work / "crops", settings)
    file = args.work / "options.yml"
    file.write_text(yaml.safe_dump(options(args)), encoding="utf-8")
    read = read_options(file)
    run = open_run(plan_training(read), read.notes, file)
    start = time.perf_counter()
    run.train()
    print(f"{args.iterations} iterations: {time.perf_counter() - start:.0f} s")
    compare(run, args.unseen, args.size, args.work / "sheet.png")
    run.close()


if __name__ == "__main__":
    main()
