"""The weights of a torch.optim.swa_utils.AveragedModel's file, as any program loads them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from .launch import guarded, tidily

EPILOG = """examples:
  python scripts/swa2normal.py -m 5000_swaG.pth
  python scripts/swa2normal.py -m 5000_swaG.pth -d models/swa.pth

Without -d, the file is called <name>_converted.pth and is where you stand.
exit codes: 0 written; 1 the file is no average; 2 a wrong command line."""


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    p = argparse.ArgumentParser(
        "swa2normal.py", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("-m", "-model", "--model", type=Path, required=True, metavar="FILE", help="with n_averaged in it")
    p.add_argument("-d", "-dest", "--dest", type=Path, metavar="FILE", help="the file to write")
    p.add_argument("--force", action="store_true", help="replace a file that is there")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parser().parse_args(argv)
    return guarded(lambda: _convert(args))


def _convert(args: argparse.Namespace) -> int:
    from ..build.model_files import extract

    tidily()
    target = args.dest or Path(f"{args.model.name.partition('.')[0]}_converted.pth")
    extract(args.model, target, "swa", "G", force=args.force, say=print)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
