"""Check pairs of images: whether the LR image shows the same as the HR image, at the same place, and in its size."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from .files import least, tool_parser, whole, with_workers
from .launch import guarded

EPILOG = """examples:
  python -m darkroom align --hr datasets/mine/HR --lr datasets/mine/LR -o results/align
  python -m darkroom align --hr datasets/mine/HR --lr datasets/mine/LR -o results/align --scale 4 --threshold 0.25

Writes align.csv, the shift of each pair in pixels of the HR image, and align.txt, the HR images of faulty pairs. A
shift that all pairs share comes from how the LR images were made: half a pixel, say, from taking every second one.
A second run looks only at pairs that are new or have changed.
exit codes: 0 all pairs are sound; 1 some are not, or an error; 2 a wrong command line; 130 stopped by Ctrl-C."""


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    p = tool_parser("align", __doc__, EPILOG)
    p.add_argument(
        "--hr", type=Path, nargs="+", required=True, metavar="PATH", help="high-resolution images and folders"
    )
    p.add_argument(
        "--lr", type=Path, nargs="+", required=True, metavar="PATH", help="theirs in low resolution, by name"
    )
    p.add_argument("--scale", type=whole(1), metavar="N", help="of the pairs (default: that of most of them)")
    threshold = "longest shift of a sound pair, in pixels of the HR image (default 0.5)"
    p.add_argument("--threshold", type=least(0.01), default=0.5, metavar="PIXELS", help=threshold)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parser().parse_args(argv)
    return guarded(lambda: _check(args))


def _check(args: argparse.Namespace) -> int:
    from ..tools.align import align, summary

    checked = with_workers(args, lambda w: align(args.hr, args.lr, args.output, args.scale, args.threshold, w))
    print(f"{summary(checked)}\nReport: {args.output}")
    return 1 if any(pair.fault for pair in checked) else 0


if __name__ == "__main__":
    raise SystemExit(main())
