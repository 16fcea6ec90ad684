"""PPON, progressive perception-oriented network: https://arxiv.org/abs/1907.10399.

Three networks on top of each other, trained one after the other, each adding to the image of the one before: content
(CFEM, CRM), structure (SFEM, SRM), perception (PFEM, PRM). The modules have the paper's names, as in the public files.
Against the published code, ``nf`` may be another than 64.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..core.network import Network, State
from . import ARCHS
from .blocks import Act, OutMode, cap, init_kaiming, make_act, make_conv, upsampling_factors
from .pan import depth, lrelu


class MultiScaleBlock(nn.Module):
    """RFB: eight 3x3 convolutions of dilation 1 to 8, whose running sums are fused; the residual counts 0.2."""

    def __init__(self, nf: int) -> None:
        super().__init__()
        self.c1 = make_conv(nf, nf)
        self.d1, self.d2, self.d3, self.d4, self.d5, self.d6, self.d7, self.d8 = (
            nn.Conv2d(nf, nf // 2, 3, padding=rate, dilation=rate) for rate in range(1, 9)
        )
        self.c2 = nn.Conv2d(nf // 2 * 8, nf, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, nf, H, W) to the same shape."""
        inner = lrelu(self.c1(x))
        dilated = (self.d1, self.d2, self.d3, self.d4, self.d5, self.d6, self.d7, self.d8)
        sums = accumulate(conv(inner) for conv in dilated)
        return torch.add(x, self.c2(lrelu(torch.cat(tuple(sums), 1))), alpha=0.2)


class ResidualBlocks(nn.Module):
    """RRFB: three blocks in a row within another residual that counts 0.2."""

    def __init__(self, nf: int) -> None:
        super().__init__()
        self.RB1, self.RB2, self.RB3 = (MultiScaleBlock(nf) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """(B, nf, H, W) to the same shape."""
        return torch.add(x, self.RB3(self.RB2(self.RB1(x))), alpha=0.2)


class Shortcut(nn.Module):
    """``x + sub(x)``."""

    def __init__(self, sub: nn.Module) -> None:
        super().__init__()
        self.sub = sub

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        return x + self.sub(x)


@ARCHS.register("ppon")
class PPON(Network):
    """(B, in_nc, H, W) -> (B, out_nc, scale*H, scale*W); images in [0, 1].

    ``act_type`` is the activation of the three reconstructions, ``alpha`` how much perception adds to the structure.
    """

    image_names: ClassVar = ("content", "structure", "perceptual")

    def __init__(
        self,
        in_nc: int = 3,
        out_nc: int = 3,
        nf: int = 64,
        nb: int = 24,
        scale: int = 4,
        act_type: Act = "leakyrelu",
        alpha: float = 1.0,
        outm: OutMode | None = None,
    ) -> None:
        super().__init__()
        self.scale, self.alpha, self.outm = scale, alpha, outm
        trunk = nn.Sequential(*(ResidualBlocks(nf) for _ in range(nb)), make_conv(nf, nf))
        self.CFEM = nn.Sequential(make_conv(in_nc, nf), Shortcut(trunk))
        self.SFEM, self.PFEM = (nn.Sequential(ResidualBlocks(nf), ResidualBlocks(nf)) for _ in range(2))
        self.CRM, self.SRM, self.PRM = (_reconstruction(nf, out_nc, scale, act_type) for _ in range(3))
        init_kaiming(self, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_nc, H, W) -> (B, out_nc, scale*H, scale*W), the perceptual image."""
        return self.images(x)[-1]

    def images(self, x: Tensor, count: int | None = None) -> tuple[Tensor, ...]:
        """The first ``count`` of the images content, structure, perceptual; what later ones need is not computed."""
        branches = ((self.CFEM, self.CRM, 1.0), (self.SFEM, self.SRM, 1.0), (self.PFEM, self.PRM, self.alpha))
        features, images = x, list[Tensor]()
        for extract, reconstruct, weight in branches[:count]:
            features = extract(features)
            image = reconstruct(features)
            images.append(torch.add(images[-1], image, alpha=weight) if images else image)
        return tuple(cap(image, self.outm) for image in images)

    @classmethod
    def recognise(cls, state: State) -> dict[str, Any] | None:
        """The options of the network in ``state``; x3 files have the keys and shapes of x2 ones and count as x2.

        The leaky ReLU is assumed where the activation has no parameters, and 1 for alpha, which leaves no trace.
        """
        first = state.get("CFEM.0.weight")
        if first is None or not {"CRM", "SRM", "PRM"} <= {key.partition(".")[0] for key in state}:
            return None
        indices = sorted(int(key.split(".")[1]) for key in state if key.startswith("CRM.") and key.endswith(".bias"))
        acts = {key.split(".")[2] for key in state if key.startswith("CRM.") and state[key].ndim < 2} - {"bias"}
        return {
            "in_nc": first.shape[1],
            "out_nc": state[f"CRM.{indices[-1]}.weight"].shape[0],
            "nf": first.shape[0],
            "nb": depth(state, "CFEM.1.sub") - 1,
            "scale": 2 ** (len(indices) - 2),
            "act_type": "swish" if "beta" in acts else "prelu" if "weight" in acts else "leakyrelu",
        }


def _reconstruction(nf: int, out_nc: int, scale: int, act_type: Act) -> nn.Sequential:
    """Features (B, nf, h, w) -> image (B, out_nc, scale*h, scale*w), its modules numbered through."""
    stages: list[nn.Module] = []
    for factor in upsampling_factors(scale):
        stages += [nn.Upsample(scale_factor=factor), make_conv(nf, nf), make_act(act_type)]
    return nn.Sequential(*stages, make_conv(nf, nf), make_act(act_type), make_conv(nf, out_nc))
