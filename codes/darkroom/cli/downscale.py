"""Make low-resolution images of high-resolution ones, as training makes them on the fly, bit for bit."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .files import AGAIN, add_input, reported, tool_parser, whole
from .launch import guarded

EPILOG = f"""examples:
  python -m darkroom downscale -i datasets/mine/photos -o datasets/mine/train --scale 2 4 --hr
  python -m darkroom downscale -i datasets/mine/photos -o datasets/mine/lanczos --scale 4 --kernel lanczos3

Writes LR/X4/..., and with --hr the images that belong to it, HR/X4/..., whose sides are multiples of the scale.
kernels: cubic (as MATLAB's imresize), box, linear, catrom, mitchell, hermite, bell, hanning, hamming, gaussian,
sinc2 to sinc5, lanczos2 to lanczos5, blackman2 to blackman5.
{AGAIN}"""


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    p = tool_parser("downscale", __doc__, EPILOG)
    add_input(p)
    p.add_argument("--scale", type=whole(2), nargs="+", default=[4], metavar="N", help="one or several (default 4)")
    p.add_argument("--kernel", default="cubic", help="see below (default cubic)")
    p.add_argument("--hr", action="store_true", help="write the HR images, cut to multiples of the scale, as well")
    p.add_argument("--enlarged", action="store_true", help="write the LR images, enlarged again, as well")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parser().parse_args(argv)
    return guarded(lambda: _downscale(args))


def _downscale(args: argparse.Namespace) -> int:
    from ..tools.downscale import downscale

    return reported(
        args, lambda w: downscale(args.input, args.output, args.scale, args.kernel, args.hr, args.enlarged, w)
    )


if __name__ == "__main__":
    raise SystemExit(main())
