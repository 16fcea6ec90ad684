"""Measure the images of a folder against those of another, paired by name: PSNR, SSIM, MAE, LPIPS, FID, ..."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .launch import guarded, program, tidily

EPILOG = """examples:
  python -m darkroom eval results/x4/set5 datasets/set5/HR --crop-border 4
  python -m darkroom eval results datasets/places2/val --metrics psnr,ssim,mae,lpips,fid --csv results.csv

exit codes: 0 measured; 1 folders or images that do not fit; 2 a wrong command line."""


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    p = argparse.ArgumentParser(
        program("eval"), description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("results", type=Path, help="a folder of images")
    p.add_argument("truth", type=Path, help="the folder of what they should be")
    p.add_argument("--metrics", default="psnr,ssim,mae", metavar="NAMES", help="default: psnr,ssim,mae")
    p.add_argument("--crop-border", type=int, default=0, metavar="N", help="pixels left out at every edge (default 0)")
    p.add_argument("--csv", type=Path, metavar="FILE", help="write the values of each image")
    p.add_argument("--device", help="cpu, cuda or cuda:N; default: the first GPU, else the CPU")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parser().parse_args(list(sys.argv[1:] if argv is None else argv))
    return guarded(lambda: _evaluate(args))


def _evaluate(args: argparse.Namespace) -> int:
    from ..build.device import choose_device
    from ..build.evaluate import evaluate
    from ..build.testing import parse_device

    tidily()
    names = [name.strip().lower() for name in args.metrics.split(",") if name.strip()]
    device = choose_device(parse_device(args.device), print)
    evaluate(args.results, args.truth, names, border=args.crop_border, table=args.csv, device=device, say=print)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
