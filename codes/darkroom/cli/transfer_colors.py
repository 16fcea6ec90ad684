"""Give images the colours of another one, or each those of its partner in another folder."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from .files import AGAIN, reported, tool_parser, whole
from .launch import guarded

ALGORITHMS = ("rgb", "lab", "ycbcr", "lum", "hue", "pdf", "sot", "histo")
EPILOG = f"""examples:
  python -m darkroom transfer-colors -s sunset.jpg -t photo.jpg -o results/colors -algo lab
  python -m darkroom transfer-colors -s sunset.jpg -t photos -o results/colors -algo pdf --regrain
  python -m darkroom transfer-colors -s graded -t photos -o results/colors -algo histo

The colours are those of -s, the rest is that of -t. If -s is a folder, each image gets those of the one of its name.
algorithms: rgb and lab, mean and deviation of each channel in that space; ycbcr, of the colour without the brightness;
lum, of the brightness alone; hue, of the hue; histo, the histograms of red, green and blue; pdf and sot, the whole
distribution of colours (Pitie 2007; sliced optimal transport).
{AGAIN}"""


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    p = tool_parser("transfer-colors", __doc__, EPILOG)
    p.add_argument(
        "-s", "--source", type=Path, required=True, metavar="PATH", help="image, or folder, with the colours"
    )
    p.add_argument(
        "-t", "--target", type=Path, nargs="+", required=True, metavar="PATH", help="images and folders to change"
    )
    p.add_argument("-algo", "--algorithm", choices=ALGORITHMS, default="lab", help="default: lab")
    p.add_argument("-histo", "--histo", action="store_true", help="match the histograms after that")
    p.add_argument("-regrain", "--regrain", action="store_true", help="bring back the gradients of the image")
    p.add_argument("--seed", type=whole(0), default=0, help="of pdf and sot (default 0)")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parser().parse_args(argv)
    return guarded(lambda: _transfer(args))


def _transfer(args: argparse.Namespace) -> int:
    from ..tools.transfer import transfer_colors

    return reported(
        args,
        lambda w: transfer_colors(
            args.source, args.target, args.output, args.algorithm, histo=args.histo, grain=args.regrain,
            seed=args.seed, workers=w,
        ),
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
