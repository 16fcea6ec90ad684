"""Take averaged weights out of a training state, of a file with several sets, or of an AveragedModel's file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from .launch import guarded, tidily

EPILOG = """examples:
  python scripts/extract_average.py experiments/x4/training_state/latest.state ema.pth
  python scripts/extract_average.py experiments/x4/training_state/5000.state swa.pth --which swa
  python scripts/extract_average.py RealESRGAN_x4plus.pth raw.pth --which raw

ema: of a state, or params_ema of a file; swa: of a state, or a file of torch.optim.swa_utils.AveragedModel;
raw: the weights that were trained.
exit codes: 0 written; 1 there are no such weights; 2 a wrong command line."""


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    p = argparse.ArgumentParser(
        "extract_average.py", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("source", type=Path, help=".state, .pth, .pt or .safetensors")
    p.add_argument("target", type=Path, help="the file to write: plain weights, as other programs load them")
    p.add_argument("--which", choices=("ema", "swa", "raw"), help="default: the first average that there is")
    p.add_argument("--network", default="G", metavar="NAME", help="which network of a training state (default G)")
    p.add_argument("--force", action="store_true", help="replace a file that is there")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parser().parse_args(argv)
    return guarded(lambda: _extract(args))


def _extract(args: argparse.Namespace) -> int:
    from ..build.model_files import extract

    tidily()
    extract(args.source, args.target, args.which, args.network, force=args.force, say=print)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
