"""The reference of all options: print it, or write docs/options.md, the documented keys and the JSON schema."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from .launch import ROOT

EPILOG = """examples:
  python -m darkroom options | less      read the reference
  python -m darkroom options --schema    write it and the schema into docs, as after a change of an option"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    p = argparse.ArgumentParser(
        "python -m darkroom options", description=__doc__, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    p.add_argument("--schema", action="store_true", help="write the pages and options.schema.json")
    p.add_argument("--out", type=Path, default=ROOT / "docs", help="folder of the files (default: docs)")
    args = p.parse_args(argv)

    from ..build.reference import documented_page, options_page, schema_text

    if not args.schema:
        print(options_page(), end="")
        return 0
    args.out.mkdir(parents=True, exist_ok=True)
    pages = {"options.md": options_page(), "options-documented.md": documented_page()}
    for name, text in {**pages, "options.schema.json": schema_text()}.items():
        (args.out / name).write_text(text, encoding="utf-8")
        print(f"written: {args.out / name}")
    return 0
