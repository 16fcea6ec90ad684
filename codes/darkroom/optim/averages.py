"""Averages of weights over the run, on torch.optim.swa_utils: exponential (EMA) and equal (SWA)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Average(ABC):
    """Weights to judge and keep that follow from those in training."""

    @property
    @abstractmethod
    def networks(self) -> dict[str, nn.Module]:
        """Networks with these weights, by name."""

    @property
    @abstractmethod
    def started(self) -> bool:
        """Whether they are worth keeping yet."""

    @abstractmethod
    def update(self, step: int) -> None:
        """Take in the networks after iteration ``step``."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """What they do not follow from otherwise."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from such a state."""

    def restart(self) -> None:  # noqa: B027  (what needs no start has none)
        """Begin with the networks as they are now."""


class WeightAverage(Average):
    """Averages some networks. Until it starts it is a copy of them; buffers are copied at each update."""

    def __init__(
        self, networks: Mapping[str, nn.Module], averaged: Mapping[str, AveragedModel], start: int, every: int
    ) -> None:
        """Follow ``networks`` with ``averaged``, from iteration ``start`` on, at multiples of ``every`` after it."""
        self._networks = networks
        self._averaged = averaged
        self._start, self._every = start, every

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The averaged networks."""
        return {name: average.module for name, average in self._averaged.items()}

    @property
    def started(self) -> bool:
        """Whether it has taken in any weights."""
        return all(bool(average.n_averaged) for average in self._averaged.values())

    def update(self, step: int) -> None:
        """Take in the networks after iteration ``step``."""
        if step >= self._start and (step - self._start) % self._every == 0:
            for name, average in self._averaged.items():
                average.update_parameters(self._networks[name])

    def restart(self) -> None:
        """Begin with the networks as they are now."""
        for name, average in self._averaged.items():
            average.module.load_state_dict(self._networks[name].state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Of each average."""
        return {name: average.state_dict() for name, average in self._averaged.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with these averages."""
        for name, average in self._averaged.items():
            average.load_state_dict(state[name])


def exponential(networks: Mapping[str, nn.Module], decay: float) -> WeightAverage:
    """``average = decay * average + (1 - decay) * weights`` after every iteration, in one foreach operation.

    Raises:
        ValueError: the decay is not between 0 and 1.
    """
    if not 0 <= decay < 1:
        raise ValueError(f"ema.decay: expected at least 0 and less than 1, found {decay}")
    average = {n: AveragedModel(m, multi_avg_fn=get_ema_multi_avg_fn(decay)) for n, m in networks.items()}
    for copy in average.values():
        copy.n_averaged += 1  # the first update averages with the initial weights instead of copying
    return WeightAverage(networks, average, start=0, every=1)


def equal(networks: Mapping[str, nn.Module], start: int, every: int = 1) -> WeightAverage:
    """The mean of the weights after ``start``, ``start + every``, ... (Izmailov et al. 2018, arXiv 1803.05407).

    Raises:
        ValueError: the start is negative or the distance not positive.
    """
    if start < 0 or every < 1:
        raise ValueError(f"swa: expected start >= 0 and every >= 1, found {start} and {every}")
    return WeightAverage(networks, {n: AveragedModel(m) for n, m in networks.items()}, start, every)
