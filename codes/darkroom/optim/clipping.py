"""Gradient clipping. Each object is called as ``clip(gradients, norm)`` and changes the gradients in place.

Pascanu et al. 2013, https://arxiv.org/abs/1211.5063 (norm); Seetharaman et al. 2020, https://arxiv.org/abs/2007.14469
(AutoClip). What differs: nothing waits for the device, and AutoClip's history has a length and is part of the state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


def _scale_down(gradients: Sequence[Tensor], norm: Tensor, threshold: float | Tensor) -> None:
    """Pascanu et al. 2013, algorithm 1, without a branch on the norm."""
    factor = (threshold / (norm + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(list(gradients), factor)


def _positive(name: str, value: float) -> None:
    if value <= 0:
        raise ValueError(f"{name}: expected a positive number, found {value}")


@dataclass(frozen=True)
class ClipNorm:
    """Scales all gradients together so that their total norm is at most ``threshold``."""

    threshold: float

    def __post_init__(self) -> None:
        """Check the threshold."""
        _positive("threshold", self.threshold)

    def __call__(self, gradients: list[Tensor], norm: Tensor) -> None:
        """``norm`` is their total norm, a scalar on the same device."""
        _scale_down(gradients, norm, self.threshold)


@dataclass(frozen=True)
class ClipValue:
    """Cuts every element at ``threshold`` and at its negative."""

    threshold: float

    def __post_init__(self) -> None:
        """Check the threshold."""
        _positive("threshold", self.threshold)

    def __call__(self, gradients: list[Tensor], norm: Tensor) -> None:
        """``norm`` does not matter."""
        del norm
        torch._foreach_clamp_max_(gradients, self.threshold)
        torch._foreach_clamp_min_(gradients, -self.threshold)


class AutoClip(nn.Module):
    """Clips the norm at a percentile of the norms so far, this one included. Seetharaman et al. 2020, algorithm 1."""

    norms: Tensor
    count: Tensor

    def __init__(self, percentile: float = 10.0, window: int = 10000) -> None:
        """Remembers the last ``window`` norms.

        Raises:
            ValueError: ``percentile`` is not within 0..100, or there is no window.
        """
        super().__init__()
        if not 0 <= percentile <= 100:
            raise ValueError(f"percentile: expected a number from 0 to 100, found {percentile}")
        _positive("window", window)
        self.quantile = percentile / 100
        self.window = window
        self.register_buffer("norms", torch.full((window,), torch.nan))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def forward(self, gradients: list[Tensor], norm: Tensor) -> None:
        """``norm`` is their total norm, a scalar on the same device; if it is not finite, the history forgets it."""
        if self.norms.device != norm.device:
            self.to(norm.device)
        finite = norm.isfinite()
        slot = (self.count % self.window).reshape(1)
        self.norms.scatter_(0, slot, torch.where(finite, norm.float(), self.norms[slot]).reshape(1))
        self.count += finite
        _scale_down(gradients, norm, torch.nanquantile(self.norms, self.quantile).to(norm.dtype))
