"""Progressive perception-oriented network: https://arxiv.org/abs/1907.10399.

One network in three parts, trained one after the other: first the content (CFEM, CRM), then on top of it the structure
(SFEM, SRM), then the perception (PFEM, PRM), each with losses of its own. What trained before is frozen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..core.model import MODELS, Model, network, rule
from ..core.network import Network
from ..core.phases import Phase, select
from ..core.sample import Sample

STAGES = {"content": ("G.CFEM", "G.CRM"), "structure": ("G.SFEM", "G.SRM"), "perceptual": ("G.PFEM", "G.PRM")}
"""The stages in order, and the modules that each one trains."""


@MODELS.register("ppon")
@dataclass(eq=False, kw_only=True)
class PPON(Model):
    """Batch: ``input`` (B, C, h, w), ``target`` (B, C, s*h, s*w). Gives ``content``, ``structure``, ``perceptual``.

    ``output`` is the image of the stage in training. ``ppon_stages`` are the iterations at which structure and
    perception begin: [0, 0] trains perception only. ``p1_losses``, ``p2_losses``, ``p3_losses`` choose the losses of
    each stage by parts of their names; the adversarial ones belong to the last stage.
    """

    players: ClassVar = {"G": ("G",), "D": ("D",)}
    reads: ClassVar = ("input", "target")
    aliases: ClassVar = {"output": "perceptual"}
    tiles: ClassVar = "input"

    G: Network = network()
    D: Network = network(optional=True)
    ppon_stages: tuple[int, int] = (50000, 75000)
    p1_losses: tuple[str, ...] = ("pix",)
    p2_losses: tuple[str, ...] = ("pix-multiscale", "ms-ssim")
    p3_losses: tuple[str, ...] = ("contextual",)

    def __post_init__(self) -> None:
        """Check what a single value cannot say."""
        structure, perception = self.ppon_stages
        if not 0 <= structure <= perception:
            raise ValueError(f"ppon_stages: expected two iterations that do not fall, found {list(self.ppon_stages)}")

    @rule
    def content(self, s: Sample) -> Tensor:
        """The image of the first part."""
        return self.G.images(s["input"], 1)[0]

    @rule
    def structure(self, s: Sample) -> Tensor:
        """The image of the first and the second part."""
        return self.G.images(s["input"], 2)[1]

    @rule
    def perceptual(self, s: Sample) -> Tensor:
        """The image of the whole network."""
        return self.G.images(s["input"], 3)[2]

    def phases(self, iterations: int, losses: Mapping[str, bool]) -> Sequence[Phase]:
        """The stages that the run reaches."""
        starts = (0, *self.ppon_stages)
        ends = (*self.ppon_stages, iterations)
        chosen = (self.p1_losses, self.p2_losses, self.p3_losses)
        adversarial = [name for name, has_critic in losses.items() if has_critic]
        phases = []
        for n, ((name, modules), selectors) in enumerate(zip(STAGES.items(), chosen, strict=True)):
            if starts[n] >= min(ends[n], iterations):
                continue
            last = n == len(STAGES) - 1
            names = [*select(f"p{n + 1}_losses", selectors, losses), *(adversarial if last else [])]
            players = ("G", "D") if last and adversarial else ("G",)
            trains = (*modules, *players[1:])
            bind = {"output": name}
            phases.append(
                Phase(
                    name=name,
                    start=starts[n],
                    players=players,
                    trains=trains,
                    losses=tuple(dict.fromkeys(names)),
                    bind=bind,
                )
            )
        return phases

    def infer(self, sample: Sample) -> dict[str, Tensor]:
        """All three images, and as ``output`` that of the stage."""
        images = dict(zip(STAGES, self.G.images(sample["input"]), strict=True))
        return {"output": images[sample.meaning("output")], **images}
