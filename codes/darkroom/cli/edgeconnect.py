"""EdgeConnect's own commands: train.py and test.py with --model and --path."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .launch import guarded, program, tidily

FLAGS = ("--path", "--checkpoints")
TRAINING = """examples:
  python train.py --model 1 --path checkpoints/places2          edges
  python train.py --model 3 --path checkpoints/places2          filling, along predicted edges

phases: 1 edges; 2 filling along true edges; 3 filling along predicted edges, or with SKIP_PHASE2: 1 along either by the
toss of a coin; 4 both together. docs/training-edgeconnect.md explains them."""
TESTING = """example:
  python test.py --model 3 --path checkpoints/places2 --input photos --mask masks --output results

Masks are white where something is missing. Files belong together by their order; one mask may be for all."""


def asked_for(arguments: Sequence[str]) -> bool:
    """Whether the arguments are of this kind."""
    return any(argument.split("=")[0] in FLAGS for argument in arguments)


def _parser(command: str, epilog: str) -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        program(command), description=f"{command} an EdgeConnect folder: a config.yml and weights.", epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    p.add_argument("--path", "--checkpoints", type=Path, required=True, metavar="FOLDER", help="with the config.yml")
    default = "MODEL in config.yml" if command == "train" else "3"
    p.add_argument("--model", type=int, choices=(1, 2, 3, 4), help=f"the phase (default: {default})")
    return p


def train(argv: Sequence[str]) -> int:
    """``train.py --model N --path FOLDER``; returns the exit code."""
    p = _parser("train", TRAINING)
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change an option of config.yml")
    p.add_argument("--dry-run", action="store_true", help="print the options in their native form with every default")
    p.add_argument("--check", action="store_true", help="look at all data, try one step, then say what to expect")
    args = p.parse_args(argv)
    return guarded(lambda: _train(args, argv))


def _train(args: argparse.Namespace, argv: Sequence[str]) -> int:
    from ..build.inpainting import training_options
    from .train import carry_out

    options, source = training_options(args.path, args.model, args.set, print)
    return carry_out(options, source, argv, dry_run=args.dry_run, check=args.check)


def test(argv: Sequence[str]) -> int:
    """``test.py --model N --path FOLDER --input ... --mask ... --output ...``; returns the exit code."""
    p = _parser("test", TESTING)
    p.add_argument("--input", nargs="+", required=True, metavar="PATH", help="pictures: folders, files or .flist")
    p.add_argument("--mask", nargs="+", required=True, metavar="PATH", help="masks, likewise")
    p.add_argument("--edge", nargs="+", default=[], metavar="PATH", help="edges for model 2, likewise (default: Canny)")
    p.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="where the results go")
    p.add_argument("--sigma", type=float, help="of Canny around the hole (default: SIGMA in config.yml)")
    p.add_argument("--device", help="cpu, cuda or cuda:N (default: as DEVICE in config.yml says)")
    args = p.parse_args(argv)
    if args.edge and args.model not in (1, 2):
        p.error("--edge: models 3 and 4 fill along edges that they predict; leave it away, or take model 2")
    return guarded(lambda: _test(args))


def _test(args: argparse.Namespace) -> int:
    from ..build.inpainting import fill_folder

    tidily()
    return fill_folder(
        args.path, args.model or 3, args.input, args.mask, args.output, args.edge, args.sigma, args.device, print
    )


if __name__ == "__main__":
    raise SystemExit(train(sys.argv[1:]))
