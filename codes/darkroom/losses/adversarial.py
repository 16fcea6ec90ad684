"""Adversarial losses, each with the generator's and the critic's side.

vanilla: Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661
lsgan: Mao et al. 2017, https://arxiv.org/abs/1611.04076
hinge: Lim and Ye 2017, https://arxiv.org/abs/1705.02894
wgan: Arjovsky et al. 2017, https://arxiv.org/abs/1701.07875
gradient penalty: Gulrajani et al. 2017, https://arxiv.org/abs/1704.00028
relativistic average form: Jolicoeur-Martineau 2018, https://arxiv.org/abs/1807.00734, weighted as in ESRGAN,
https://arxiv.org/abs/1809.00219
feature matching: Wang et al. 2018 (pix2pixHD), https://arxiv.org/abs/1711.11585, eq. 4

What differs: in distributed training the relativistic means are those of the whole batch, not of each process.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.collective import processes, sum_over_processes
from ..core.terms import LOSSES, AdversarialLoss, Critic, Verdict
from .pixel import Criterion, criterion_of

Mode = Literal["vanilla", "lsgan", "hinge", "wgan", "wgan-gp"]
_HALF = (torch.float16, torch.bfloat16)


def scores(output: Any) -> list[Tensor]:
    """The scores in what a critic returned, one per scale, in float32.

    A critic returns a tensor; or, if it has several scales, a list with an entry for each. An entry is a tensor, or
    the list of its feature maps, whose last one is the score.
    """
    entries = [output] if isinstance(output, Tensor) else output
    last = (entry if isinstance(entry, Tensor) else entry[-1] for entry in entries)
    return [score.float() if score.dtype in _HALF else score for score in last]


def feature_maps(output: Any) -> list[Tensor]:
    """The feature maps in what a critic returned, of all its scales; none if it returned scores only."""
    entries = [output] if isinstance(output, Tensor) else output
    return [feature for entry in entries if not isinstance(entry, Tensor) for feature in entry[:-1]]


def batch_mean(x: Tensor) -> Tensor:
    """The mean over all of ``x`` and over all processes, differentiable: a scalar. All must hold equal shares."""
    return sum_over_processes(x.mean()) / processes()


def gradient_penalty(critic: Critic, fake: Tensor, real: Tensor, share: Tensor | None = None) -> Tensor:
    """mean over the batch of (||grad_x critic(x)||_2 - 1)^2 with x = share fake + (1 - share) real; a scalar.

    Gulrajani et al. 2017, eq. 3. ``fake`` and ``real`` are (B, ...), ``share`` is (B,), by default drawn anew. Runs in
    float32, as second derivatives leave the range of half precision.
    """
    with torch.autocast(real.device.type, enabled=False):
        fake, real = (image.float() if image.dtype in _HALF else image for image in (fake, real))
        share = torch.rand(len(real), device=real.device, dtype=real.dtype) if share is None else share.to(real)
        between = torch.lerp(real, fake, share.reshape(-1, *[1] * (real.ndim - 1))).detach().requires_grad_()
        total = torch.stack([score.sum() for score in scores(critic(between))]).sum()
        (slope,) = torch.autograd.grad(total, between, create_graph=True)
        return (torch.linalg.vector_norm(slope.flatten(1), dim=1) - 1).square().mean()


@LOSSES.register("gan")
class GAN(AdversarialLoss):
    """``mode`` is how a score is judged, ``form`` is what a score is compared with: nothing, or the other side's mean.

    The critic minimises (real + fake) / 2, as ESRGAN and pix2pix do; in the standard form of hinge and wgan it
    minimises real + fake, as their papers do. Several scales are summed.
    """

    def __init__(
        self,
        mode: Mode = "vanilla",
        form: Literal["standard", "relativistic"] = "standard",
        real_label: float = 1.0,
        fake_label: float = 0.0,
        gp_weight: float | None = None,
        cap_at_real: bool = False,
        feature_weight: float = 0.0,
        feature_criterion: Criterion = "l1",
    ) -> None:
        """``gp_weight`` weighs the gradient penalty: by default 10 for ``wgan-gp`` and 0, none at all, for others.

        The labels are those of vanilla and lsgan; hinge and wgan have none. With ``cap_at_real`` the generator gains
        nothing from a score above that of the real image at the same place, so it is not taught to embellish what is
        blurred or plain. ``feature_weight`` weighs feature matching, relative to the loss itself: the mean over the
        critic's feature maps of the ``feature_criterion`` between those of the fake and the real images.

        Raises:
            ValueError: an unknown ``mode``, ``form`` or ``feature_criterion``, or a negative weight.
        """
        super().__init__()
        if mode not in ("vanilla", "lsgan", "hinge", "wgan", "wgan-gp"):
            raise ValueError(f"mode: expected vanilla, lsgan, hinge, wgan or wgan-gp, found {mode!r}")
        if form not in ("standard", "relativistic"):
            raise ValueError(f"form: expected standard or relativistic, found {form!r}")
        for name, weight in (("gp_weight", gp_weight), ("feature_weight", feature_weight)):
            if weight is not None and weight < 0:
                raise ValueError(f"{name}: expected at least 0, found {weight}")
        self.mode = mode.removesuffix("-gp")
        self.relativistic = form == "relativistic"
        self.labels = (fake_label, real_label)
        self.gp_weight = (10.0 if mode == "wgan-gp" else 0.0) if gp_weight is None else gp_weight
        self.cap_at_real = cap_at_real
        self.feature_weight, self.distance = feature_weight, criterion_of(feature_criterion)
        self.compares_maps = feature_weight > 0
        self.share = 1.0 if self.mode in ("hinge", "wgan") and not self.relativistic else 0.5

    def generator(self, critic: Critic, fake: Tensor, real: Tensor) -> Tensor:
        """A scalar; ``fake`` has a graph. ``real`` is only looked at where something is compared with it."""
        judged_fake = critic(fake)
        on_fake = scores(judged_fake)
        if not (self.relativistic or self.cap_at_real or self.compares_maps):
            return torch.stack([self._fooled(score) for score in on_fake]).sum()
        with torch.no_grad():
            judged_real = critic(real)
        on_real = scores(judged_real)
        if self.cap_at_real:
            on_fake = [torch.minimum(*pair) for pair in zip(on_fake, on_real, strict=True)]
        if self.relativistic:
            parts = [self._overturned(*pair) for pair in zip(on_real, on_fake, strict=True)]
        else:
            parts = [self._fooled(score) for score in on_fake]
        loss = torch.stack(parts).sum()
        if self.compares_maps:
            pairs = zip(feature_maps(judged_fake), feature_maps(judged_real), strict=True)
            loss = loss + self.feature_weight * torch.stack([self.distance(*pair) for pair in pairs]).mean()
        return loss

    def discriminator(self, critic: Critic, fake: Tensor, real: Tensor) -> Verdict:
        """What the critic minimises, with ``l_d_real``, ``l_d_fake``, ``D_real``, ``D_fake`` and, if any, ``l_d_gp``.

        ``l_d_gp`` is weighted. ``D_real`` and ``D_fake`` are means of the raw scores.
        """
        # in this order, which spectral norms, iterating with every call, see
        on_fake, on_real = scores(critic(fake)), scores(critic(real))
        pairs = [self._related(*pair) for pair in zip(on_real, on_fake, strict=True)]
        l_real = torch.stack([self._judge(score, real=True) for score, _ in pairs]).sum()
        l_fake = torch.stack([self._judge(score, real=False) for _, score in pairs]).sum()
        loss = self.share * (l_real + l_fake)
        figures = {
            "l_d_real": l_real.detach(),
            "l_d_fake": l_fake.detach(),
            "D_real": torch.stack([score.detach().mean() for score in on_real]).mean(),
            "D_fake": torch.stack([score.detach().mean() for score in on_fake]).mean(),
        }
        if self.gp_weight:
            penalty = self.gp_weight * gradient_penalty(critic, fake, real)
            loss = loss + penalty
            figures["l_d_gp"] = penalty.detach()
        return Verdict(loss, figures)

    def _related(self, on_real: Tensor, on_fake: Tensor) -> tuple[Tensor, Tensor]:
        """Jolicoeur-Martineau 2018, eq. 7: by how much each is more real than the mean of the others."""
        if not self.relativistic:
            return on_real, on_fake
        return on_real - batch_mean(on_fake), on_fake - batch_mean(on_real)

    def _overturned(self, on_real: Tensor, on_fake: Tensor) -> Tensor:
        """Its generator's side: the fakes should be more real than the real ones, and these less."""
        real, fake = self._related(on_real, on_fake)
        return (self._judge(real, real=False) + self._judge(fake, real=True)) / 2

    def _fooled(self, score: Tensor) -> Tensor:
        """The hinge ends at the margin for the critic only; the generator goes on (Lim and Ye 2017, eq. 12)."""
        return -score.mean() if self.mode == "hinge" else self._judge(score, real=True)

    def _judge(self, score: Tensor, real: bool) -> Tensor:
        if self.mode == "wgan":
            return -score.mean() if real else score.mean()
        if self.mode == "hinge":
            return F.relu(1 - score if real else 1 + score).mean()
        if self.mode == "lsgan":
            return (score - self.labels[real]).square().mean()
        return F.binary_cross_entropy_with_logits(score, torch.full_like(score, self.labels[real]))
