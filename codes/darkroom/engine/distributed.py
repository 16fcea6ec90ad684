"""Data parallelism without wrappers: one all-reduce of a player's gradients after its backward passes.

After StyleGAN3's training loop (Karras et al. 2021): no wrapper, so freezing, phases, several networks and second-order
terms just work. k processes equal one process with the k-fold batch.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..core import collective
from ..core.collective import processes, sum_over_processes

T = TypeVar("T")


rank = collective.rank
"""Number of this process; the first, 0, writes files and talks."""


def setup(device: torch.device) -> None:
    """Join the processes that torchrun (or ``gpu_ids: [0, 1]``) started; nothing to do for a single one."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        return
    # Flags and figures travel on the CPU even where gradients travel on the GPU: no sync for them.
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")


def shutdown() -> None:
    """Leave the group of processes, together: who leaves early ends the threads that the others still use."""
    if dist.is_initialized():
        barrier()
        dist.destroy_process_group()


def local_rank() -> int:
    """Number of this process on its machine, hence of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_world_size() -> int:
    """How many processes train on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("WORLD_SIZE", "1")))


def seed(run_seed: int, step: int) -> int:
    """A seed of its own for every (run, iteration, process): so the generators' states need not be saved."""
    return int(np.random.SeedSequence((run_seed, step, rank())).generate_state(1, np.uint64)[0] >> 1)


def average_gradients(parameters: Sequence[nn.Parameter], loss: Tensor) -> Tensor:
    """Replace the gradients by their means over the processes, in one transfer; returns the mean of ``loss``."""
    if processes() == 1:
        return loss
    grads = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([loss.reshape(1), *(g.flatten() for g in grads)])
    dist.all_reduce(flat)
    mean, *means = (flat / processes()).split([1, *(g.numel() for g in grads)])
    if grads:
        torch._foreach_copy_(grads, [m.view_as(g) for m, g in zip(means, grads, strict=True)])
    return mean[0]


def anywhere(flag: bool) -> bool:
    """Whether the flag is set in any process: all learn of it in the same iteration."""
    if processes() == 1:
        return flag
    shared = torch.tensor(float(flag))
    dist.all_reduce(shared, op=dist.ReduceOp.MAX)
    return bool(shared)


def gather(value: T) -> list[T]:
    """The value of every process, in order, known to all."""
    if processes() == 1:
        return [value]
    values: list[T | None] = [None] * processes()
    dist.all_gather_object(values, value)
    return [v for v in values if v is not None]


def barrier() -> None:
    """Wait for the others."""
    if processes() > 1:
        anywhere(False)


class AllReduceBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the batches of all processes on the CPU, where torch's SyncBatchNorm does not run."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same, normalised with the statistics of the k-fold batch while training."""
        if not self.training or processes() == 1:
            return super().forward(x)
        count = sum_over_processes(x.new_tensor(x.numel() / x.shape[1]))
        mean = sum_over_processes(x.sum((0, 2, 3))) / count
        centred = x - mean[:, None, None]
        var = sum_over_processes(centred.square().sum((0, 2, 3))) / count
        if self.track_running_stats:
            self._observe(mean.detach(), var.detach(), count)
        x = centred * torch.rsqrt(var + self.eps)[:, None, None]
        return x * self.weight[:, None, None] + self.bias[:, None, None] if self.affine else x

    @torch.no_grad()
    def _observe(self, mean: Tensor, var: Tensor, count: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        momentum = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(var * count / (count - 1), momentum)


def synchronise_batch_norm(module: nn.Module, device: torch.device) -> nn.Module:
    """``module`` with every BatchNorm2d replaced by one over all processes; its keys stay as they are."""
    if processes() == 1:
        return module
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d) and not isinstance(child, AllReduceBatchNorm):
            norm = AllReduceBatchNorm(
                child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats
            )
            norm.load_state_dict(child.state_dict())
            norm.train(child.training)
            setattr(module, name, norm)
        else:
            synchronise_batch_norm(child, device)
    return module
