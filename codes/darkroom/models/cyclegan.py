"""Translation between two sets of images without pairs: CycleGAN, Zhu et al. 2017, https://arxiv.org/abs/1703.10593.

In the names of the published code: G_A makes B of A (G there), G_B makes A of B (F), D_A judges images of B (D_Y), D_B
those of A (D_X). Which losses hold for which direction is in the option file: cycle consistency (eq. 2) compares
``rec_A`` with ``real_A``, identity (section 5.2) ``idt_A`` with ``real_B``, and the adversarial losses (eq. 1) keep a
history of fakes (section 4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..core.model import MODELS, network, rule
from ..core.network import Network
from ..core.sample import Sample
from .translation import Translation


@MODELS.register("cyclegan")
@dataclass(eq=False, kw_only=True)
class CycleGAN(Translation):
    """Batch: ``real_A`` (B, C, H, W) and ``real_B`` (B, C', H', W'), of which nothing belongs together.

    Gives ``fake_B`` G_A(A), ``rec_A`` G_B(G_A(A)), ``idt_B`` G_B(A), and ``fake_A``, ``rec_B``, ``idt_A`` of B.
    """

    players: ClassVar = {"G": ("G_A", "G_B"), "D": ("D_A", "D_B")}
    reads: ClassVar = ("real_A", "real_B")
    images: ClassVar = ("real_A", "real_B")
    sheet: ClassVar = (("real_A", "fake_B", "rec_A", "idt_B"), ("real_B", "fake_A", "rec_B", "idt_A"))

    G_A: Network = network()
    G_B: Network = network()
    D_A: Network = network(optional=True)
    D_B: Network = network(optional=True)

    @rule
    def fake_B(self, s: Sample) -> Tensor:
        """A as an image of B."""
        image: Tensor = self.G_A(s["real_A"])
        return image

    @rule
    def rec_A(self, s: Sample) -> Tensor:
        """And back again."""
        image: Tensor = self.G_B(s["fake_B"])
        return image

    @rule
    def fake_A(self, s: Sample) -> Tensor:
        """B as an image of A."""
        image: Tensor = self.G_B(s["real_B"])
        return image

    @rule
    def rec_B(self, s: Sample) -> Tensor:
        """And back again."""
        image: Tensor = self.G_A(s["fake_A"])
        return image

    @rule
    def idt_A(self, s: Sample) -> Tensor:
        """What G_A makes of what is an image of B already."""
        image: Tensor = self.G_A(s["real_B"])
        return image

    @rule
    def idt_B(self, s: Sample) -> Tensor:
        """What G_B makes of what is an image of A already."""
        image: Tensor = self.G_B(s["real_A"])
        return image

    def infer(self, sample: Sample) -> dict[str, Tensor]:
        """All six; ``fake_B`` alone where there is no B."""
        names = [name for name in self.rules if "real_B" in sample] or ["fake_B"]
        return {name: sample[name] for name in names}
