"""Find damaged image files: every one is decoded. Nothing is deleted."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .files import add_input, tool_parser, with_workers
from .launch import guarded

EPILOG = """examples:
  python -m darkroom faulty -i datasets/mine -o results/faulty

Writes faulty.csv, the files and what is wrong with them, and faulty.txt, one path a line. What no decoder notices:
altered bytes inside of a JPEG, WebP or TIFF, which have no checksums.
A second run decodes only what is new or has changed; a run that was stopped goes on from there.
exit codes: 0 all files are sound; 1 some are not, or an error; 2 a wrong command line; 130 stopped by Ctrl-C."""


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    p = tool_parser("faulty", __doc__, EPILOG)
    add_input(p)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parser().parse_args(argv)
    return guarded(lambda: _look(args))


def _look(args: argparse.Namespace) -> int:
    from ..tools.faulty import faulty

    found, count = with_workers(args, lambda w: faulty(args.input, args.output, w))
    for failure in found:
        print(f"{failure.source}: {failure.reason}")
    print(f"{len(found)} of {count} files are faulty\nReport: {args.output}")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
