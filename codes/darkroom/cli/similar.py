"""Find images that are nearly the same, and images in which there is little to see. Nothing is deleted."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .files import add_input, least, tool_parser, whole, with_workers
from .launch import guarded

EPILOG = """examples:
  python -m darkroom similar -i datasets/mine -o results/similar
  python -m darkroom similar -i datasets/mine -o results/similar --distance 10 --min-sharpness 30

Writes report.csv, a row for each image; similar.txt, the images that are nearly another one, which is not in the list
(the largest of a group is kept); similar.png, the first pairs side by side; and low_detail.txt, images of few levels
(--min-entropy, in bits) or without sharp edges (--min-sharpness, the variance of the Laplacian).
Images count as nearly the same if their perceptual hashes differ in at most --distance of 64 bits: resized, compressed
or brightened ones do so in up to 6, others in more than 20.
A second run, also one with other limits, decodes only what is new or has changed.
exit codes: 0 all images were looked at; 1 an error, or a file that failed; 2 a wrong command line; 130 stopped by
Ctrl-C."""


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    p = tool_parser("similar", __doc__, EPILOG)
    add_input(p)
    p.add_argument("--distance", type=whole(0), default=6, metavar="BITS", help="0 to 31 (default 6)")
    p.add_argument("--min-entropy", type=least(0), default=3.0, metavar="BITS", help="0 to 8 (default 3)")
    p.add_argument("--min-sharpness", type=least(0), default=10.0, metavar="V", help="default 10")
    p.add_argument("--pairs", type=whole(0), default=20, metavar="N", help="shown in similar.png (default 20)")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parser().parse_args(argv)
    return guarded(lambda: _look(args))


def _look(args: argparse.Namespace) -> int:
    from ..tools.similar import similar

    limits = (args.distance, args.min_entropy, args.min_sharpness, args.pairs)
    found = with_workers(args, lambda w: similar(args.input, args.output, *limits, w))
    copies = sum(len(group) - 1 for group in found.groups)
    print(f"{len(found.seen)} images looked at, {len(found.failed)} failed")
    print(f"{copies} are nearly another one, in {len(found.groups)} groups; {len(found.low)} are of low detail")
    for failure in found.failed:
        print(f"  {failure.source}: {failure.reason}")
    print(f"Report: {args.output}")
    return 1 if found.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
