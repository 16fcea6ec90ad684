"""Learning-rate schedules: pure functions of the iteration. They have no state to save or to repair.

``schedule(step, rate)`` is the learning rate of the iteration that ``step`` iterations went before, if the option file
says ``rate``. What differs from traiNNer: restarts happen at the iteration that is stated, and after its end a schedule
stays where it is. ``plateau`` alone has a state, since it follows a metric.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from ..core.registry import Registry


class Schedule(Protocol):
    """What every schedule is."""

    def __call__(self, step: int, rate: float) -> float:
        """The learning rate after ``step`` iterations, from the ``rate`` of the option file."""
        ...


SCHEDULES: Registry[Schedule] = Registry("schedule", "darkroom.optim")


def _passed(milestones: tuple[int, ...], step: int, since: int = -1) -> int:
    """How many milestones lie after ``since`` and not after ``step``."""
    return sum(since < milestone <= step for milestone in milestones)


def _restart(restarts: tuple[int, ...], weights: tuple[float, ...], step: int) -> tuple[int, int, float]:
    """How many restarts there were, when the last one was (0 if there was none), and its weight (1 if not stated)."""
    count = bisect.bisect_right(restarts, step)
    if not count:
        return 0, 0, 1.0
    return count, restarts[count - 1], weights[count - 1] if weights else 1.0


def _check_restarts(restarts: tuple[int, ...], weights: tuple[float, ...]) -> None:
    if any(a >= b for a, b in zip((0, *restarts), restarts)):  # noqa: B905  # neighbours
        raise ValueError(f"restarts: expected rising iterations above 0, found {restarts}")
    if weights and len(weights) != len(restarts):
        raise ValueError(f"restart_weights: expected one for each of {len(restarts)} restarts, found {len(weights)}")


def _check_spans(name: str, spans: tuple[int, ...], restarts: tuple[int, ...]) -> None:
    if len(spans) != len(restarts) + 1:
        raise ValueError(
            f"{name}: expected {len(restarts) + 1} entries, one from the start and one from each of {len(restarts)} "
            f"restarts, found {len(spans)}"
        )
    if min(spans) < 1:
        raise ValueError(f"{name}: expected at least 1, found {min(spans)}")


def _anneal(start: float, end: float, share: float) -> float:
    """Half a cosine from ``start`` at share 0 to ``end`` at share 1, and there it stays."""
    return end + (start - end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2


@SCHEDULES.register("constant")
@dataclass(frozen=True)
class Constant:
    """The learning rate of the option file, always."""

    def __call__(self, step: int, rate: float) -> float:
        """See ``Schedule``."""
        del step
        return rate


@SCHEDULES.register("multistep", "MultiStepLR")
@dataclass(frozen=True)
class MultiStep:
    """Times ``gamma`` from each milestone on; one that is stated twice counts twice."""

    milestones: tuple[int, ...]
    gamma: float = 0.1

    def __call__(self, step: int, rate: float) -> float:
        """See ``Schedule``."""
        return rate * self.gamma ** _passed(self.milestones, step)


@SCHEDULES.register("multistep_restart", "MultiStepLR_Restart")
@dataclass(frozen=True)
class MultiStepRestart:
    """Like ``multistep``; at a restart the rate is set to ``rate * weight``, and milestones before it are forgotten.

    A milestone at the very iteration of a restart has no effect. At ``rises`` the rate is divided by ``gamma``.
    """

    milestones: tuple[int, ...]
    restarts: tuple[int, ...] = ()
    restart_weights: tuple[float, ...] = ()
    gamma: float = 0.1
    rises: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check that the options fit each other."""
        _check_restarts(self.restarts, self.restart_weights)

    def __call__(self, step: int, rate: float) -> float:
        """See ``Schedule``."""
        count, since, weight = _restart(self.restarts, self.restart_weights, step)
        since = since if count else -1
        return rate * weight * self.gamma ** (_passed(self.milestones, step, since) - _passed(self.rises, step, since))


