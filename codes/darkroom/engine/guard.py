"""Non-finite numbers: found without waiting for the GPU, named with losses and files, fatal when they stay."""

from __future__ import annotations

import collections
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..core.errors import DivergedError

_SEARCH = 60
"""Steps that fp16 may take to find its loss scale: from 2**16 to the smallest numbers."""


@dataclass(frozen=True)
class _Turn:
    step: int
    player: str
    names: Sequence[str]
    files: Sequence[str]
    values: Tensor
    """On the CPU: whether the gradients were finite (0 or 1), then the figures. It may still be on its way."""
    arrived: torch.cuda.Event | None


@dataclass
class Guard:
    """Watches the turns of players. A turn whose gradients are not finite has been skipped when it is reported here."""

    limit: int = 20
    """How many iterations in a row may be skipped."""
    say: Callable[[str], None] = print
    scaled: bool = False
    """With fp16's loss scaling, gradients that overflow at finite losses are how the scale is found: no report."""
    skipped: int = field(default=0, init=False)
    """Iterations skipped so far."""

    def __post_init__(self) -> None:
        """Start with nothing to watch."""
        self._turns: collections.deque[_Turn] = collections.deque()
        self._row = 0
        self._last = -2

    def watch(
        self, step: int, player: str, finite: Tensor, figures: Mapping[str, Tensor], files: Sequence[str]
    ) -> None:
        """Note a turn, and judge those before it that have arrived."""
        values = torch.stack([finite.float(), *(f.float() for f in figures.values())]).detach()
        arrived = None
        if values.device.type == "cuda":
            values = values.to("cpu", non_blocking=True)
            arrived = torch.cuda.Event()
            arrived.record()
        self._turns.append(_Turn(step, player, tuple(figures), files, values, arrived))
        self.settle(wait=False)

    def settle(self, *, wait: bool = True) -> None:
        """Judge the turns that have arrived; with ``wait``, all of them.

        Raises:
            DivergedError: too many iterations in a row were skipped.
        """
        while self._turns:
            turn = self._turns[0]
            if turn.arrived is not None:
                if wait:
                    turn.arrived.synchronize()
                elif not turn.arrived.query():
                    return
            self._turns.popleft()
            self._judge(turn)

    def _judge(self, turn: _Turn) -> None:
        finite, *figures = turn.values.tolist()
        if finite or turn.step == self._last:
            return
        self._row = self._row + 1 if turn.step == self._last + 1 else 1
        self._last = turn.step
        bad = [name for name, value in zip(turn.names, figures, strict=True) if not math.isfinite(value)]
        named = ", ".join(bad) if bad else f"none of {', '.join(turn.names)}: only the gradients"
        files = ", ".join(turn.files[:8]) + (f" and {len(turn.files) - 8} more" if len(turn.files) > 8 else "")
        message = (
            f"iteration {turn.step + 1}: the gradients of {turn.player} are not finite, its step was left out. "
            f"Not finite: {named}. Files: {files or 'unknown'}"
        )
        searching = self.scaled and not bad
        if not searching:
            self.skipped += 1
            self.say(message)
        if self._row >= (max(self.limit, _SEARCH) if searching else self.limit):
            raise DivergedError(
                f"{self._row} iterations in a row had to be left out. {message}\n"
                "Lower the learning rate, set grad_clip, look at the files, or train in float32 (use_amp: false)."
            )
