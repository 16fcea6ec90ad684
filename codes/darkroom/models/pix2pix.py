"""Translation of images from pairs: pix2pix, Isola et al. 2017, https://arxiv.org/abs/1611.07004.

D judges (x, y) against (x, G(x)) (eq. 1 there), and learns first; G then fools the D that has just learnt, and stays
near the target (eq. 3, 4). The condition is a matter of the adversarial loss: ``given: input``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..core.model import MODELS, network, rule
from ..core.network import Network
from ..core.sample import Sample
from .translation import Translation


@MODELS.register("pix2pix")
@dataclass(eq=False, kw_only=True)
class Pix2Pix(Translation):
    """Batch: ``input`` x (B, C, H, W), ``target`` y (B, C', H, W). Gives ``output`` G(x) like ``target``."""

    players: ClassVar = {"D": ("D",), "G": ("G",)}
    reads: ClassVar = ("input", "target")
    aliases: ClassVar = {"real_A": "input", "fake_B": "output", "real_B": "target"}
    sheet: ClassVar = (("input", "output", "target"),)
    tiles: ClassVar = "input"

    G: Network = network()
    D: Network = network(optional=True)

    @rule
    def output(self, s: Sample) -> Tensor:
        """G(x); its noise z is the dropout in it."""
        image: Tensor = self.G(s["input"])
        return image
