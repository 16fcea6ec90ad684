"""The discriminator of EdgeConnect, Nazeri et al. 2019, https://arxiv.org/abs/1901.00212: a PatchGAN of 70x70 pixels.

PatchGAN: https://arxiv.org/abs/1611.07004; spectral norm, https://arxiv.org/abs/1802.05957, replaces its norms. The
modules have the names of the published files, which hold the first convolution twice. Initialised with N(0, 0.02).
What differs: it gives logits; that they are to pass a sigmoid is the business of a loss. The width is an option.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from ..core.network import Network, State
from . import ARCHS
from .blocks import SpectralConv2d, init_normal
from .edgeconnect import with_estimates

FIRST, TWIN = "conv1.", "features."
"""What the keys of the first convolution begin with, and those of its copies."""


@ARCHS.register("edgeconnect_discriminator")
class EdgeConnectDiscriminator(Network):
    """(B, in_nc, H, W) -> ``[[map, map, map, map, logits]]``; the logits are (B, 1, H/8 - 2, W/8 - 2).

    ``in_nc`` is 3 for images, and 2 for edges, which are judged beside the gray image. Without ``spectral_norm`` the
    convolutions have a bias.
    """

    container: ClassVar[str | None] = "discriminator"

    get_feats: bool = True

    def __init__(self, in_nc: int = 3, nf: int = 64, spectral_norm: bool = True) -> None:
        super().__init__()

        def conv(into: int, out: int, stride: int) -> nn.Module:
            return (SpectralConv2d if spectral_norm else nn.Conv2d)(into, out, 4, stride, 1, bias=not spectral_norm)

        def leaky() -> nn.Module:
            return nn.LeakyReLU(0.2, inplace=True)

        self.conv1 = nn.Sequential(conv(in_nc, nf, 2), leaky())
        self.conv2 = nn.Sequential(conv(nf, 2 * nf, 2), leaky())
        self.conv3 = nn.Sequential(conv(2 * nf, 4 * nf, 2), leaky())
        self.conv4 = nn.Sequential(conv(4 * nf, 8 * nf, 1), leaky())
        self.conv5 = nn.Sequential(conv(8 * nf, 1, 1))
        init_normal(self)

    def forward(self, x: Tensor) -> list[list[Tensor]]:
        """What each convolution gives, after its activation; the last gives the logits."""
        maps = []
        for block in self.children():
            x = block(x)
            maps.append(x)
        return [maps]

    def stages(self) -> Sequence[Sequence[str]]:
        """Its convolutions."""
        return [[name] for name, _ in self.named_children()]

    def from_public(self, state: State) -> dict[str, Tensor]:
        """``state`` without the copies of the first convolution; torch 0.4 may have written it."""
        return with_estimates(self, {key: tensor for key, tensor in state.items() if not key.startswith(TWIN)})

    def to_public(self, state: State, layout: str | None = None) -> dict[str, Tensor]:
        """``state`` with the first convolution twice."""
        state = super().to_public(state, layout)
        first = {key: tensor for key, tensor in state.items() if key.startswith(FIRST)}
        copies = {TWIN + key.removeprefix(FIRST): tensor for key, tensor in first.items()}
        return {**first, **copies, **state}
