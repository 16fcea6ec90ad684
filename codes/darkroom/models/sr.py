"""Super-resolution and restoration from pairs, with or without a discriminator.

Beside the generator's image it knows its coarse and fine part (frequency separation), can make it consistent with the
input (CEM, https://arxiv.org/abs/1911.10923), and can overlook that it is a little shifted (AdaTarget, Jo et al. 2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..core.model import MODELS, Model, network, rule
from ..core.network import Network
from ..core.sample import Sample
from ..filters.consistency import Kernel, enforce
from ..filters.frequency import Lowpass, highpass, lowpass


@MODELS.register("sr")
@dataclass(eq=False, kw_only=True)
class SR(Model):
    """Batch: ``input`` (B, C, h, w), ``target`` (B, C, s*h, s*w). Gives ``output`` like ``target``.

    ``output_low``, ``output_high`` and ``target_low``, ``target_high`` are their coarse and fine parts.
    ``fitted_output`` is the output as ``Loc`` moves its pieces to meet the target; losses that are to judge it from
    some iteration on judge ``fitted``, which is the output until a phase binds it anew. ``signed``: networks and losses
    see images in [-1, 1].
    """

    players: ClassVar = {"G": ("G", "Loc"), "D": ("D",)}
    reads: ClassVar = ("input", "target")
    aliases: ClassVar = {"fitted": "output"}
    tiles: ClassVar = "input"

    G: Network = network()
    D: Network = network(optional=True)
    Loc: Network = network(optional=True)
    scale: int = 1
    consistency: Kernel | None = None
    lowpass: Lowpass = "average"
    highpass: Lowpass = "average"
    signed: bool = False

    @property
    def is_signed(self) -> bool:
        """See ``Model``."""
        return self.signed

    @rule
    def output(self, s: Sample) -> Tensor:
        """The image that the generator makes of the input, where the losses count."""
        image: Tensor = self.G(s["input"])
        if self.consistency is not None:
            image = enforce(image, s["input"], self.scale, self.consistency)
        return image * s["keep"] if "keep" in s else image

    @rule
    def fitted_output(self, s: Sample) -> Tensor:
        """The output with every piece moved to where the target has it."""
        image: Tensor = self.Loc(s["output"], s["target"])
        return image

    @rule
    def output_low(self, s: Sample) -> Tensor:
        """The coarse part of the output."""
        return lowpass(s["fitted"], self.lowpass)

    @rule
    def target_low(self, s: Sample) -> Tensor:
        """The coarse part of the target."""
        return lowpass(s["target"], self.lowpass)

    @rule
    def output_high(self, s: Sample) -> Tensor:
        """The fine part of the output, around 0.5."""
        return highpass(s["output"], self.highpass)

    @rule
    def target_high(self, s: Sample) -> Tensor:
        """The fine part of the target, around 0.5."""
        return highpass(s["target"], self.highpass)
