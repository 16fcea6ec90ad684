"""Texture by category: a network whose features are modulated by maps of what is where (sky, water, grass, ...).

SFTGAN, Wang et al. 2018, https://arxiv.org/abs/1804.02815. The discriminator also tells the category of the image
(section 3.2 there, eq. 7 and 8); background has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from ..core.model import MODELS, Model, network, rule
from ..core.network import Network
from ..core.phases import Phase
from ..core.sample import Sample


@MODELS.register("sftgan")
@dataclass(eq=False, kw_only=True)
class SFTGAN(Model):
    """Batch: ``input`` (B, C, h, w), ``target`` (B, C, s*h, s*w), ``maps`` (B, K, s*h, s*w), ``category`` (B,).

    In the first ``condition_first`` iterations only what modulates is trained, as by the authors, from a network that
    was trained for PSNR.
    """

    players: ClassVar = {"G": ("G",), "D": ("D",)}
    reads: ClassVar = ("input", "target", "maps")

    G: Network = network()
    D: Network = network(optional=True)
    condition_first: int = 0

    @rule
    def output(self, s: Sample) -> Tensor:
        """The image that the generator makes of the input, given the maps."""
        image: Tensor = self.G(s["input"], s["maps"])
        return image

    def phases(self, iterations: int, losses: Mapping[str, bool]) -> Sequence[Phase]:
        """What modulates, then everything."""
        del iterations
        if self.condition_first <= 0:
            return ()
        critics = ("D",) if any(losses.values()) else ()
        modulating = tuple(f"G.{path}" for path in outermost(self.G, self.G.condition))
        players = ("G", *critics)
        first = Phase(name="condition", players=players, trains=(*modulating, *critics))
        return [first, Phase(name="everything", start=self.condition_first)]


def outermost(network: nn.Module, kinds: Sequence[str]) -> list[str]:
    """The paths of the modules whose own names begin with one of ``kinds``, but for those within others of them."""
    found: list[str] = []
    for path, _ in network.named_modules():
        inside = any(path.startswith(f"{outer}.") for outer in found)
        if not inside and path.rpartition(".")[2].startswith(tuple(kinds)):
            found.append(path)
    return found
