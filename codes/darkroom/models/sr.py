"""Super-resolution and restoration from pairs, with or without a discriminator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..core.model import MODELS, Model, network, output
from ..core.network import Network
from ..core.sample import Sample


@MODELS.register("sr")
@dataclass(eq=False, kw_only=True)
class SR(Model):
    """Batch: ``input`` (B, C, h, w), ``target`` (B, C, s*h, s*w). Gives ``output`` like ``target``."""

    players: ClassVar = {"G": ("G",), "D": ("D",)}
    reads: ClassVar = ("input", "target")
    tiles: ClassVar = "input"

    G: Network = network()
    D: Network = network(optional=True)

    @output
    def output(self, s: Sample) -> Tensor:
        """The image that the generator makes of the input."""
        return self.G(s["input"])
