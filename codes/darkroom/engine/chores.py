"""Chores that speak: the log line and the progress bar."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import distributed
from .logs import Log
from .loop import Loop


def clock(seconds: float) -> str:
    """``02:03``, ``1:02:03`` or ``3 days 1:02:03``."""
    days, rest = divmod(round(max(seconds, 0)), 86400)
    if days:
        return f"{days} day{'s' * (days > 1)} {rest // 3600}:{rest // 60 % 60:02}:{rest % 60:02}"
    hours, rest = divmod(rest, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60:02}:{rest % 60:02}"


@dataclass(eq=False)
class Report:
    """Prints means since the last line, true times per iteration, and the time that remains, validation included."""

    log: Log
    epoch: Callable[[int], int]
    """Epoch of an iteration."""
    scalars_every: int = 1
    """Write scalars at every so manieth line only."""
    _lines: int = field(default=0, init=False)
    _step: int = field(default=0, init=False)
    _waited: float = field(default=0.0, init=False)
    _trained: float = field(default=0.0, init=False)
    _start: tuple[int, float] | None = field(default=None, init=False)

    def begin(self, loop: Loop) -> None:
        """Start the clock."""
        self._step, self._start = loop.step, (loop.step, time.perf_counter())

    def __call__(self, loop: Loop) -> None:
        """Print a line and write the figures; the first call without ``begin`` only starts the clock."""
        figures = _means(distributed.gather(loop.meter.flush()))
        if self._start is None:
            self.begin(loop)
        steps = loop.step - self._step
        if not steps:
            return
        self._lines += 1
        per_step, waiting = (loop.trained - self._trained) / steps, (loop.waited - self._waited) / steps
        self._step, self._trained, self._waited = loop.step, loop.trained, loop.waited
        rate = _rate(loop)
        losses = "".join(f"{name}: {value:.4e} " for name, value in figures.items())
        self.log.say(
            f"<epoch:{self.epoch(loop.step):3d}, iter:{loop.step:8,d}, lr:{rate:.3e}, t:{per_step:.4f}s, "
            f"td:{waiting:.4f}s, eta:{self._remaining(loop) / 3600:.4f}h> {losses}"
        )
        scalars = {**figures, "lr/base": rate, "time/iteration": per_step, "time/data": waiting}
        self.log.figures(loop.step, scalars, scalars=self._lines % self.scalars_every == 0)

    def _remaining(self, loop: Loop) -> float:
        """From all that has passed since the start, chores included: what is shown is when it will end."""
        assert self._start is not None  # begin() has been called
        step, start = self._start
        return (time.perf_counter() - start) / (loop.step - step) * (loop.steps - loop.step)


def _means(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Over the processes."""
    return {name: sum(part[name] for part in figures) / len(figures) for name in figures[0]}


def _rate(loop: Loop) -> float:
    shown = loop.players.get(loop.model.leads) or next(iter(loop.players.values()))
    return shown.rates(loop.step - 1)[0]


@dataclass(frozen=True)
class Numbers:
    """Appends a line of plain numbers to a file: epoch, iteration, and the figures of that iteration."""

    file: Path
    figures: Sequence[str]
    epoch: Callable[[int], int]

    def __call__(self, loop: Loop) -> None:
        """Write the line."""
        values = loop.meter.newest(self.figures)
        if distributed.rank() == 0:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a", encoding="utf-8") as file:
                file.write(" ".join(map(str, (self.epoch(loop.step), loop.step, *values))) + "\n")


@dataclass(eq=False)
class Progress:
    """A bar with loss, learning rate, it/s, share of time waiting for data, and ETA. Nothing where nobody looks."""

    shown: bool = True
    every: int = 20
    """Iterations between updates of the loss, each of which waits for the device."""
    _bar: Any = field(default=None, init=False)

    def begin(self, loop: Loop) -> None:
        """Draw the bar."""
        from tqdm import tqdm

        shown = self.shown and distributed.rank() == 0
        self._bar = tqdm(
            total=loop.steps, initial=loop.step, unit="it", disable=None if shown else True, dynamic_ncols=True
        )

    def __call__(self, loop: Loop) -> None:
        """Move the bar on."""
        if self._bar is None or self._bar.disable:
            return
        self._bar.update(loop.step - self._bar.n)
        if loop.step % self.every == 0:
            waiting = 100 * loop.waited / max(loop.trained, 1e-9)
            losses = loop.meter.latest()
            label = {name: f"loss {name}" for name in losses} if len(losses) > 1 else dict.fromkeys(losses, "loss")
            shown = "".join(f"{label[name]} {value:.3g} " for name, value in losses.items())
            self._bar.set_postfix_str(f"{shown}lr {_rate(loop):.2e} data {waiting:.0f}%", refresh=False)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()
