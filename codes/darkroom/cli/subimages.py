"""Cut images into overlapping pieces of a few hundred pixels, which training reads faster than whole photographs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .files import AGAIN, add_input, reported, tool_parser, whole
from .launch import guarded

EPILOG = f"""examples:
  python -m darkroom subimages -i datasets/DIV2K/HR -o datasets/DIV2K/HR_sub
  python -m darkroom subimages -i datasets/DIV2K/LR/X4 -o datasets/DIV2K/LR_sub --size 120 --step 60 --threshold 12

The pieces of 0801.png are 0801_s001.png, 0801_s002.png, ... row by row; an image smaller than --size stays whole. For
pairs, divide all three numbers by the scale for the LR images; sides of HR images have to be multiples of the scale.
{AGAIN}"""


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    p = tool_parser("subimages", __doc__, EPILOG)
    add_input(p)
    p.add_argument("--size", type=whole(1), default=480, metavar="N", help="side of a piece (default 480)")
    p.add_argument("--step", type=whole(1), default=240, metavar="N", help="from piece to piece (default 240)")
    rest = "a rest of more than that, at the right and at the bottom, gets a piece as well (default 48)"
    p.add_argument("--threshold", type=whole(0), default=48, metavar="N", help=rest)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parser().parse_args(argv)
    return guarded(lambda: _cut(args))


def _cut(args: argparse.Namespace) -> int:
    from ..tools.subimages import subimages

    return reported(args, lambda w: subimages(args.input, args.output, args.size, args.step, args.threshold, w))


if __name__ == "__main__":
    raise SystemExit(main())
