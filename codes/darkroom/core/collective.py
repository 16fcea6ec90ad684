"""Sums over all processes that train together, through which gradients flow."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed


def processes() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this one is, from 0 on."""
    return distributed.get_rank() if processes() > 1 else 0


def gather_over_processes(x: Tensor) -> Tensor:
    """The (B, ...) of all processes one behind the other, known to all; without graph."""
    if processes() == 1:
        return x
    parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(processes())]
    distributed.all_gather(parts, x.contiguous())
    return torch.cat(parts)


def sum_over_processes(x: Tensor) -> Tensor:
    """The sum of every process's ``x``, known to all.

    The gradient that a process gets is that of the sum of all processes' losses, so that averaging the gradients of the
    parameters afterwards gives what one process with the whole batch has.
    """
    return x if processes() == 1 else _AllSum.apply(x)


class _AllSum(torch.autograd.Function):
    """Every process's value enters all their losses, hence the same sum of gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        del ctx
        total = x.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        del ctx
        total = gradients[0].clone()
        distributed.all_reduce(total)
        return total
