"""Split a folder of images into lists for training, validation and tests: train.flist, val.flist, test.flist.

The images are dealt out in the order of their names, so that all three lists are spread over the whole folder: of every
30, the first is for validation, the second for tests, and the others are for training.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "codes"))

from darkroom.cli.launch import guarded, tidily

EPILOG = """examples:
  python scripts/flist_train_split.py --path datasets/anime --output datasets/lists
  python scripts/flist_train_split.py --path datasets/anime --output datasets/lists --train 28 --val 1 --test 1

Subfolders belong to it. A list is a text file with one absolute path a line; config.yml names it as TRAIN_FLIST,
VAL_FLIST and TEST_FLIST.
exit codes: 0 written; 1 there are no images, or lists already; 2 a wrong command line."""


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    p = argparse.ArgumentParser(
        "flist_train_split.py",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--path", type=Path, required=True, metavar="FOLDER", help="the images")
    p.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="where the three lists go")
    for name, count, what in (("train", 28, "training"), ("val", 1, "validation"), ("test", 1, "tests")):
        p.add_argument(f"--{name}", type=int, default=count, metavar="N", help=f"images for {what} (default {count})")
    p.add_argument("--force", action="store_true", help="replace lists that are there")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    p = parser()
    args = p.parse_args(argv)
    if min(args.train, args.val, args.test) < 0 or not args.train + args.val + args.test:
        p.error("--train, --val and --test: expected numbers from 0 on, one of them more")
    return guarded(lambda: _split(args))


def _split(args: argparse.Namespace) -> int:
    from darkroom.data.flist import split_folder, write_flists

    tidily()
    parts = split_folder(args.path, args.train, args.val, args.test)._asdict()
    write_flists(args.output, parts, args.force)
    for name, images in parts.items():
        print(f"{args.output / f'{name}.flist'}: {len(images):,} images")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
