"""Cut training crops out of a collection of photographs, at random places and of several sizes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .files import AGAIN, add_input, least, reported, tool_parser, whole
from .launch import guarded

EPILOG = f"""examples:
  python -m darkroom crops -i photos -o datasets/mine/crops
  python -m darkroom crops -i photos -o datasets/mine/crops --size 320 --scales 1 2 4 --min-detail 20

Each photograph is reduced by each of --scales, and gives crops while it is large enough: of 1500x2000 pixels about 60.
JPEG files are reduced twice as much, which takes away the noise of telephones; --jpeg-shrink 1 leaves them alone.
They are turned upright, and written as 0/0.png to 0/999.png, 1/1000.png, ...; crops.csv says which are of which
photograph. The same command makes the same crops; photographs that are new at a second run get the numbers that follow.
{AGAIN}"""


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    p = tool_parser("crops", __doc__, EPILOG)
    add_input(p)
    p.add_argument("--size", type=whole(1), default=256, metavar="N", help="side of a crop (default 256)")
    scales = "photographs are reduced so many times (default 1 2 4 8)"
    p.add_argument("--scales", type=whole(1), nargs="+", default=[1, 2, 4, 8], metavar="N", help=scales)
    density = "crops that see a pixel, on average, at each scale (default 1)"
    p.add_argument("--density", type=least(0), default=1.0, metavar="D", help=density)
    p.add_argument("--jpeg-shrink", type=whole(1), default=2, metavar="N", help="of JPEG files, before (default 2)")
    detail = (
        "leave out crops of a sharpness (variance of the Laplacian) below this; 20 leaves out flat ones (default 0)"
    )
    p.add_argument("--min-detail", type=least(0), default=0.0, metavar="V", help=detail)
    p.add_argument("--seed", type=whole(0), default=0, help="another one gives other crops (default 0)")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parser().parse_args(argv)
    return guarded(lambda: _crop(args))


def _crop(args: argparse.Namespace) -> int:
    from ..tools.crops import CropSettings, crops

    return reported(
        args,
        lambda w: crops(
            args.input,
            args.output,
            CropSettings(
                size=args.size, scales=tuple(args.scales), density=args.density, jpeg_shrink=args.jpeg_shrink,
                min_detail=args.min_detail, seed=args.seed,
            ),
            w,
        ),
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
