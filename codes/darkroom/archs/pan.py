"""PAN, pixel attention: https://arxiv.org/abs/2010.01073.

As in traiNNer, whose keys it has: optionally a second trunk and self attention (FSA), upsampling by any interpolation,
and as base the image enlarged bilinearly with aligned corners. The files of the paper's authors have other keys and
were trained with another base, hence are not recognised.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.network import Network, State
from . import ARCHS
from .attention import FlexibleSelfAttention
from .blocks import OutMode, cap, upsampling_factors

Interpolation = Literal["nearest", "bilinear", "bicubic"]


class PixelAttention(nn.Module):
    """PA: every pixel of every channel times a sigmoid of all channels at that pixel."""

    def __init__(self, nf: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(nf, nf, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, nf, H, W) to the same shape."""
        return x * torch.sigmoid(self.conv(x))


class PAConv(nn.Module):
    """PA-Conv: the pixel attention of the input gates one 3x3 convolution of it, another one follows."""

    def __init__(self, nf: int) -> None:
        super().__init__()
        self.k2 = nn.Conv2d(nf, nf, 1)
        self.k3 = nn.Conv2d(nf, nf, 3, padding=1, bias=False)
        self.k4 = nn.Conv2d(nf, nf, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, nf, H, W) to the same shape."""
        return self.k4(self.k3(x) * torch.sigmoid(self.k2(x)))


class SCPA(nn.Module):
    """Self-calibrated block with pixel attention: two halves of the channels, one of them attended, and a shortcut."""

    def __init__(self, nf: int) -> None:
        super().__init__()
        self.conv1_a = nn.Conv2d(nf, nf // 2, 1, bias=False)
        self.conv1_b = nn.Conv2d(nf, nf // 2, 1, bias=False)
        self.k1 = nn.Sequential(nn.Conv2d(nf // 2, nf // 2, 3, padding=1, bias=False))
        self.PACnv = PAConv(nf // 2)
        self.conv3 = nn.Conv2d(nf // 2 * 2, nf, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, nf, H, W) to the same shape."""
        a = lrelu(self.k1(lrelu(self.conv1_a(x))))
        b = lrelu(self.PACnv(lrelu(self.conv1_b(x))))
        return x + self.conv3(torch.cat((a, b), 1))


def lrelu(x: Tensor) -> Tensor:
    """Leaky ReLU 0.2 in place."""
    return F.leaky_relu(x, 0.2, inplace=True)


def enlarging(nf: int, unf: int, factor: int, mode: Interpolation) -> list[nn.Module]:
    """U-PA, one stage of the reconstruction: (B, nf, h, w) -> (B, unf, factor*h, factor*w)."""
    return [
        nn.Upsample(scale_factor=factor, mode=mode),
        nn.Conv2d(nf, unf, 3, padding=1),
        PixelAttention(unf),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(unf, unf, 3, padding=1),
    ]


@ARCHS.register("pan_net", "pan")
class PAN(Network):
    """(B, in_nc, H, W) -> (B, out_nc, scale*H, scale*W); images in [0, 1].

    ``unf`` channels are left for the reconstruction (none is left at ``scale`` 1, which has no stages), and
    ``ups_inter_mode`` is the interpolation of its stages. ``self_attention`` attends to all pixels before it,
    ``double_scpa`` doubles the trunk of ``nb`` blocks.
    """

    def __init__(
        self,
        in_nc: int = 3,
        out_nc: int = 3,
        nf: int = 40,
        unf: int = 24,
        nb: int = 16,
        scale: int = 4,
        self_attention: bool = False,
        double_scpa: bool = False,
        ups_inter_mode: Interpolation = "nearest",
        outm: OutMode | None = None,
    ) -> None:
        super().__init__()
        check_channels(in_nc, out_nc)
        if ups_inter_mode not in ("nearest", "bilinear", "bicubic"):
            raise ValueError(f"expected ups_inter_mode to be nearest, bilinear or bicubic, found {ups_inter_mode!r}")
        self.scale, self.outm = scale, outm
        self.conv_first = nn.Conv2d(in_nc, nf, 3, padding=1)
        self.SCPA_trunk, self.trunk_conv = _trunk(nf, nb)
        if double_scpa:
            self.SCPA_trunk2, self.trunk_conv2 = _trunk(nf, nb)
        self.double_scpa = double_scpa
        self.FSA = FlexibleSelfAttention(nf, mode="bicubic") if self_attention else None
        factors = upsampling_factors(scale)
        stages = [enlarging(unf if i else nf, unf, factor, ups_inter_mode) for i, factor in enumerate(factors)]
        # the published code loses the last activation of each stage where there is more than one
        last = [nn.LeakyReLU(0.2, inplace=True)] if len(stages) == 1 else []
        self.upsample = nn.Sequential(*(module for stage in stages for module in stage), *last)
        self.conv_last = nn.Conv2d(unf if stages else nf, out_nc, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_nc, H, W) -> (B, out_nc, scale*H, scale*W)."""
        shallow = self.conv_first(x)
        deep = self.trunk_conv(self.SCPA_trunk(shallow))
        if self.double_scpa:
            deep = self.trunk_conv2(self.SCPA_trunk2(deep))
        features = shallow + deep
        if self.FSA is not None:
            features = self.FSA(features)
        base = x if self.scale == 1 else F.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=True)
        return cap(base + self.conv_last(self.upsample(features)), self.outm)

    @classmethod
    def recognise(cls, state: State) -> dict[str, Any] | None:
        """The options of the network in ``state``; x3 files have the keys and shapes of x2 ones and count as x2.

        The interpolation leaves no trace; nearest neighbour is assumed.
        """
        if "SCPA_trunk.0.conv1_a.weight" not in state or "upconv1.weight" in state:
            return None
        first, last = state["conv_first.weight"], state["conv_last.weight"]
        attentions = [key for key in state if re.fullmatch(r"upsample\.\d+\.conv\.weight", key)]
        return {
            "in_nc": first.shape[1],
            "out_nc": last.shape[0],
            "nf": first.shape[0],
            "unf": last.shape[1],
            "nb": depth(state, "SCPA_trunk"),
            "scale": 2 ** len(attentions),
            "self_attention": "FSA.gamma" in state,
            "double_scpa": "trunk_conv2.weight" in state,
        }


def check_channels(in_nc: int, out_nc: int) -> None:
    """Raise ValueError unless an image of ``in_nc`` channels can be added to one of ``out_nc``."""
    if in_nc not in (1, out_nc):
        raise ValueError(f"expected in_nc to be 1 or out_nc, {out_nc}, for the input is added; found {in_nc}")


def depth(state: State, trunk: str) -> int:
    """The number of blocks in ``trunk``."""
    return 1 + max(int(m[1]) for key in state if (m := re.match(rf"{trunk}\.(\d+)\.", key)))


def _trunk(nf: int, nb: int) -> tuple[nn.Sequential, nn.Conv2d]:
    return nn.Sequential(*(SCPA(nf) for _ in range(nb))), nn.Conv2d(nf, nf, 3, padding=1)
