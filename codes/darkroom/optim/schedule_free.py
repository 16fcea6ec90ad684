"""Schedule-free optimizers: no learning rate schedule, and no length of the run to be known beforehand.

Defazio et al. 2024, "The Road Less Scheduled", https://arxiv.org/abs/2405.15682, in the implementations of the package
pytorch-optimizer. What differs: the weights x that a model is judged by are computed beside those in training, y,
instead of in their place, so that looking at them changes nothing of the run.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from .averages import Average
from .optimizers import OPTIMIZERS, Params


@OPTIMIZERS.register("schedulefree_adamw", "schedule_free")
def schedulefree_adamw(
    params: Params,
    lr: float = 2.5e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    warmup_steps: int = 0,
) -> Optimizer:
    """Schedule-free AdamW; wants 1 to 10 times Adam's rate. ``betas[0]`` is the share of the average in y."""
    from pytorch_optimizer import ScheduleFreeAdamW

    return ScheduleFreeAdamW(
        list(params), lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, warmup_steps=warmup_steps
    )


@OPTIMIZERS.register("schedulefree_sgd")
def schedulefree_sgd(
    params: Params, lr: float = 1.0, momentum: float = 0.9, weight_decay: float = 0.0, warmup_steps: int = 0
) -> Optimizer:
    """Schedule-free SGD; wants 10 to 50 times SGD's rate. ``momentum`` is the share of the average in y."""
    from pytorch_optimizer import ScheduleFreeSGD

    return ScheduleFreeSGD(list(params), lr=lr, momentum=momentum, weight_decay=weight_decay, warmup_steps=warmup_steps)


def is_schedule_free(optimizer: Optimizer) -> bool:
    """Whether the weights that it trains are not those to judge by."""
    return "train_mode" in optimizer.defaults


class ScheduleFreeWeights(Average):
    """The weights x that schedule-free training arrives at, from y in the networks and z in the optimizer's state.

    y = (1 - beta) z + beta x (eq. 3 of the paper), so x = y + (1 - 1 / beta) (z - y).
    """

    def __init__(self, networks: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer]) -> None:
        """``optimizers`` are those of the networks, by the same names."""
        self._networks, self._optimizers = networks, optimizers
        self._copies: dict[str, nn.Module] = {}
        self._steps: list[int] = []

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The networks with the weights x, computed where there was a step since the last time."""
        steps = [group.get("step", 0) for optimizer in self._optimizers.values() for group in optimizer.param_groups]
        if steps != self._steps or not self._copies:
            with torch.inference_mode(False):  # a validation asks first, a checkpoint then
                self._compute()
            self._steps = steps
        return self._copies

    @property
    def started(self) -> bool:
        """Whether there was a step."""
        return all(len(optimizer.state) > 0 for optimizer in self._optimizers.values())

    @torch.no_grad()
    def _compute(self) -> None:
        for name, network in self._networks.items():
            judged = self._copies.setdefault(name, copy.deepcopy(network).requires_grad_(requires_grad=False))
            judged.load_state_dict(network.state_dict())
            copies = dict(zip(network.parameters(), judged.parameters(), strict=True))
            optimizer = self._optimizers[name]
            for group in optimizer.param_groups:
                beta = group["betas"][0] if "betas" in group else group["momentum"]
                for y in group["params"]:
                    if y in copies and y in optimizer.state:
                        copies[y].lerp_(optimizer.state[y]["z"], 1 - 1 / beta)

    def update(self, step: int) -> None:
        """Nothing: they follow from the optimizer's state."""
        del step

    def state_dict(self) -> dict[str, Any]:
        """Nothing: they follow from the optimizer's state."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Forget what was computed before."""
        del state
        self._steps = []
