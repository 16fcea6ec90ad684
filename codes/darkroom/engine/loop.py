"""The training loop. It knows players, terms and phases; it knows no model, no dataset and no option file."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ..core.model import Model
from ..core.phases import Phase, PhaseSchedule
from ..core.sample import Sample
from ..core.terms import JudgeTerm, Term
from . import distributed
from .guard import Guard
from .player import Meter, Player

Batch = Mapping[str, Any]


class Average(Protocol):
    """Weights that follow those in training: ``update`` after every iteration."""

    def update(self, step: int) -> None:
        """Take in the networks after iteration ``step``."""
        ...


@dataclass
class Every:
    """A chore of the loop: ``do(loop)`` after each iteration that is a multiple of ``steps``, and after the last."""

    steps: int
    do: Callable[[Loop], None]


class Move(NamedTuple):
    """What a player has learnt and will do."""

    player: Player
    objective: Tensor
    figures: Mapping[str, Tensor]
    buffers: Sequence[Tensor]
    """Of all networks, and what they were before."""
    before: Sequence[Tensor]


@dataclass(eq=False)
class Loop:
    """Everything a run is made of, as plain values."""

    model: Model
    players: Mapping[str, Player]
    terms: Sequence[Term]
    phases: PhaseSchedule
    data: Callable[[int], Iterator[Batch]]
    """``data(n)`` yields the micro-batches from the n-th on."""
    steps: int
    prepare: Callable[[Batch], Batch] = lambda batch: batch
    """What happens to a batch on the device: bytes become numbers."""
    augment: Callable[[Batch], Batch] = lambda batch: batch
    """What happens to a batch for training only; its random numbers follow from the iteration."""
    frozen: Collection[str] = ()
    """Module paths that never learn, whatever a phase says."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    accumulate: int = 1
    """Micro-batches per iteration."""
    seed: int = 0
    amp: torch.dtype | None = None
    averages: Sequence[Average] = ()
    chores: Sequence[Every] = ()
    guard: Guard = field(default_factory=Guard)

    step: int = field(default=0, init=False)
    """Iterations done."""
    meter: Meter = field(default_factory=Meter, init=False)
    phase: Phase | None = field(default=None, init=False)
    waited: float = field(default=0.0, init=False)
    """Seconds spent waiting for data."""
    trained: float = field(default=0.0, init=False)
    """Seconds spent in iterations, waiting included; chores are not."""
    whole: bool = field(default=True, init=False)
    """False in the middle of an iteration: what went wrong there left no state worth keeping."""
    stopping: bool = field(default=False, init=False)
    """The loop ends after the iteration."""

    def __post_init__(self) -> None:
        """Make the loss scaler, which only fp16 uses."""
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.amp is torch.float16)
        self.guard.scaled = self.scaler.is_enabled()

    def run(self) -> None:
        """Train to the last iteration, or until ``stopping``."""
        batches = self.data(self.step * self.accumulate)
        for network in self.model.learners.values():
            network.train()
        while self.step < self.steps and not distributed.anywhere(self.stopping):
            start = time.perf_counter()
            fetched = [next(batches) for _ in range(self.accumulate)]
            self.waited += time.perf_counter() - start
            self.whole = False
            self.iterate([self.on_device(batch) for batch in fetched])
            self.whole = True
            self.trained += time.perf_counter() - start
            for chore in self.chores:
                if self.step % chore.steps == 0 or self.step == self.steps:
                    chore.do(self)
        self.guard.settle()

    def stop(self) -> None:
        """End after this iteration; safe to call from a signal handler."""
        self.stopping = True

    def iterate(self, batches: Sequence[Batch]) -> None:
        """One iteration: every due player of the phase takes its turn, in order."""
        torch.manual_seed(distributed.seed(self.seed, self.step))
        phase = self.phases.at(self.step)
        if phase is not self.phase:
            self._enter(phase)
        samples = [self.model.sample(self.augment(batch), phase.bind) for batch in batches]
        files = [str(path) for batch in batches for path in batch.get("path", ())]
        due = [self.players[n] for n in self._order(phase) if self.step % self.players[n].every == 0]
        for players in [due] if self.model.simultaneous else [[player] for player in due]:
            moves = [self._learn(player, samples) for player in players]
            for move in moves:
                self._step(move, files)
        for sample in samples:
            with torch.no_grad():
                self.meter.add(self.model.watch(sample))
        if due:
            self.scaler.update()
        for average in self.averages:
            average.update(self.step)
        self.step += 1

    def _learn(self, player: Player, samples: Sequence[Sample]) -> Move:
        """The gradients of the player's objective."""
        player.begin(self.step)
        buffers = [b for n in self.model.networks.values() for b in n.buffers() if b.is_floating_point()]
        before = [b.clone() for b in buffers]
        terms = [t for t in self.terms if t.player == player.name and (not self.phase or self.phase.counts(t.name))]
        learning = player.learning
        figures: dict[str, Tensor] = {}
        objective = torch.zeros((), device=self.device)
        for sample in samples:
            with torch.autocast(self.device.type, dtype=self.amp, enabled=self.amp is not None):
                shares = [term(sample) for term in terms]
                total = torch.stack([share.loss.float() for share in shares]).sum() / len(samples)
            self.scaler.scale(total).backward(inputs=learning)  # writes no gradient but this player's
            objective += total.detach()
            for share in shares:
                self.meter.add(share.figures)
                figures |= {n: figures[n] + v if n in figures else v for n, v in share.figures.items()}
            if len(samples) > 1 and not self.model.simultaneous:
                sample.release()  # else the graphs of all micro-batches would be alive at once
        return Move(player, distributed.average_gradients(learning, objective), figures, buffers, before)

    def _step(self, move: Move, files: Sequence[str]) -> None:
        """The player's step, unless its gradients are not finite."""
        self.meter.note(move.player.name, move.objective)
        finite = move.player.finish(self.scaler, move.objective)
        for buffer, old in zip(move.buffers, move.before, strict=True):  # such a step leaves no statistics either
            buffer.data.copy_(torch.where(finite, buffer, old))  # not seen by autograd, whose graphs go on to be used
        self.guard.watch(self.step, move.player.name, finite, move.figures, files)

    def _order(self, phase: Phase) -> Sequence[str]:
        return phase.players or [name for name in self.model.players if name in self.players]

    def _enter(self, phase: Phase) -> None:
        """Freeze what the phase does not train. Optimizers are left alone: they skip parameters without gradients."""
        self.phase = phase
        there = self.model.networks
        owned = [n for player in self._order(phase) for n in self.model.players[player] if n in there]
        self.model.train_only(phase.trains or owned, self.frozen)

    def on_device(self, batch: Batch) -> Batch:
        """The batch where the networks are, prepared for them."""
        moved = {k: v.to(self.device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in batch.items()}
        return self.prepare(moved)

    def parts(self) -> dict[str, Any]:
        """Everything with state, by name, for a checkpoint."""
        networks = {f"network_{n}": m for n, m in self.model.learners.items()}
        players = {f"optim_{n}": p for n, p in self.players.items()}
        pools = {
            f"pool_{t.name}": t.pool for t in self.terms if isinstance(t, JudgeTerm) and isinstance(t.pool, nn.Module)
        }
        return {"loop": self, "scaler": self.scaler, **networks, **players, **pools}

    def state_dict(self) -> dict[str, Any]:
        """The number of iterations done: all else follows from it."""
        return {"step": self.step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after that many iterations."""
        self.step = state["step"]
        self.phase = None
