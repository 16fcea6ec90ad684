"""Write a sheet of the first samples of a training: targets, inputs, and what was done to each."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .launch import guarded, program, tidily

EPILOG = """examples:
  python -m darkroom preview -opt options/sr/quickstart.yml -n 16
  python -m darkroom preview -opt options/sr/quickstart.yml --set datasets.train.augs_strategy=resrgan -o seen.png

exit codes: 0 written; 1 images that cannot serve; 2 options that are wrong."""


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    p = argparse.ArgumentParser(
        program("preview"), description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("-opt", required=True, type=Path, metavar="FILE", help="the option file of a training")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change an option; may be repeated")
    p.add_argument("-n", type=int, default=16, metavar="COUNT", help="how many samples (default 16)")
    p.add_argument("-o", "--output", type=Path, default=Path("preview.png"), metavar="FILE", help="default preview.png")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    p = parser()
    args = p.parse_args(list(sys.argv[1:] if argv is None else argv))
    if args.n < 1:
        p.error(f"-n: expected at least 1, found {args.n}")
    if args.output.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        p.error(f"-o: expected a file that ends in .png, .jpg or .webp, found {args.output}")
    return guarded(lambda: _preview(args))


def _preview(args: argparse.Namespace) -> int:
    from ..build.plan import plan_training, read_options
    from ..build.preview import preview

    tidily()
    options = read_options(args.opt, args.set)
    plan = plan_training(options)
    for note in options.notes:
        print(note)
    for n, sample in enumerate(preview(plan, args.n, args.output)):
        print(f"{n:3}  {sample['path']}  {'; '.join(sample['done'])}")
    print(f"Written: {args.output}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
