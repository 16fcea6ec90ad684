"""ESPCN, the network that introduced the pixel shuffle: https://arxiv.org/abs/1609.05158.

Leaky ReLU 0.1 instead of tanh, as in the network of the public file whose keys it has.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from ..core.network import Network, State
from . import ARCHS


@ARCHS.register("espcn")
class ESPCN(Network):
    """(B, in_nc, H, W) -> (B, out_nc, scale*H, scale*W); images in [0, 1]."""

    def __init__(self, in_nc: int = 3, out_nc: int = 3, nf: int = 128, scale: int = 4) -> None:
        super().__init__()
        self.scale = scale
        self.layers = nn.Sequential(
            nn.Conv2d(in_nc, nf, 5, padding=2),
            nn.LeakyReLU(0.1, inplace=True),
            nn.Conv2d(nf, nf, 3, padding=1),
            nn.LeakyReLU(0.1, inplace=True),
        )
        self.pixel_shuffle = nn.Sequential(nn.Conv2d(nf, out_nc * scale**2, 3, padding=1), nn.PixelShuffle(scale))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_nc, H, W) -> (B, out_nc, scale*H, scale*W)."""
        return self.pixel_shuffle(self.layers(x))

    @classmethod
    def recognise(cls, state: State) -> dict[str, Any] | None:
        """The options of the network in ``state``; as many channels are taken to go out as come in."""
        first, last = state.get("layers.0.weight"), state.get("pixel_shuffle.0.weight")
        if first is None or last is None or first.shape[2:] != (5, 5) or last.shape[0] < first.shape[1]:
            return None
        nf, in_nc = first.shape[:2]
        scale = math.isqrt(last.shape[0] // in_nc)
        return {"in_nc": in_nc, "out_nc": last.shape[0] // scale**2, "nf": nf, "scale": scale}
