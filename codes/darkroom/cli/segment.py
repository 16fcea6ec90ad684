"""Make the segmentation maps that SFTGAN needs: how probable sky, water, grass ... are at each pixel of an image."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from .launch import guarded, tidily

EPILOG = """examples:
  python scripts/test_seg.py -i datasets/OST/train/img -o datasets/OST/train/bicseg -m segmentation_OST_bic.pth
  python scripts/test_seg.py -i photos/ -o maps/ -m segmentation_OST_bic.pth --format npz --preview
  python scripts/test_seg.py -i small/ -o maps/ -m segmentation_OST_bic.pth --lr --factor 4

The maps of img/sky/1.png are sky/1_bic.pth in the output folder, a tensor (8, H, W) of float32, 32 bytes a pixel; with
--format npz they are sky/1_bic.npz, bytes (probabilities times 255) under the key maps, compressed: a tenth of that or
less. Training reads both; .pth files are the faster ones, for only the crop of them is read.
Images are reduced 4 times and enlarged again before the network sees them, as it was trained for that.
exit codes: 0 all done; 1 an error, or a file that failed (the others are done); 2 a wrong command line;
130 stopped by Ctrl-C: what is done is whole."""


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    p = argparse.ArgumentParser(
        "test_seg.py", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("-i", "--input", type=Path, nargs="+", required=True, metavar="PATH", help="images and folders")
    p.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="where the maps go")
    p.add_argument(
        "-m", "--model", type=Path, required=True, metavar="FILE", help="segmentation_OST_bic.pth, or one like it"
    )
    p.add_argument("--format", default="pth", choices=("pth", "npz"), help="of the maps (default pth)")
    p.add_argument("--factor", type=int, default=4, help="reduce and enlarge images so many times (default 4; 1: not)")
    p.add_argument("--lr", action="store_true", help="the images are small already: only enlarge them")
    p.add_argument("--preview", action="store_true", help="write pictures of the classes too, NAME_preview.jpg")
    p.add_argument("--skip-existing", action="store_true", help="leave maps alone that are there")
    p.add_argument("--device", help="cpu, cuda or cuda:N; default: the first GPU, else the CPU")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parser().parse_args(argv)
    return guarded(lambda: _segment(args))


def _segment(args: argparse.Namespace) -> int:
    from ..build.segmentation import segment

    tidily()
    try:
        return segment(
            args.input, args.model, args.output, device=args.device, say=print, format=args.format, factor=args.factor,
            low=args.lr, preview=args.preview, skip_existing=args.skip_existing,
        )  # fmt: skip
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(f"{stop}; --skip-existing goes on from there" if str(stop) else "") from None


if __name__ == "__main__":
    raise SystemExit(main())
