"""A player: an optimizer, the parameters it may train, and how it takes a step."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

Clip = Callable[[list[Tensor], Tensor], None]
"""``clip(gradients, norm)`` changes the gradients, whose total norm is given, in place."""


class Schedule(Protocol):
    """The learning rate as a function of the iteration."""

    def __call__(self, step: int, rate: float) -> float:
        """The learning rate after ``step`` iterations, from the ``rate`` of the option file."""
        ...


@dataclass(eq=False)
class Player:
    """``every`` is its cadence: it sits out the iterations that are not multiples of it."""

    name: str
    optimizer: Optimizer
    schedule: Schedule
    every: int = 1
    clip: Clip | None = None
    settings: Collection[str] = ("lr",)
    """What the option file says of the optimizer; the rest of its groups is state."""

    def __post_init__(self) -> None:
        """Note the learning rates of the option file."""
        self._base_rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        self._skips_itself = bool(getattr(self.optimizer, "_step_supports_amp_scaling", False))

    @property
    def learning(self) -> list[nn.Parameter]:
        """The parameters of its optimizer that are not frozen now."""
        return [p for group in self.optimizer.param_groups for p in group["params"] if p.requires_grad]

    def rates(self, step: int) -> list[float]:
        """The learning rate of each parameter group at an iteration."""
        return [self.schedule(step, rate) for rate in self._base_rates]

    def begin(self, step: int) -> None:
        """Set the learning rates and drop the gradients."""
        for group, rate in zip(self.optimizer.param_groups, self.rates(step), strict=True):
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)

    def finish(self, scaler: torch.amp.GradScaler, loss: Tensor) -> Tensor:
        """Clip and step, unless the gradients or the loss are not finite: then the step is left out.

        Returns whether they were finite, a scalar on the device. Fused optimizers leave the step out by themselves, so
        that nothing waits for the GPU; others need to know.
        """
        grads = [p.grad for p in self.learning if p.grad is not None]
        for first in grads[:1]:
            first.add_(loss - loss)  # nothing, or NaN: L1 of a NaN has finite gradients
        scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.get_total_norm(grads)
        finite = norm.isfinite()
        if self.clip is not None:
            self.clip(grads, norm)
        if scaler.is_enabled():
            scaler.step(self.optimizer)
        elif finite.device.type == "cpu" or not self._skips_itself:
            if finite:
                self.optimizer.step()
        else:
            self.optimizer.found_inf = finite.logical_not().float()  # type: ignore[attr-defined]
            self.optimizer.step()
        return finite

    def state_dict(self) -> dict[str, Any]:
        """Of the optimizer, and of the clipping if it has a state."""
        clip = self.clip.state_dict() if isinstance(self.clip, nn.Module) else {}
        return {"type": type(self.optimizer).__name__, "optimizer": self.optimizer.state_dict(), "clip": clip}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore it; learning rates and the like stay those of the option file.

        Raises:
            ValueError: it is the state of another kind of optimizer, or of other parameters.
        """
        if state["type"] != type(self.optimizer).__name__:
            raise ValueError(f"expected the state of {type(self.optimizer).__name__}, found that of {state['type']}")
        own = [{k: v for k, v in g.items() if k in self.settings} for g in self.optimizer.param_groups]
        groups = state["optimizer"]["param_groups"]
        # Before loading: where the state goes, to which device, depends on them.
        merged = [{**group, **settings} for group, settings in zip(groups, own, strict=True)]
        self.optimizer.load_state_dict({**state["optimizer"], "param_groups": merged})
        if isinstance(self.clip, nn.Module) and state["clip"]:
            self.clip.load_state_dict(state["clip"])


class Meter:
    """Running means of named figures, kept on the device: reading them is the only synchronisation."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._objectives: dict[str, Tensor] = {}
        self._newest: dict[str, Tensor] = {}

    def add(self, figures: Mapping[str, Tensor]) -> None:
        """Take in one micro-batch's figures, scalars on the device."""
        for name, value in figures.items():
            self._sums[name] = self._sums[name] + value.float() if name in self._sums else value.detach().float()
            self._counts[name] = self._counts.get(name, 0) + 1
            self._newest[name] = value.detach()

    def note(self, player: str, objective: Tensor) -> None:
        """Keep the objective of a player's last turn."""
        self._objectives[player] = objective

    def latest(self) -> dict[str, float]:
        """The objectives of the last turns by player; waits for the device."""
        return {player: float(objective) for player, objective in self._objectives.items()}

    def newest(self, names: Sequence[str]) -> list[float]:
        """The last value of each figure, NaN for one that there is not; waits for the device."""
        return [float(self._newest[name]) if name in self._newest else math.nan for name in names]

    def flush(self) -> dict[str, float]:
        """The means since the last call, in one transfer."""
        if not self._sums:
            return {}
        values = torch.stack([*self._sums.values()]).tolist()
        means = {name: value / self._counts[name] for name, value in zip(self._sums, values, strict=True)}
        self._sums, self._counts = {}, {}
        return means
