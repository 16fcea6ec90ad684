"""The chore that saves: weights for people and the state of the run, written beside training from a snapshot."""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from torch import Tensor

from ..core.errors import CheckpointError
from . import distributed
from .checkpoint import Stateful, collect, snapshot, weights_of, write_state, write_whole
from .loop import Loop

Weights = Callable[[], Mapping[str, Mapping[str, Tensor]]]
"""What people load, by the label in the file name: ``G``, ``D``, ``emaG``."""


@dataclass(eq=False)
class Saver:
    """Writes ``models/<name>_<network>.pth``, then ``training_state/<name>.state``; removes what is too old."""

    folder: Path
    """Of the experiment."""
    parts: Mapping[str, Stateful]
    options: str
    """Those of the run, as JSON: to say after a resume what has changed."""
    weights: Weights
    write_weights: Callable[[Mapping[str, Tensor], Path], None]
    publish: Callable[[int, Mapping[str, Mapping[str, Tensor]]], None] = lambda step, weights: None
    """Writes the weights of an iteration to further places."""
    suffix: str = ".pth"
    keep: int | None = None
    overwrite: bool = False
    background: bool = True
    say: Callable[[str], None] = print
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "saver"), init=False)
    _pending: Future[None] | None = field(default=None, init=False)
    _failures: int = field(default=0, init=False)
    saved: int = field(default=-1, init=False)
    """The iteration of the last save that was begun."""

    def __call__(self, loop: Loop) -> None:
        """Save under the iteration's number, or as ``latest`` if files are to be overwritten."""
        self.save("latest" if self.overwrite else str(loop.step), loop.step)

    def save(self, name: str, step: int) -> None:
        """Take a snapshot and begin to write it.

        Raises:
            CheckpointError: three saves in a row have failed.
        """
        self.saved = step
        if distributed.rank() == 0:
            self.wait()  # before the snapshot: one at a time is in memory
            self._begin(self._write, name, step, snapshot(collect(self.parts, self.options)), snapshot(self.weights()))

    def wait(self) -> None:
        """Until what was begun is on the disk.

        Raises:
            CheckpointError: three saves in a row have failed.
        """
        pending, self._pending = self._pending, None
        if pending is None:
            return
        try:
            pending.result()
            self._failures = 0
        except OSError as error:
            self._failures += 1
            self.say(f"The checkpoint could not be saved: {self.advice(error)}")
            if self._failures >= 3:
                raise CheckpointError(f"three checkpoints in a row could not be saved: {self.advice(error)}") from None

    def close(self) -> None:
        """Finish what was begun.

        Raises:
            CheckpointError: the last save has failed.
        """
        self.wait()
        self._pool.shutdown()
        if self._failures:
            raise CheckpointError(f"the last checkpoint could not be saved; the one before it is whole: {self.folder}")

    def advice(self, error: OSError) -> str:
        """What the disk said, how much room it has, and what to do."""
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(self.folder).free / 2**20
            return (
                f"{error} ({free:.0f} MiB are free at {self.folder}). The last whole checkpoint is untouched. "
                "Make room, or set logger.keep_last, and training goes on; the next save tries again."
            )
        return str(error)

    def best(self, step: int, metric: str, value: float) -> None:
        """Keep the weights of this moment as ``best_<network>``.

        Raises:
            CheckpointError: three writes in a row have failed.
        """
        if distributed.rank() == 0:
            told = f"Best so far: {metric} {value:.5g} at iteration {step:,}, kept as best_*{self.suffix}."
            self._begin(self._write_best, snapshot(self.weights()), told)

    def _begin(self, write: Callable[..., None], *arguments: Any) -> None:
        self.wait()
        self._pending = self._pool.submit(write, *arguments)
        if not self.background:
            self.wait()

    def _write_best(self, weights: Mapping[str, Mapping[str, Tensor]], told: str) -> None:
        for label, state in weights.items():
            self.write_weights(state, self.folder / "models" / f"best_{label}{self.suffix}")
        self.say(told)

    def _write(self, name: str, step: int, state: dict[str, Any], weights: Mapping[str, Mapping[str, Tensor]]) -> None:
        models, states = self.folder / "models", self.folder / "training_state"
        if name == "latest":
            self._retire(states)
        for label, tensors in weights.items():
            self.write_weights(tensors, models / f"{name}_{label}{self.suffix}")
        self.publish(step, weights)
        write_state(states / f"{name}.state", state)  # last: where there is a state, its weights are there too
        if name.isdigit():
            self._supersede(states)
        if self.keep is not None:
            self._prune(models, states, step)
        self.say(f"Models and training states saved at iter: {step:7,}.")

    def _retire(self, states: Path) -> None:
        """``latest`` becomes ``previous`` by copy, so that there is a whole ``latest`` at any instant."""
        for file in [*weights_of(self.folder, "latest"), *states.glob("latest.state")]:
            with file.open("rb") as source:
                write_whole(file.with_name(file.name.replace("latest", "previous", 1)), partial(_copy, source))

    def _supersede(self, states: Path) -> None:
        """A ``latest`` of an earlier iteration than a whole numbered state must not be taken for the latest."""
        for name in ("latest", "previous"):
            for file in [states / f"{name}.state", *weights_of(self.folder, name)]:  # no state without its weights
                with contextlib.suppress(OSError):  # on Windows, somebody may be looking at it
                    file.unlink(missing_ok=True)

    def _prune(self, models: Path, states: Path, step: int) -> None:
        """Keep the newest of those up to now; later ones would be another run's."""
        assert self.keep is not None
        numbers = sorted(n for p in states.glob("*.state") if p.stem.isdigit() and (n := int(p.stem)) <= step)
        for number in numbers[: -self.keep]:
            for file in [*models.glob(f"{number}_*"), states / f"{number}.state"]:
                with contextlib.suppress(OSError):  # on Windows, somebody may be looking at it
                    file.unlink(missing_ok=True)


def _copy(source: BinaryIO, target: BinaryIO) -> None:
    shutil.copyfileobj(source, target)


@dataclass(eq=False)
class Best:
    """The best value of a metric so far."""

    metric: str
    higher: bool = True
    value: float = field(default=math.nan, init=False)

    def improved(self, value: float) -> bool:
        """Whether ``value`` beats all before it; if so, it is the one to beat."""
        if math.isnan(value):
            return False
        better = math.isnan(self.value) or (value > self.value if self.higher else value < self.value)
        if better:
            self.value = value
        return better

    def state_dict(self) -> dict[str, Any]:
        """The value to beat."""
        return {"metric": self.metric, "value": self.value}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from it, unless it is another metric's."""
        if state["metric"] == self.metric:
            self.value = state["value"]
