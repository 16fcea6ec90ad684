"""Mix models of one architecture: the weighted mean of their weights, between sharp and smooth results say."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from .launch import guarded, tidily

EPILOG = """examples:
  python scripts/net_interp.py --models psnr.pth gan.pth --alpha 0.8 -o mixed.pth
  python scripts/net_interp.py --models a.pth b.pth c.safetensors --weights 0.5 0.3 0.2 -o mixed.pth
  python scripts/net_interp.py -netA psnr.pth -netB gan.pth -i 0.8 -o mixed.pth

--alpha is the share of the second model: 0 is the first one, 1 the second.
exit codes: 0 written; 1 the models do not fit each other; 2 a wrong command line or wrong weights."""


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    p = argparse.ArgumentParser(
        "net_interp.py", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--models", type=Path, nargs="+", metavar="FILE", default=[], help="two or more weights files")
    p.add_argument("-netA", "--netA", type=Path, metavar="FILE", help="the first of two models")
    p.add_argument("-netB", "--netB", type=Path, metavar="FILE", help="the second of two models")
    p.add_argument(
        "--alpha", "-i", "-interpolate", "--interpolate", type=float, help="share of the second of two models"
    )
    p.add_argument("--weights", type=float, nargs="+", metavar="W", help="one per model, sum 1; default: equal ones")
    p.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="in the keys of the first model")
    p.add_argument("--scale", type=int, help="of the networks, where a file cannot tell (old-layout x3)")
    p.add_argument("--force", action="store_true", help="replace a file that is there")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    p = parser()
    args = p.parse_args(argv)
    named = [path for path in (args.netA, args.netB) if path is not None]
    models = args.models or named
    if (args.models and named) or len(models) < 2:
        p.error("expected --models with two files or more, or -netA and -netB")
    if args.alpha is not None and (args.weights is not None or len(models) != 2):
        p.error("--alpha is for two models; write --weights with a number for each")
    shares = [1 - args.alpha, args.alpha] if args.alpha is not None else args.weights
    return guarded(lambda: _interpolate(args, models, shares))


def _interpolate(args: argparse.Namespace, models: Sequence[Path], shares: Sequence[float] | None) -> int:
    from ..build.model_files import interpolate

    tidily()
    interpolate(models, shares, args.output, force=args.force, scale=args.scale, say=print)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
