"""What every command does around its work: find the option file, print errors, heed signals, start processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[3]
"""The repository, where the shipped option files are."""


def option_file(path: Path) -> Path:
    """``path`` from where the user stands, else from the repository."""
    return path if path.exists() or not (ROOT / path).exists() else ROOT / path


def guarded(work: Callable[[], int]) -> int:
    """Run the command; errors that are the user's to mend are printed without a traceback."""
    from ..core.errors import DarkroomError

    try:
        return work()
    except DarkroomError as error:
        print(f"\n{error}", file=sys.stderr)
        return error.exit_code


def on_signals(stop: Callable[[], None]) -> dict[str, int]:
    """Call ``stop`` at the first SIGINT or SIGTERM; a second one ends the process as usual.

    Returns a mapping that holds the signal's number under ``signal`` once it has come.
    """
    received: dict[str, int] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        received["signal"] = number
        print(f"\n{signal.Signals(number).name}: finishing this iteration, then saving.", file=sys.stderr, flush=True)
        for known in (signal.SIGINT, signal.SIGTERM):
            signal.signal(known, signal.default_int_handler if known == signal.SIGINT else signal.SIG_DFL)
        stop()

    for known in (signal.SIGINT, signal.SIGTERM):
        signal.signal(known, handle)
    return received


def in_processes(count: int, module: str, arguments: Sequence[str]) -> int:
    """Run ``python -m module arguments`` in ``count`` processes that train together, through torchrun."""
    threads = os.environ.get("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // count, 1)))
    launcher = ["torch.distributed.run", "--standalone", f"--nproc_per_node={count}", "-m", module]
    command = [sys.executable, "-m", *launcher, *arguments]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": threads})
    try:
        return process.wait()
    except KeyboardInterrupt:  # the terminal sent it to the processes too: they save and end
        return process.wait()
