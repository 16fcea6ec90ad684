"""Run a trained network over test sets from an option file, or over any folder with a weights file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from . import edgeconnect
from .launch import expect_flag, guarded, option_file, program, tidily

EPILOG = """examples:
  python test.py -opt options/sr/test_sr.yml
  python test.py -i photos/ -m experiments/x4/models/best_G.pth -o out/
  python test.py -i photo.jpg -m model.safetensors -o out/ --tile 256 --self-ensemble

exit codes: 0 all done; 1 an error, or a file that failed (the others are done); 2 wrong options;
130 stopped by Ctrl-C: what is done is whole."""


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    p = argparse.ArgumentParser(
        program("test"), description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("-opt", "--opt", type=Path, metavar="FILE", help="YAML or JSON option file")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change an option of the file")
    p.add_argument("-i", "--input", type=Path, nargs="+", metavar="PATH", help="images and folders")
    p.add_argument("-m", "--model", type=Path, metavar="FILE", help=".pth or .safetensors of a known architecture")
    p.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="where the results go")
    p.add_argument("--scale", type=int, help="of the network, where its file cannot tell (old-layout x3)")
    p.add_argument("--tile", type=int, help="side of tiles in input pixels; default: whole images while they fit")
    p.add_argument("--overlap", type=int, default=32, help="pixels that tiles share (default 32)")
    p.add_argument("--self-ensemble", action="store_true", help="average the 8 flips and rotations: 8 times the work")
    p.add_argument("--half", action="store_true", help="float16 on CUDA")
    p.add_argument("--suffix", default="", help="added to the names of the results")
    p.add_argument("--extension", default="png", choices=("png", "jpg", "webp", "bmp", "tif", "keep"))
    p.add_argument("--alpha", default="network", choices=("network", "bicubic"), help="what enlarges transparency")
    p.add_argument("--skip-existing", action="store_true", help="leave results alone that are there")
    p.add_argument("--device", help="cpu, cuda or cuda:N; default: the first GPU, else the CPU")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    p = parser()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if edgeconnect.asked_for(arguments):
        return edgeconnect.test(arguments)
    expect_flag(p, arguments)
    args = p.parse_args(arguments)
    plain = (args.input, args.model, args.output)
    if args.opt is None and not all(plain):
        p.error("expected -opt FILE, or -i, -m and -o together")
    if args.opt is not None:
        own = {"opt", "set"}
        given = [k for k, v in vars(args).items() if k not in own and v != p.get_default(k)]
        if given:
            flags = ", ".join(f"--{k.replace('_', '-')}" for k in given)
            p.error(f"{flags}: with -opt the file says that; change it there or with --set, or leave -opt away")
    elif args.set:
        p.error("--set changes options of a file: it needs -opt")
    return guarded(lambda: _folders(args) if args.opt is None else _test_sets(args))


def _test_sets(args: argparse.Namespace) -> int:
    from ..build.plan import read_options
    from ..build.testing import plan_testing, run_tests

    options = read_options(option_file(args.opt), args.set)
    plan = plan_testing(options)
    for note in options.notes:
        print(note)
    tidily()
    return run_tests(plan)


def _folders(args: argparse.Namespace) -> int:
    from ..build.testing import upscale

    tidily()
    try:
        return _upscaled(upscale, args)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(f"{stop}; --skip-existing goes on from there" if str(stop) else "") from None


def _upscaled(upscale: Callable[..., int], args: argparse.Namespace) -> int:
    return upscale(
        args.input, args.model, args.output, scale=args.scale, device=args.device, tile=args.tile, overlap=args.overlap,
        self_ensemble=args.self_ensemble, half=args.half, suffix=args.suffix, extension=args.extension,
        alpha=args.alpha, skip_existing=args.skip_existing, say=print,
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
