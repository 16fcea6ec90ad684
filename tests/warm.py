"""Real processes that need not import torch, which takes longer than most of what the tests have them do.

They are forked from a process that has imported what the program needs of others, nothing of the program itself, and
has computed nothing. From there on each is what ``python file.py ...``, ``python -m module ...`` or ``python -c code``
would be, with arguments, folder, environment, files and an end of its own.
"""

from __future__ import annotations

import atexit
import concurrent.futures
import gc
import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

AVAILABLE = sys.platform != "win32"
"""Whether processes can be forked here."""
_PRELOADED = (
    "torch", "torch._dynamo", "torch.utils.data", "torch.utils.tensorboard", "cv2", "skimage.data", "PIL.Image",
    "pydantic", "yaml", "filelock", "tqdm", "safetensors.torch",
)  # fmt: skip
_POLL = 0.005
"""Seconds between two looks for processes that have ended."""


class Process:
    """What tests need of ``subprocess.Popen``; ``stdout`` has both streams."""

    def __init__(self, arguments: Sequence[str], cwd: Path, env: Mapping[str, str]) -> None:
        """Start it."""
        with tempfile.TemporaryDirectory() as folder:
            pipe = Path(folder, "out")
            os.mkfifo(pipe)
            reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
            self.pid, self._end = _server().fork(arguments, cwd, env, pipe, pipe)
            os.set_blocking(reader, True)
        self.stdout = os.fdopen(reader, encoding="utf-8")

    @property
    def returncode(self) -> int | None:
        """As ``poll``."""
        return self.poll()

    def poll(self) -> int | None:
        """The exit code, minus the number of the signal that it was ended by, once there is one."""
        return self._end.result() if self._end.done() else None

    def wait(self, timeout: float | None = None) -> int:
        """The same, when there is one.

        Raises:
            TimeoutError: there is none after that many seconds.
        """
        return self._end.result(timeout)

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        """What it printed, until its end; ``timeout`` counts from when it closes its streams."""
        printed = self.stdout.read()
        self.wait(timeout)
        self.stdout.close()
        return printed, None

    def send_signal(self, number: int) -> None:
        """If it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """With SIGKILL."""
        self.send_signal(signal.SIGKILL)


def run(
    arguments: Sequence[str], cwd: Path, env: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """As ``subprocess.run`` of Python with these arguments, its output captured.

    Raises:
        subprocess.TimeoutExpired: it was killed after ``timeout`` seconds.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        pid, end = _server().fork(arguments, cwd, env, out, err)
        try:
            code = end.result(timeout)
        except concurrent.futures.TimeoutError:  # which is another one before Python 3.11
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired([*arguments], timeout) from None
        told = (path.read_text(encoding="utf-8") for path in (out, err))
        return subprocess.CompletedProcess([*arguments], code, *told)


class _Server:
    """The process that has imported everything, seen from the tests."""

    def __init__(self) -> None:
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8", "PYTHONPATH": ""}
        command = [sys.executable, __file__]
        self._process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._lock = threading.Lock()
        self._pids: Future[int] = Future()
        self._ends: dict[int, Future[int]] = {}
        threading.Thread(target=self._listen, daemon=True).start()
        atexit.register(self._process.kill)

    def fork(
        self, arguments: Sequence[str], cwd: Path, env: Mapping[str, str], out: Path, err: Path
    ) -> tuple[int, Future[int]]:
        """A process that has opened its files and begun, and its exit code."""
        files = [os.devnull, str(out), str(err)]
        request = {"arguments": [*arguments], "cwd": str(cwd), "env": dict(env), "files": files}
        with self._lock:
            self._pids = Future()
            assert self._process.stdin
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            pid = self._pids.result()
            return pid, self._ends[pid]

    def _listen(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            pid, code = json.loads(line)
            if code is None:
                self._ends[pid] = Future()
                self._pids.set_result(pid)
            else:
                self._ends[pid].set_result(code)
        for future in (self._pids, *self._ends.values()):
            if not future.done():
                future.set_exception(RuntimeError("the process that others are forked from has ended, see above"))


_servers: dict[int, _Server] = {}


def _server() -> _Server:
    """That of this process."""
    if os.getpid() not in _servers:
        _servers[os.getpid()] = _Server()
    return _servers[os.getpid()]


def _serve() -> dict[str, Any] | None:
    """Fork a process for each request; its own in that process, None in the end."""
    sys.path.remove(str(Path(__file__).parent))
    for name in _PRELOADED:
        importlib.import_module(name)
    gc.freeze()  # so that processes share what is there already
    answers, running = os.fdopen(os.dup(1), "w"), set[int]()
    os.dup2(2, 1)
    while True:
        if select.select([0], [], [], _POLL)[0]:
            line = sys.stdin.readline()
            if not line:
                return None
            request: dict[str, Any] = json.loads(line)
            flags = os.O_RDONLY, *[os.O_WRONLY | os.O_CREAT] * 2
            files = [os.open(path, flag) for path, flag in zip(request["files"], flags, strict=True)]
            pid = os.fork()
            if not pid:
                for number, file in enumerate(files):
                    os.dup2(file, number)
            for file in files:
                os.close(file)
            if not pid:
                answers.close()
                return request
            running.add(pid)
            print(json.dumps((pid, None)), file=answers, flush=True)
        for pid in [*running]:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                running.remove(pid)
                print(json.dumps((pid, os.waitstatus_to_exitcode(status))), file=answers, flush=True)


def _become(request: Mapping[str, Any]) -> None:
    """Do what was asked for, as a Python that was just started."""
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    first, *rest = request["arguments"]
    importable = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if first in ("-m", "-c"):
        sys.argv = rest if first == "-m" else [first, *rest[1:]]
        sys.path[:0] = ["", *importable]
        if first == "-m":
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        else:
            exec(rest[0], {"__name__": "__main__"})
    else:
        sys.argv = [first, *rest]
        sys.path[:0] = [str(Path(first).resolve().parent), *importable]
        runpy.run_path(first, run_name="__main__")


def _exit_code(request: Mapping[str, Any]) -> int:
    try:
        _become(request)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _leave(code: int) -> None:
    """End as Python does, but for taking apart all that was imported, which takes a second."""
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    asked = _serve()
    if asked is not None:
        _leave(_exit_code(asked))
