"""A-SRResNet, attentive and spectrally normalised: https://arxiv.org/abs/1812.04821.

SRResNet with five blocks, spectral norm, flexible self attention, and enlarging by nearest neighbour and convolution,
as in traiNNer, whose keys it reads and writes. Against that, images of any size go in.
"""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor, nn

from ..core.network import State
from . import ARCHS
from .attention import FlexibleSelfAttention
from .blocks import OutMode, PublicNetwork, SpectralConv2d, Table, cap, conv_block, make_conv, upsampling_factors

_BLOCKS = 5


class AttentiveResidualBlock(nn.Module):
    """``x + act2(bn2(conv2(act1(bn1(conv1(x))))))``."""

    def __init__(self, nf: int, spectral_norm: bool) -> None:
        super().__init__()
        self.conv1 = _conv(nf, nf, 3, spectral_norm)
        self.bn1 = nn.BatchNorm2d(nf)
        self.act1 = nn.PReLU()
        self.conv2 = _conv(nf, nf, 3, spectral_norm)
        self.bn2 = nn.BatchNorm2d(nf)
        self.act2 = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, nf, H, W) to the same shape."""
        inner = self.act1(self.bn1(self.conv1(x)))
        return x + self.act2(self.bn2(self.conv2(inner)))


def _conv(in_nc: int, out_nc: int, kernel: int, spectral_norm: bool) -> nn.Module:
    if spectral_norm:
        return SpectralConv2d(in_nc, out_nc, kernel, padding=kernel // 2)
    return nn.Conv2d(in_nc, out_nc, kernel, padding=kernel // 2)


@ARCHS.register("asr_resnet")
class ASRResNet(PublicNetwork):
    """(B, in_nc, H, W) -> (B, out_nc, scale*H, scale*W); images in [0, 1].

    ``max_pool`` pools the maps ``poolsize`` times before the ``self_attention``, whose memory may grow with the fourth
    power of the image's side.
    """

    def __init__(
        self,
        in_nc: int = 3,
        out_nc: int = 3,
        nf: int = 64,
        scale: int = 4,
        spectral_norm: bool = True,
        self_attention: bool = True,
        max_pool: bool = True,
        poolsize: int = 4,
        outm: OutMode | None = None,
    ) -> None:
        super().__init__()
        self.scale, self.outm, self.layout = scale, outm, "trainner"
        self.first = nn.Sequential(_conv(in_nc, nf, 9, spectral_norm), nn.PReLU())
        self.trunk = nn.Sequential(*(AttentiveResidualBlock(nf, spectral_norm) for _ in range(_BLOCKS)))
        self.fuse = nn.Sequential(_conv(nf, nf, 3, spectral_norm), nn.BatchNorm2d(nf))
        pool = poolsize if max_pool else 1
        self.attention = FlexibleSelfAttention(nf, pool, "bilinear", spectral_norm) if self_attention else None
        self.up = nn.Sequential()
        for factor in upsampling_factors(scale):
            conv = conv_block(make_conv(nf, nf), nf, nf, act="leakyrelu")
            self.up.append(nn.Sequential(nn.Upsample(scale_factor=factor), conv))
        self.last = nn.Conv2d(nf, out_nc, 9, padding=4)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_nc, H, W) -> (B, out_nc, scale*H, scale*W)."""
        shallow = self.first(x)
        features = shallow + self.fuse(self.trunk(shallow))
        if self.attention is not None:
            features = self.attention(features)
        return cap(self.last(self.up(features)), self.outm)

    def layouts(self) -> dict[str, Table]:
        """``trainner`` only."""
        prefixes = {"first": "block1", "fuse": f"block{_BLOCKS + 2}", "attention": "FSA"}
        prefixes |= {f"trunk.{i}": f"block{i + 2}" for i in range(_BLOCKS)}
        table = {
            path: public + path.removeprefix(ours)
            for ours, public in prefixes.items()
            for path, _ in self.named_modules()
            if path == ours or path.startswith(f"{ours}.")
        }
        tail = f"block{_BLOCKS + 3}"
        table |= {f"up.{i}.1.conv": f"{tail}.{i}.conv.0" for i in range(len(self.up))}
        return {"trainner": {**table, "last": f"{tail}.{len(self.up)}"}}

    @classmethod
    def recognise(cls, state: State) -> dict[str, Any] | None:
        """The options of the network in ``state``; x3 files have the keys and shapes of x2 ones and count as x2.

        Pooling leaves no trace; the default is assumed.
        """
        spectral = "block1.0.weight_orig" in state
        first = state.get("block1.0.weight_orig" if spectral else "block1.0.weight")
        if first is None or "block2.act2.weight" not in state:
            return None
        ups = sum(re.fullmatch(r"block8\.\d+\.conv\.0\.weight", key) is not None for key in state)
        return {
            "in_nc": first.shape[1],
            "out_nc": state[f"block8.{ups}.weight"].shape[0],
            "nf": first.shape[0],
            "scale": 2**ups,
            "spectral_norm": spectral,
            "self_attention": "FSA.gamma" in state,
        }
