"""The losses of EdgeConnect, Nazeri et al. 2019, https://arxiv.org/abs/1901.00212, beside the perceptual ones.

They read what a discriminator gave, ``[[map, ..., logits], ...]``, as the models ``edge`` and ``inpaint`` have it: for
real images ``on_real``, for fakes ``on_fake`` (the discriminator learns) and ``on_fooling`` (the generator does).

What differs from the published code: no logarithm is cut off (there, at -100); a batch without a hole has a finite L1;
in distributed training the size of the hole is that of the whole batch, not of each process.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.terms import LOSSES, Loss, Verdict
from .adversarial import batch_mean, scores
from .pixel import l1

Mode = Literal["nsgan", "lsgan", "hinge"]


def misjudged(logits: Tensor, real: bool, mode: Mode) -> Tensor:
    """How wrong logits of images are that are all ``real``, or all are not: a scalar.

    nsgan: cross entropy of the probabilities (the paper's eq. 2); lsgan: their mean squared error; hinge: mean
    max(0, 1 - x) of real images, max(0, 1 + x) of others.
    """
    if mode == "hinge":
        return F.relu(1 - logits if real else 1 + logits).mean()
    if mode == "lsgan":
        return (logits.sigmoid() - float(real)).square().mean()
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


@LOSSES.register("judged")
class Judged(Loss):
    """(real + fake) / 2, what a discriminator minimises; all modes are halved. Several scales are summed."""

    def __init__(self, mode: Mode = "nsgan", mark: str = "") -> None:
        """``mark`` ends the names in the log, to tell one discriminator from another.

        Raises:
            ValueError: an unknown ``mode``.
        """
        super().__init__()
        self.mode, self.mark = _known(mode), mark

    def forward(self, on_real: Any, on_fake: Any) -> Verdict:
        """A scalar, and for the log ``l_d_real``, ``l_d_fake`` and the mean logits ``D_real``, ``D_fake``."""
        figures: dict[str, Tensor] = {}
        losses = []
        for name, judged in (("real", on_real), ("fake", on_fake)):
            scales = scores(judged)
            losses.append(torch.stack([misjudged(logits, name == "real", self.mode) for logits in scales]).sum())
            figures[f"l_d_{name}{self.mark}"] = losses[-1].detach()
            figures[f"D_{name}{self.mark}"] = torch.stack([logits.detach().mean() for logits in scales]).mean()
        return Verdict(torch.stack(losses).mean(), figures)


@LOSSES.register("fooled")
class Fooled(Loss):
    """What a generator minimises: how wrong its images would be judged if they were real. For the hinge, mean -x."""

    def __init__(self, mode: Mode = "nsgan") -> None:
        """Raise ValueError for an unknown ``mode``."""
        super().__init__()
        self.mode = _known(mode)

    def forward(self, on_fooling: Any) -> Tensor:
        """A scalar. Several scales are summed."""
        scales = scores(on_fooling)
        if self.mode == "hinge":
            return torch.stack([-logits.mean() for logits in scales]).sum()
        return torch.stack([misjudged(logits, True, self.mode) for logits in scales]).sum()


@LOSSES.register("feature_matching")
class FeatureMatching(Loss):
    """sum_i mean |D_i(real) - D_i(fake)| over all that a discriminator gives, the logits too. The paper's eq. 3."""

    def forward(self, on_fooling: Any, on_real: Any) -> Tensor:
        """A scalar; no gradient reaches ``on_real``."""
        pairs = [pair for fake, real in zip(on_fooling, on_real, strict=True) for pair in zip(fake, real, strict=True)]
        return torch.stack([l1(fake, real.detach()) for fake, real in pairs]).sum()


@LOSSES.register("masked_l1")
class MaskedL1(Loss):
    """mean |x - y| / mean(mask): the L1 of the whole image, as if all of it had been in the hole."""

    def forward(self, prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """A scalar, of (B, C, H, W) twice and (B, 1, H, W), 1 where the hole is."""
        least = 1 / mask.numel()  # one pixel, where no image has a hole
        return l1(prediction, target) / batch_mean(mask.to(torch.float32)).clamp_min(least)


def _known(mode: Mode) -> Mode:
    if mode not in ("nsgan", "lsgan", "hinge"):
        raise ValueError(f"mode: expected nsgan, lsgan or hinge, found {mode!r}")
    return mode
