"""The adversarial loss of SFTGAN, whose critic also says what an image shows.

SFTGAN: Wang et al. 2018, https://arxiv.org/abs/1804.02815; auxiliary classifiers: Odena et al. 2017,
https://arxiv.org/abs/1610.09585. What differs from the published code: a batch in which no image has a class has a
class loss of 0, not NaN; in distributed training the mean is that of the whole batch, not of each process.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.collective import processes, sum_over_processes
from ..core.terms import LOSSES, AdversarialLoss, Critic, Verdict
from .adversarial import GAN, Mode

BACKGROUND = 0
"""The class of images that show none in particular: any answer may be right, so none counts."""


def classification(logits: Tensor, category: Tensor) -> Tensor:
    """Mean cross entropy of (B, classes) and the true classes (B,), integers, without background; a scalar.

    Odena et al. 2017, eq. 3.
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    errors = F.cross_entropy(wide, category, ignore_index=BACKGROUND, reduction="sum")
    count = sum_over_processes((category != BACKGROUND).sum())
    return errors * processes() / count.clamp_min(1)


@LOSSES.register("acd")
class AuxiliaryClassifierGAN(AdversarialLoss):
    """An adversarial loss of the standard form, and for both players the cross entropy of the critic's classes.

    The critic gives (scores, class logits), as ``dis_acd`` does. It minimises real + fake, not half of it.
    """

    def __init__(
        self, mode: Mode = "vanilla", real_label: float = 1.0, fake_label: float = 0.0, gp_weight: float | None = None
    ) -> None:
        """As for ``gan``; only ``wgan-gp`` has a gradient penalty.

        Raises:
            ValueError: an unknown ``mode``, or a weight that is negative or has no penalty to weigh.
        """
        super().__init__()
        if gp_weight is not None and mode != "wgan-gp":
            raise ValueError(f"gp_weight: only mode wgan-gp has a gradient penalty, not {mode!r}")
        self.gan = GAN(mode, "standard", real_label, fake_label, gp_weight)

    def generator(self, critic: Critic, fake: Tensor, real: Tensor, category: Tensor) -> Verdict:
        """Both losses, and ``l_g_cls``; ``category`` (B,) are the classes of the images, integers, 0 for background."""
        judge = _ScoresOnly(critic)
        fooled = self.gan.generator(judge, fake, real)
        classes = classification(judge.logits[fake], category)
        return Verdict(fooled + classes, {"l_g_cls": classes.detach()})

    def discriminator(self, critic: Critic, fake: Tensor, real: Tensor, category: Tensor) -> Verdict:
        """What the critic minimises; figures of ``gan``, ``l_d_cls_real``, ``l_d_cls_fake``, ``D_accuracy``."""
        judge = _ScoresOnly(critic)
        verdict = self.gan.discriminator(judge, fake, real)
        on_real, on_fake = (classification(judge.logits[image], category) for image in (real, fake))
        loss = verdict.loss / self.gan.share + on_real + on_fake
        classes = {"l_d_cls_real": on_real.detach(), "l_d_cls_fake": on_fake.detach()}
        classes["D_accuracy"] = accuracy(judge.logits[real], category)
        return Verdict(loss, {**verdict.figures, **classes})


def accuracy(logits: Tensor, category: Tensor) -> Tensor:
    """The share of the images (B,) of a category whose logits (B, classes) are highest there; 0 if there are none."""
    known = category != BACKGROUND
    right = (logits.detach().argmax(1) == category) & known
    return right.sum() / known.sum().clamp_min(1)


class _ScoresOnly:
    """A critic as a loss without classes wants it, which keeps what it says of the classes, by image."""

    def __init__(self, critic: Critic) -> None:
        self.critic = critic
        self.logits: dict[Tensor, Tensor] = {}

    def __call__(self, image: Tensor) -> Any:
        judged = self.critic(image)
        if not isinstance(judged, (tuple, list)) or len(judged) != 2:
            raise ValueError("the loss acd needs a critic that gives scores and class logits, such as dis_acd")
        scores, self.logits[image] = judged
        return scores
