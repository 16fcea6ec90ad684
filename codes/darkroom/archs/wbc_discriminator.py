"""The discriminator of white-box cartoonization, as its authors train it, for textures and for surfaces.

Wang and Yu, CVPR 2020, https://systemerrorwang.github.io/White-box-Cartoonization/. Every convolution is under spectral
norm, https://arxiv.org/abs/1802.05957, so only the direction of a weight counts: it starts uniform. What differs from
the authors' code: the norm's estimates stay as they are when the network does not train.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from ..core.network import Network
from . import ARCHS
from .blocks import SpectralConv2d
from .wbc import pad_same


@ARCHS.register("wbc_discriminator")
class WBCDiscriminator(Network):
    """(B, in_nc, H, W) -> (B, 1, H/8, W/8), sides rounded up, a logit for every patch. Textures have ``in_nc`` 1."""

    def __init__(self, in_nc: int = 3, nf: int = 32) -> None:
        super().__init__()
        widths = [in_nc, nf, 2 * nf, 4 * nf]
        pairs = list(pairwise(widths))
        self.smaller = nn.ModuleList(SpectralConv2d(into, out, 3, stride=2, padding=0) for into, out in pairs)
        self.same = nn.ModuleList(SpectralConv2d(out, out, 3) for _, out in pairs)
        self.last = SpectralConv2d(widths[-1], 1, 1, padding=0)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_nc, H, W) -> (B, 1, ceil(H/8), ceil(W/8))."""
        for smaller, same in zip(self.smaller, self.same, strict=True):
            x = F.leaky_relu(smaller(pad_same(x)), 0.2, inplace=True)
            x = F.leaky_relu(same(x), 0.2, inplace=True)
        return self.last(x)

    def stages(self) -> Sequence[Sequence[str]]:
        """Its convolutions."""
        return [[f"{name}.{i}"] for i in range(len(self.same)) for name in ("smaller", "same")] + [["last"]]
