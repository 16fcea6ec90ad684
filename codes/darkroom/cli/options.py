"""Write the reference of all options and its JSON schema."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from .launch import ROOT


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    p = argparse.ArgumentParser(
        "python -m darkroom options", description=__doc__, epilog="example: python -m darkroom options --schema"
    )
    p.add_argument("--schema", action="store_true", help="print the JSON schema instead of writing files")
    p.add_argument("--out", type=Path, default=ROOT / "docs", help="folder of the pages and the schema")
    args = p.parse_args(argv)

    from ..build.reference import documented_page, options_page, schema_text

    if args.schema:
        print(schema_text(), end="")
        return 0
    args.out.mkdir(parents=True, exist_ok=True)
    pages = {"options.md": options_page(), "options-documented.md": documented_page()}
    for name, text in {**pages, "options.schema.json": schema_text()}.items():
        (args.out / name).write_text(text, encoding="utf-8")
        print(f"written: {args.out / name}")
    return 0
