"""A2N, attention in attention: https://arxiv.org/abs/2104.09497.

A branch with pixel attention and one without, mixed by weights that the image decides. The keys are those of the public
files. Against the published code, scales 1 and 8 work.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.network import Network, State
from . import ARCHS
from .blocks import OutMode, Table, cap, rename, upsampling_factors
from .pan import check_channels, depth, enlarging, lrelu


class AttentionBranch(nn.Module):
    """Two convolutions, between them the gate ``sigmoid(k2(lrelu(k1(x))))``."""

    def __init__(self, nf: int) -> None:
        super().__init__()
        self.k1 = nn.Conv2d(nf, nf, 3, padding=1, bias=False)
        self.k2 = nn.Conv2d(nf, nf, 1)
        self.k3 = nn.Conv2d(nf, nf, 3, padding=1, bias=False)
        self.k4 = nn.Conv2d(nf, nf, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, nf, H, W) to the same shape."""
        return self.k4(self.k3(x) * torch.sigmoid(self.k2(lrelu(self.k1(x)))))


class AttentionInAttention(nn.Module):
    """A2B: ``x + conv_last(pi_1 attention(x') + pi_2 non_attention(x'))`` but for activations.

    The attention dropout module ADM makes the two weights pi from the means of the channels, by a softmax at
    temperature 30.
    """

    def __init__(self, nf: int, kernel: int) -> None:
        super().__init__()
        self.conv_first = nn.Conv2d(nf, nf, 1, bias=False)
        self.conv_last = nn.Conv2d(nf, nf, 1, bias=False)
        inner = max(nf // 4, 1)
        self.ADM = nn.Sequential(nn.Linear(nf, inner, bias=False), nn.ReLU(), nn.Linear(inner, 2, bias=False))
        self.attention = AttentionBranch(nf)
        self.non_attention = nn.Conv2d(nf, nf, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, nf, H, W) to the same shape."""
        inner = lrelu(self.conv_first(x))
        weights = torch.softmax(self.ADM(inner.mean((2, 3))) / 30, dim=1)
        attended, plain = weights.to(inner.dtype)[:, :, None, None, None].unbind(1)
        mixed = attended * self.attention(inner) + plain * self.non_attention(inner)
        return x + self.conv_last(lrelu(mixed))


@ARCHS.register("a2n_net", "a2n", "aan")
class A2N(Network):
    """(B, in_nc, H, W) -> (B, out_nc, scale*H, scale*W); images in [0, 1].

    ``unf`` channels are left for the reconstruction (none at ``scale`` 1). ``mode`` n is A2N, m is A2N-M, whose branch
    without attention is a 1x1 instead of a 3x3 convolution.
    """

    def __init__(
        self,
        in_nc: int = 3,
        out_nc: int = 3,
        nf: int = 40,
        unf: int = 24,
        nb: int = 16,
        scale: int = 4,
        mode: Literal["n", "m"] = "n",
        outm: OutMode | None = None,
    ) -> None:
        super().__init__()
        check_channels(in_nc, out_nc)
        if mode not in _KERNELS:
            raise ValueError(f"expected mode to be n or m, found {mode!r}")
        self.scale, self.outm = scale, outm
        self.conv_first = nn.Conv2d(in_nc, nf, 3, padding=1)
        self.AAB_trunk = nn.Sequential(*(AttentionInAttention(nf, _KERNELS[mode]) for _ in range(nb)))
        self.trunk_conv = nn.Conv2d(nf, nf, 3, padding=1)
        self.up = nn.Sequential()
        for i, factor in enumerate(upsampling_factors(scale)):
            stage = enlarging(unf if i else nf, unf, factor, "nearest")
            self.up.append(nn.Sequential(*stage, nn.LeakyReLU(0.2, inplace=True)))
        self.conv_last = nn.Conv2d(unf if len(self.up) else nf, out_nc, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_nc, H, W) -> (B, out_nc, scale*H, scale*W)."""
        shallow = self.conv_first(x)
        detail = self.conv_last(self.up(shallow + self.trunk_conv(self.AAB_trunk(shallow))))
        base = F.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=False)
        return cap(base + detail, self.outm)

    def _renamed(self) -> Table:
        """The modules whose public names are others."""
        table: Table = {}
        for i in range(len(self.up)):
            names = {"1": f"upconv{i + 1}", "2.conv": f"att{i + 1}.conv", "4": f"HRconv{i + 1}"}
            table |= {f"up.{i}.{ours}": theirs for ours, theirs in names.items()}
        return table

    def from_public(self, state: State) -> dict[str, Tensor]:
        """``state`` under our keys."""
        return rename(state, {theirs: ours for ours, theirs in self._renamed().items()})

    def to_public(self, state: State, layout: str | None = None) -> dict[str, Tensor]:
        """``state`` under the public keys."""
        return rename(super().to_public(state, layout), self._renamed())

    @classmethod
    def recognise(cls, state: State) -> dict[str, Any] | None:
        """The options of the network in ``state``; x3 files have the keys and shapes of x2 ones and count as x2."""
        if "AAB_trunk.0.ADM.0.weight" not in state:
            return None
        first, last = state["conv_first.weight"], state["conv_last.weight"]
        kernel = state["AAB_trunk.0.non_attention.weight"].shape[-1]
        return {
            "in_nc": first.shape[1],
            "out_nc": last.shape[0],
            "nf": first.shape[0],
            "unf": last.shape[1],
            "nb": depth(state, "AAB_trunk"),
            "scale": 2 ** sum(key.startswith("HRconv") and key.endswith(".weight") for key in state),
            "mode": next(mode for mode, size in _KERNELS.items() if size == kernel),
        }


_KERNELS = {"n": 3, "m": 1}