@SCHEDULES.register("step", "StepLR")
@dataclass(frozen=True)
class Step:
    """Times ``gamma`` every ``step_size`` iterations."""

    step_size: int
    gamma: float = 0.1

    def __post_init__(self) -> None:
        """Check that there is a step."""
        _check_spans("step_size", (self.step_size,), ())

    def __call__(self, step: int, rate: float) -> float:
        """See ``Schedule``."""
        return rate * self.gamma ** (step // self.step_size)


@SCHEDULES.register("step_restart", "StepLR_Restart")
@dataclass(frozen=True)
class StepRestart:
    """Like ``step``; at a restart the rate is set to ``rate * weight``, and steps are counted from there anew.

    ``step_sizes`` has one entry more than ``restarts``: the first holds from the start.
    """

    step_sizes: tuple[int, ...]
    restarts: tuple[int, ...] = ()
    restart_weights: tuple[float, ...] = ()
    gamma: float = 0.1

    def __post_init__(self) -> None:
        """Check that the options fit each other."""
        _check_restarts(self.restarts, self.restart_weights)
        _check_spans("step_sizes", self.step_sizes, self.restarts)

    def __call__(self, step: int, rate: float) -> float:
        """See ``Schedule``."""
        count, since, weight = _restart(self.restarts, self.restart_weights, step)
        return rate * weight * self.gamma ** ((step - since) // self.step_sizes[count])


@SCHEDULES.register("cosine", "CosineAnnealingLR")
@dataclass(frozen=True)
class Cosine:
    """Half a cosine over ``T_max`` iterations down to ``eta_min``, which is a learning rate.

    Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983, eq. 5.
    """

    T_max: int
    eta_min: float = 0.0

    def __post_init__(self) -> None:
        """Check that there is a period."""
        _check_spans("T_max", (self.T_max,), ())

    def __call__(self, step: int, rate: float) -> float:
        """See ``Schedule``."""
        return _anneal(rate, self.eta_min, step / self.T_max)


@SCHEDULES.register("cosine_restart", "CosineAnnealingLR_Restart")
@dataclass(frozen=True)
class CosineRestart:
    """Like ``cosine``; from each restart on another one, which starts at ``rate * weight``.

    ``T_period`` has one entry more than ``restarts``: the first holds from the start.
    """

    T_period: tuple[int, ...]
    restarts: tuple[int, ...] = ()
    restart_weights: tuple[float, ...] = ()
    eta_min: float = 0.0

    def __post_init__(self) -> None:
        """Check that the options fit each other."""
        _check_restarts(self.restarts, self.restart_weights)
        _check_spans("T_period", self.T_period, self.restarts)

    def __call__(self, step: int, rate: float) -> float:
        """See ``Schedule``."""
        count, since, weight = _restart(self.restarts, self.restart_weights, step)
        return _anneal(rate * weight, self.eta_min, (step - since) / self.T_period[count])


def _decayed(step: int, fixed: int, decay: int) -> float:
    """0 through the fixed iterations, then rising to 1, which the last of ``fixed + decay`` iterations has."""
    return min(1.0, max(0, step + 1 - fixed) / max(1, decay))


@SCHEDULES.register("linear", "Linear")
@dataclass(frozen=True)
class Linear:
    """``fixed_niter`` iterations of the full rate, then ``niter_decay`` in which it falls linearly to 0."""

    fixed_niter: int
    niter_decay: int

    def __call__(self, step: int, rate: float) -> float:
        """See ``Schedule``."""
        return rate * (1 - _decayed(step, self.fixed_niter, self.niter_decay))


@SCHEDULES.register("flat_cosine", "FlatCosineDecay")
@dataclass(frozen=True)
class FlatCosine:
    """``fixed_niter`` iterations of the full rate, then ``niter_decay`` in which it falls to 0 as half a cosine."""

    fixed_niter: int
    niter_decay: int

    def __call__(self, step: int, rate: float) -> float:
        """See ``Schedule``."""
        return _anneal(rate, 0.0, _decayed(step, self.fixed_niter, self.niter_decay))


@SCHEDULES.register("plateau", "ReduceLROnPlateau")
@dataclass(eq=False)
class Plateau:
    """Times ``factor`` after more than ``patience`` validations in a row without an improvement of ``metric``.

    An improvement is one by more than ``threshold``, relative to the best. It is told of each validation by
    ``observe``; before the first it keeps the rate of the option file.
    """

    metric: str = "psnr"
    mode: Literal["min", "max"] = "max"
    factor: float = 0.1
    threshold: float = 1e-4
    patience: int = 10
    _scale: float = field(default=1.0, init=False)
    _best: float | None = field(default=None, init=False)
    _bad: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Check the options."""
        if self.mode not in ("min", "max"):
            raise ValueError(f"mode: expected min or max, found {self.mode!r}")
        if not 0 < self.factor < 1:
            raise ValueError(f"factor: expected a number between 0 and 1, found {self.factor}")

    def __call__(self, step: int, rate: float) -> float:
        """See ``Schedule``."""
        del step
        return rate * self._scale

    def observe(self, value: float) -> None:
        """Take note of the metric at a validation. What is not a number is no improvement."""
        if self._improves(value):
            self._best, self._bad = value, 0
            return
        self._bad += 1
        if self._bad > self.patience:
            self._scale, self._bad = self._scale * self.factor, 0

    def _improves(self, value: float) -> bool:
        if math.isnan(value):
            return False
        if self._best is None:
            return True
        gain = value - self._best if self.mode == "max" else self._best - value
        return gain > self.threshold * abs(self._best)

    def state_dict(self) -> dict[str, Any]:
        """What it learned from the validations so far."""
        return {"scale": self._scale, "best": self._best, "bad": self._bad}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._scale, self._best, self._bad = state["scale"], state["best"], state["bad"]


@dataclass(frozen=True)
class WarmUp:
    """``then``, and through the first ``steps`` iterations a share of it that rises linearly from 1 / steps to 1."""

    steps: int
    then: Schedule

    def __call__(self, step: int, rate: float) -> float:
        """See ``Schedule``."""
        return self.then(step, rate) * min(1.0, (step + 1) / max(1, self.steps))


@dataclass(frozen=True)
class SWAAnneal:
    """``then`` up to iteration ``start``; from there within ``anneal`` iterations to ``rate``, where it stays.

    For the averaging of Izmailov et al. 2018, https://arxiv.org/abs/1803.05407.
    """

    then: Schedule
    start: int
    rate: float
    anneal: int = 10
    strategy: Literal["cos", "linear"] = "cos"

    def __post_init__(self) -> None:
        """Check the options."""
        if self.strategy not in ("cos", "linear"):
            raise ValueError(f"strategy: expected cos or linear, found {self.strategy!r}")

    def __call__(self, step: int, rate: float) -> float:
        """See ``Schedule``."""
        if step < self.start:
            return self.then(step, rate)
        share = min(1.0, (step - self.start) / max(1, self.anneal))
        begin = self.then(self.start, rate)
        return _anneal(begin, self.rate, share) if self.strategy == "cos" else begin + (self.rate - begin) * share
