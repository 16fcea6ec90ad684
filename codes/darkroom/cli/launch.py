"""What every command does around its work: find the option file, print errors, heed signals, start processes."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[3]
"""The repository, where the shipped option files are."""


def program(tool: str) -> str:
    """How the tool was called, for its help: ``train.py`` or ``python -m darkroom train``."""
    return f"{tool}.py" if Path(sys.argv[0]).name == f"{tool}.py" else f"python -m darkroom {tool}"


def expect_flag(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """End with a hint if an option file stands where a flag belongs before it."""
    first = arguments[0] if arguments else ""
    if Path(first).suffix.lower() in (".yml", ".yaml", ".json"):
        parser.error(f"did you mean -opt {first}?")


def option_file(path: Path) -> Path:
    """``path`` from where the user stands, else from the repository."""
    return path if path.exists() or not (ROOT / path).exists() else ROOT / path


INTERRUPTED = threading.Event()
"""Ctrl-C has come in ``tidily``. A callback or a destructor may have swallowed it."""


def guarded(work: Callable[[], int]) -> int:
    """Run the command; Ctrl-C and errors that are the user's to mend are one message without a traceback.

    Until the work says otherwise (``tidily``, ``on_signals``), Ctrl-C ends the process on the spot: there is nothing to
    put in order yet, and an exception in the middle of importing torch aborts the interpreter.
    """
    INTERRUPTED.clear()
    before = signal.signal(signal.SIGINT, _leave)
    try:
        return _told(work)
    except KeyboardInterrupt as stop:
        print(f"Stopped: {stop}." if str(stop) else "Stopped.", file=sys.stderr)
        return 128 + signal.SIGINT
    finally:
        signal.signal(signal.SIGINT, before)


def tidily() -> None:
    """From here on, Ctrl-C lets the work remove what it leaves behind; a second one does not wait for that."""
    signal.signal(signal.SIGINT, _interrupt)


def _leave(number: int, frame: FrameType | None) -> None:
    del number, frame
    if os.environ.get("RANK", "0") == "0":
        os.write(2, b"Stopped.\n")
    os._exit(128 + signal.SIGINT)


def _interrupt(number: int, frame: FrameType | None) -> None:
    if INTERRUPTED.is_set():
        _leave(number, frame)
    INTERRUPTED.set()
    raise KeyboardInterrupt


def _told(work: Callable[[], int]) -> int:
    from ..core.errors import DarkroomError, OptionErrors

    try:
        code = work()
    except DarkroomError as error:
        if not error.exit_code:
            print(error)
        elif not isinstance(error, OptionErrors) or os.environ.get("RANK", "0") == "0":  # which all processes find
            print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    return 128 + signal.SIGINT if INTERRUPTED.is_set() and not code else code


def on_signals(stop: Callable[[], None]) -> dict[str, int]:
    """Call ``stop`` at the first SIGINT or SIGTERM; a second Ctrl-C ends the process at once.

    A second SIGTERM does nothing: process managers send it to a group and to its leader.
    Returns a mapping that holds the signal's number under ``signal`` once it has come.
    """
    received: dict[str, int] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        stop()
        received["signal"] = number
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with contextlib.suppress(OSError, RuntimeError):  # a closed or busy terminal must not keep it from saving
            name = signal.Signals(number).name
            print(f"\n{name}: finishing this iteration, then saving.", file=sys.stderr, flush=True)

    for known in (signal.SIGINT, signal.SIGTERM):
        signal.signal(known, handle)
    return received


def in_processes(count: int, module: str, arguments: Sequence[str]) -> int:
    """Run ``python -m module arguments`` in ``count`` processes that train together; their exit code.

    Signals go on to them. When one fails, the others are ended: they would wait for it for ever.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    threads = os.environ.get("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // count, 1)))
    shared = {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": threads,
        "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count),
    }  # fmt: skip
    command = [sys.executable, "-m", module, *arguments]
    own = [{**os.environ, **shared, "RANK": str(i), "LOCAL_RANK": str(i)} for i in range(count)]
    processes = [subprocess.Popen(command, env=environment) for environment in own]

    def forward(number: int, frame: FrameType | None) -> None:
        del frame
        for process in processes:
            if process.poll() is None and number != signal.SIGINT:  # the terminal sends that one to all by itself
                process.send_signal(number)

    for known in (signal.SIGINT, signal.SIGTERM):
        signal.signal(known, forward)
    while any(process.poll() is None for process in processes):
        codes = [process.poll() for process in processes]
        if any(code not in (None, 0, 128 + signal.SIGINT, 128 + signal.SIGTERM) for code in codes):
            for process in processes:
                process.kill()
        time.sleep(0.1)
    return next((abs(code) for process in processes if (code := process.returncode)), 0)
