"""Phases: from which iteration on who plays, what learns, which losses count, and what the names mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """Everything in it is optional; an empty phase is ordinary training."""

    name: str = "main"
    start: int = 0
    """First iteration of the phase; in the option file also a fraction of the run, such as 0.5."""
    players: tuple[str, ...] | None = None
    """Who takes turns, in order. Default: all of the model's, in its order."""
    trains: tuple[str, ...] | None = None
    """Module paths that learn; the others are frozen. Default: all that the players own."""
    losses: tuple[str, ...] | None = None
    """Names of the loss terms that count. Default: all."""
    bind: Mapping[str, str] = field(default_factory=dict)
    """Names that stand for another tensor in this phase."""

    def counts(self, loss: str) -> bool:
        """Whether the loss of that name does."""
        return self.losses is None or loss in self.losses


class PhaseSchedule:
    """The phases of a run in order of their starts: which one holds is a function of the step alone."""

    def __init__(self, phases: Sequence[Phase] = ()) -> None:
        """Take phases with rising starts, the first at 0; none means one ordinary phase.

        Raises:
            ValueError: the starts do not rise from 0.
        """
        self.phases = tuple(phases) or (Phase(),)
        starts = [p.start for p in self.phases]
        if starts[0] != 0 or starts != sorted(set(starts)):
            raise ValueError(f"phases must start at 0 and at ever later iterations, got {starts}")

    def at(self, step: int) -> Phase:
        """The phase that iteration ``step`` (counted from 0) belongs to."""
        return max((p for p in self.phases if p.start <= step), key=lambda p: p.start)


def select(option: str, selectors: Iterable[str], losses: Iterable[str]) -> list[str]:
    """Those of the names of ``losses`` that hold one of ``selectors``; ``pix`` leaves those of ``pix-multiscale`` out.

    Raises:
        ValueError: there is no such loss; ``option`` is what asked for it.
    """
    names, losses = list[str](), list(losses)
    for selector in selectors:
        found = [n for n in losses if selector in n and f"{selector}-multiscale" not in n]
        if not found:
            raise ValueError(f"{option}: there is no loss {selector!r}, only {', '.join(losses) or 'none at all'}")
        names += [name for name in found if name not in names]
    return names
