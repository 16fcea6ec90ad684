"""What the commands around datasets share: inputs, output, threads, and how they end."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from .launch import tidily

if TYPE_CHECKING:
    from ..tools.work import Report, Workers

T = TypeVar("T")

AGAIN = """A second run does what is missing or has changed; a run that was stopped goes on from there.
exit codes: 0 all done; 1 an error, or a file that failed (the others are done); 2 a wrong command line;
130 stopped by Ctrl-C: what is done is whole."""


def tool_parser(tool: str, about: str | None, epilog: str) -> argparse.ArgumentParser:
    """A parser with --output and --jobs."""
    raw = argparse.RawDescriptionHelpFormatter
    p = argparse.ArgumentParser(f"python -m darkroom {tool}", description=about, epilog=epilog, formatter_class=raw)
    p.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="where the results go")
    p.add_argument("--jobs", type=whole(1), metavar="N", help="files worked on at once; default: one for each core")
    return p


def add_input(p: argparse.ArgumentParser) -> None:
    """The images to work on."""
    p.add_argument("-i", "--input", type=Path, nargs="+", required=True, metavar="PATH", help="images and folders")


def whole(least: int) -> Callable[[str], int]:
    """A whole number from ``least`` on."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"expected a whole number from {least} on, found {text}")
        return value

    return number


def least(limit: float) -> Callable[[str], float]:
    """A number from ``limit`` on."""

    def number(text: str) -> float:
        value = float(text)
        if not value >= limit:
            raise argparse.ArgumentTypeError(f"expected a number from {limit:g} on, found {text}")
        return value

    return number


def with_workers(args: argparse.Namespace, work: Callable[[Workers], T]) -> T:
    """What the tool returns; numbers that make no sense to it are a wrong command line."""
    from ..core.errors import OptionErrors
    from ..tools.work import Workers

    tidily()
    try:
        return work(Workers(jobs=args.jobs))
    except ValueError as error:
        raise OptionErrors([str(error)]) from None


def reported(args: argparse.Namespace, work: Callable[[Workers], Report]) -> int:
    """Run a tool that writes files; the exit code."""
    report = with_workers(args, work)
    print(f"{report}\nResults: {args.output}")
    return 1 if report.failed else 0
