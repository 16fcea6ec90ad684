"""python train.py -opt options/sr/train_sr.yml"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import edgeconnect
from .launch import expect_flag, guarded, in_processes, on_signals, option_file, program, tidily

if TYPE_CHECKING:
    from ..build.plan import Options, TrainPlan

EPILOG = """examples:
  python train.py -opt options/sr/quickstart.yml                 two minutes on a CPU, on photographs that it writes
  python train.py -opt options/sr/train_sr.yml --check           try everything for a minute before training for days
  python train.py -opt options/sr/train_sr.yml --set train.niter=1000 --set datasets.train.batch_size=4
  python train.py -opt options/sr/train_sr.yml --set path.resume_state=auto        continue, or start if new
  torchrun --nproc_per_node 2 train.py -opt options/sr/train_sr.yml                two processes

exit codes: 0 trained to the end, or there already; 1 an error, or with --check unusable files; 2 wrong options; 130 or
143 stopped by SIGINT (Ctrl-C) or SIGTERM: the iteration was finished and saved as latest.state, from which
resume_state: auto goes on."""


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    p = argparse.ArgumentParser(
        program("train"), description="Train a model as an option file says.", epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    p.add_argument("-opt", "--opt", type=Path, required=True, metavar="FILE", help="YAML or JSON option file")
    p.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change an option, e.g. train.niter=9"
    )
    p.add_argument("--dry-run", action="store_true", help="print the options in their native form with every default")
    p.add_argument("--check", action="store_true", help="look at all data, try one step, then say what to expect")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if edgeconnect.asked_for(arguments):
        return edgeconnect.train(arguments)
    expect_flag(parser(), arguments)
    return guarded(lambda: _main(parser().parse_args(arguments), arguments))


def _main(args: argparse.Namespace, arguments: Sequence[str]) -> int:
    from ..build.plan import read_options

    path = option_file(args.opt)
    return carry_out(read_options(path, args.set), path, arguments, dry_run=args.dry_run, check=args.check)


def carry_out(options: Options, path: Path, arguments: Sequence[str], *, dry_run: bool, check: bool) -> int:
    """Train, check, or print the options of a file; ``arguments`` are those of the command, for further processes."""
    from ..build.paths import check_training_folders
    from ..build.plan import plan_training

    plan, notes = plan_training(options), options.notes
    if dry_run:
        from ..build.training import dump

        print("".join(f"# {note}\n" for note in notes) + dump(plan.native()), end="")
        return 0
    check_training_folders(plan)
    gpus = plan.run.gpu_ids or ()
    if len(gpus) > 1 and "WORLD_SIZE" not in os.environ and not check:
        return in_processes(len(gpus), "darkroom.cli.train", arguments)
    if check:
        from ..build.check import check as try_it

        tidily()
        return try_it(plan, notes, path)
    return _train(plan, path, notes)


def _train(plan: TrainPlan, path: Path, notes: Sequence[str]) -> int:
    from ..build.training import open_run

    run = open_run(plan, notes, path)
    try:
        received = on_signals(run.loop.stop)
        run.train()
        run.summary()
    finally:
        run.close()
    code = 128 + received["signal"] if received else 0
    if "WORLD_SIZE" in os.environ:
        # one of several processes: torch's threads may abort the interpreter while it shuts down, after all is done
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
