"""Decode images once and for all: training then reads raw pixels, more than fifty times as fast as PNG files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .launch import expect_flag, guarded, option_file, tidily

EPILOG = """examples:
  python -m darkroom pack -opt options/sr/quickstart.yml
  python -m darkroom pack datasets/DIV2K/HR datasets/DIV2K/LR_X4 --store /fast/disk/packed --limit-gb 200
  python -m darkroom pack --dry-run datasets/DIV2K/HR
  python -m darkroom pack --verify
  python -m darkroom pack --lmdb DIV2K_HR.lmdb datasets/DIV2K/HR

A run with pack: true reads what is packed, and packs the rest in the background while it trains. A file that changes is
read instead of what was packed of it. This can be stopped at any time and run again; several runs may use one store.
--lmdb writes an LMDB folder as BasicSR and traiNNer read it, without encoding PNG files anew; no store is needed.
exit codes: 0 all done; 1 an error, files that cannot be decoded, or damage; 2 a wrong command line;
130 stopped by Ctrl-C: what is packed is whole."""


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    raw = argparse.RawDescriptionHelpFormatter
    p = argparse.ArgumentParser("python -m darkroom pack", description=__doc__, epilog=EPILOG, formatter_class=raw)
    p.add_argument("folders", nargs="*", metavar="FOLDER", help="folders of images")
    p.add_argument("-opt", "--opt", type=Path, metavar="FILE", help="all folders of this option file")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change an option of the file")
    p.add_argument(
        "--store", type=Path, metavar="FOLDER", help="where to (default: pack_store of FILE, datasets/.packed)"
    )
    p.add_argument("--limit-gb", type=float, metavar="N", help="how large it may be in all (pack_limit_gb, 100)")
    p.add_argument("--threads", type=int, metavar="N", help="that decode; default: one for each core")
    p.add_argument("--dry-run", action="store_true", help="only say how much there is to pack")
    p.add_argument("--verify", action="store_true", help="check all that is packed, or that of the folders")
    p.add_argument("--list", action="store_true", help="say what is packed, and how large that is")
    p.add_argument("--lmdb", type=Path, metavar="OUT.lmdb", help="write the folder as an LMDB folder instead")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    p = parser()
    arguments = list(sys.argv[1:] if argv is None else argv)
    expect_flag(p, arguments)
    args = p.parse_args(arguments)
    if args.lmdb is not None and (len(args.folders) != 1 or args.opt is not None):
        p.error("--lmdb takes one folder")
    if args.lmdb is not None and any((args.dry_run, args.verify, args.list, args.store, args.limit_gb, args.threads)):
        p.error("--lmdb writes a folder of its own: --store, --limit-gb, --threads, --dry-run, --verify and --list are "
                "for packed images")  # fmt: skip
    if args.list and args.folders:
        p.error("--list says what a store has: it takes no folders")
    if not (args.folders or args.opt or args.verify or args.list):
        p.error("expected folders, or -opt FILE")
    if args.set and args.opt is None:
        p.error("--set changes options of a file: it needs -opt")
    if (args.limit_gb is not None and not args.limit_gb > 0) or (args.threads is not None and args.threads < 1):
        p.error("--limit-gb and --threads: expected more than 0")
    return guarded(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    from ..build.packing import LIMIT_GB, STORE, list_store, pack_roots, roots_of, verify_store, write_lmdb

    tidily()
    if args.lmdb is not None:
        return write_lmdb(args.lmdb, Path(args.folders[0]).expanduser(), print)
    roots, folder, limit = list(args.folders), STORE, LIMIT_GB
    if args.opt is not None:
        from ..build.plan import plan_training, read_options

        plan = plan_training(read_options(option_file(args.opt), args.set))
        roots, folder, limit = [*roots, *roots_of(plan)], plan.run.pack_store, plan.run.pack_limit_gb
    store = Path(args.store or folder).expanduser()
    limit = limit if args.limit_gb is None else args.limit_gb
    if args.list:
        return list_store(store, print)
    if args.verify:
        return verify_store(store, roots, print)
    return pack_roots(roots, store, limit, args.threads, args.dry_run, print)


if __name__ == "__main__":
    raise SystemExit(main())
