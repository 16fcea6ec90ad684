"""Take frames out of videos as PNG files, alone or as pairs of a high and a low resolution."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .files import AGAIN, least, reported, tool_parser, whole
from .launch import guarded

if TYPE_CHECKING:
    from ..tools.work import Report, Workers

EPILOG = f"""examples:
  python -m darkroom frames -i film.mkv -o datasets/film --every 24 --min-change 4 --scale 4
  python -m darkroom frames -i bluray.mkv --low dvd.mkv -o datasets/film --start 60 --end 300 --every 10

Writes HR/film/000024.png, ..., numbered as in the video from 0 on, and with --scale or --low the same numbers below
LR. --min-change leaves out frames that are nearly the one taken before: 1 those of a still picture, 4 those of little
motion.
{AGAIN}"""


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    p = tool_parser("frames", __doc__, EPILOG)
    p.add_argument("-i", "--input", type=Path, nargs="+", required=True, metavar="FILE", help="videos")
    low = "the same videos in a lower resolution, as many and as long"
    p.add_argument("--low", type=Path, nargs="+", default=[], metavar="FILE", help=low)
    p.add_argument("--every", type=whole(1), default=1, metavar="N", help="take each N-th frame (default 1)")
    p.add_argument("--start", type=least(0), default=0.0, metavar="SECONDS", help="default 0")
    p.add_argument("--end", type=least(0), metavar="SECONDS", help="default: the end")
    change = "mean difference to the frame taken before, in levels of 255 (default 0: take all)"
    p.add_argument("--min-change", type=least(0), default=0.0, metavar="LEVELS", help=change)
    p.add_argument("--scale", type=whole(2), metavar="N", help="write frames downscaled by this as well")
    p.add_argument("--kernel", default="cubic", help="of --scale; see python -m darkroom downscale (default cubic)")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parser().parse_args(argv)
    return guarded(lambda: _extract(args))


def _extract(args: argparse.Namespace) -> int:
    from ..tools.frames import FrameSettings, frames

    def work(workers: Workers) -> Report:
        settings = FrameSettings(
            every=args.every, start=args.start, end=args.end, min_change=args.min_change, scale=args.scale,
            kernel=args.kernel,
        )  # fmt: skip
        return frames(args.input, args.output, settings, args.low, workers)

    return reported(args, work)


if __name__ == "__main__":
    raise SystemExit(main())
