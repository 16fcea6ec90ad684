"""Packing in a process of its own, of low priority, while a training reads the files that are not packed yet."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from ..core.errors import DataError
from .packing import LIMIT_GB, pack

_PATIENCE = 10.0
"""Seconds that the process gets to keep what it has packed, before it is killed."""


class PackInBackground:
    """Packs ``roots`` into ``store`` from ``start`` to ``close``, or to the end of this process, however that comes."""

    def __init__(
        self,
        roots: Sequence[Path | str],
        store: Path | str,
        limit_gb: float = LIMIT_GB,
        threads: int = 1,
        say: Callable[[str], None] = lambda message: None,
    ) -> None:
        """``say`` is told what there is to do, when it is done, and why if it cannot be; from a thread."""
        self._task = json.dumps([[str(root) for root in roots], str(store), limit_gb, threads])
        self._say = say
        self._process: subprocess.Popen[str] | None = None
        self._ear: threading.Thread | None = None

    def start(self) -> None:
        """Start the process."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], env=environment, text=True, encoding="utf-8",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdin is not None
        self._process.stdin.write(f"{self._task}\n")
        self._process.stdin.flush()
        self._ear = threading.Thread(target=self._listen, args=(self._process,), daemon=True)
        self._ear.start()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._say(line.rstrip("\n"))

    @property
    def running(self) -> bool:
        """Whether it is at work."""
        return self._process is not None and self._process.poll() is None

    def wait(self, timeout: float | None = None) -> None:
        """Until it is done, and all is said.

        Raises:
            subprocess.TimeoutExpired: not within ``timeout`` seconds.
        """
        if self._process is not None and self._ear is not None:
            self._process.wait(timeout)
            self._ear.join(timeout)

    def close(self) -> None:
        """End it; what it has packed is kept."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()  # which it takes for a request to end
        try:
            self.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self.wait()
        self._process = None

    def __enter__(self) -> PackInBackground:
        """Started."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closed."""
        self.close()


def main() -> None:
    """What the process does: its input is a line with the task; where that ends, whoever started it is no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal, for the training
    with suppress(OSError, AttributeError):  # where there are no such priorities
        os.nice(19)
    roots, store, limit_gb, threads = json.loads(sys.stdin.readline())
    ended = threading.Event()
    threading.Thread(target=_await_end, args=(ended,), daemon=True).start()
    try:
        done = pack(roots, Path(store), limit_gb, threads, say=_tell, stop=ended.is_set)
    except DataError as error:
        _tell(f"packing is left out, training reads the files: {error}")
        return
    if done.whole:
        bad = f"; {done.unreadable:,} are unreadable, see unreadable.txt there" if done.unreadable else ""
        _tell(f"all {done.images:,} images that can be read are packed in {store}{bad}")


def _await_end(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


def _tell(message: str) -> None:
    with suppress(OSError):  # nobody listens any more
        sys.stdout.write(" ".join(message.splitlines()) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
