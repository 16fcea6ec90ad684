"""ABPN, attention based back projection network: https://arxiv.org/abs/1910.04476.

Maps are enlarged and reduced ten times, each time corrected by what a back projection shows to be missing; at the end
the reduced result is compared with the input. Reads and writes the keys of the published x4 network, whose last round
has layers that nothing uses. Weights start as torch's layers do: with Kaiming's initialisation, as published, the first
outputs reach 100 and all attention is on single pixels.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.network import State
from . import ARCHS
from .attention import attend
from .blocks import OutMode, PublicNetwork, Table, cap, parameters_to_buffers

_ROUNDS = 10
_SCALE = 4


class ConvAct(nn.Module):
    """Convolution and PReLU."""

    def __init__(self, in_nc: int, out_nc: int, kernel: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_nc, out_nc, kernel, padding=kernel // 2)
        self.act = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_nc, H, W) -> (B, out_nc, H, W)."""
        return self.act(self.conv(x))


class Smaller(nn.Module):
    """Strided convolution and PReLU: a quarter of the side."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, _SCALE + 2, _SCALE, 1)
        self.act = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, 4h, 4w) -> (B, dim, h, w)."""
        return self.act(self.conv(x))


class Larger(nn.Module):
    """Transposed convolution and PReLU: four times the side."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(dim, dim, _SCALE + 2, _SCALE, 1)
        self.act = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, h, w) -> (B, dim, 4h, 4w)."""
        return self.act(self.deconv(x))


class BackProjection(nn.Module):
    """``there`` resizes, ``back`` resizes the result back; what is missing there is resized again and added.

    ``w2(there(x)) + again(w1(x) - back(there(x)))``, the enhanced block of HBPN (https://arxiv.org/abs/1906.06874).
    """

    def __init__(self, there: type[Smaller | Larger], back: type[Smaller | Larger], dim: int) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = there(dim), back(dim), there(dim)
        self.local_weight1, self.local_weight2 = ConvAct(dim, dim), ConvAct(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, H, W) to four times or a quarter of the side."""
        resized = self.conv1(x)
        missing = self.local_weight1(x) - self.conv2(resized)
        return self.local_weight2(resized) + self.conv3(missing)


class SpatialAttention(nn.Module):
    """SAB: ``y + attention(y)`` where ``x`` says which pixels belong together. K is the query, Q the key."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.K, self.Q, self.V = (nn.Conv2d(dim, dim, 1) for _ in range(3))
        self.local_weight = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Twice (B, dim, H, W) to the same shape."""
        mixed = attend(self.K(x).flatten(2), self.Q(x).flatten(2), self.V(y).flatten(2))
        return y + self.local_weight(mixed.reshape(y.shape))


class Round(nn.Module):
    """One enlargement and reduction; from the third round on, with weighted shortcuts from two rounds before.

    The last round does not reduce: what published files hold for it is kept, but not trained.
    """

    def __init__(self, dim: int, shortcut: bool, last: bool) -> None:
        super().__init__()
        self.weight_up = ConvAct(dim, dim) if shortcut else None
        self.up = BackProjection(Larger, Smaller, dim)
        self.weight_down = ConvAct(dim, dim) if shortcut else None
        self.down = BackProjection(Smaller, Larger, dim)
        self.SA = SpatialAttention(dim)
        self.last = last
        if last:
            parameters_to_buffers(self.weight_down, self.down, self.SA)

    def forward(self, low: Tensor, before: Tensor | None, guide: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B, dim, h, w) -> (B, dim, 4h, 4w) and, reduced again, (B, dim, h, w).

        ``before`` is the enlarged of two rounds before, ``guide`` the reduced that guides the attention.
        """
        high = self.up(low)
        if self.weight_up is not None:
            high = high + self.weight_up(before)
        if self.last:
            return high, None
        if self.weight_down is not None:
            guide = self.weight_down(guide)
        return high, self.SA(guide, self.down(high))


@ARCHS.register("abpn_net", "abpn")
class ABPN(PublicNetwork):
    """(B, in_nc, H, W) -> (B, in_nc, 4*H, 4*W); images in [0, 1]."""

    def __init__(self, in_nc: int = 3, dim: int = 32, scale: int = _SCALE, outm: OutMode | None = None) -> None:
        super().__init__()
        if scale != _SCALE:
            raise ValueError(f"ABPN enlarges {_SCALE} times only; found scale {scale}")
        self.scale, self.outm, self.layout = scale, outm, "trainner"
        self.feat1 = ConvAct(in_nc, 2 * dim, 3)
        self.SA0 = SpatialAttention(2 * dim)
        self.feat2 = ConvAct(2 * dim, dim, 3)
        self.rounds = nn.ModuleList(Round(dim, shortcut=i >= 2, last=i == _ROUNDS - 1) for i in range(_ROUNDS))
        self.SR_conv1 = ConvAct(_ROUNDS * dim, dim)
        self.SR_conv2 = ConvAct(dim, dim, 3)
        self.LR_conv1 = ConvAct((_ROUNDS - 1) * dim, dim)
        self.LR_conv2 = BackProjection(Larger, Smaller, dim)
        self.SR_conv3 = nn.Conv2d(dim, in_nc, 3, padding=1)
        self.final_feat1 = ConvAct(in_nc, 2 * dim, 3)
        self.final_SA0 = SpatialAttention(2 * dim)
        self.final_feat2 = nn.Conv2d(2 * dim, in_nc, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_nc, H, W) -> (B, in_nc, 4*H, 4*W)."""
        shallow = self.feat1(x)
        highs, lows = self._rounds(self.feat2(self.SA0(shallow, shallow)))
        high = self.SR_conv2(self.SR_conv1(torch.cat(highs, 1)))
        low = self.LR_conv2(self.LR_conv1(torch.cat(lows, 1)))
        enlarged = _bicubic(x, _SCALE) + self.SR_conv3(high + low)
        missing = self.final_feat1(x - _bicubic(enlarged, 1 / _SCALE))
        correction = self.final_feat2(self.final_SA0(missing, missing))
        return cap(enlarged + _bicubic(correction, _SCALE), self.outm)

    def _rounds(self, features: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """All enlarged maps, and all that were reduced again: those of the last round are not."""
        highs, lows = list[Tensor](), [features]
        for i, step in enumerate(self.rounds):
            before, guide = (highs[i - 2], lows[i - 1]) if i >= 2 else (None, lows[i])
            high, low = step(lows[-1], before, guide)
            highs.append(high)
            if low is not None:
                lows.append(low)
        return highs, lows[1:]

    def layouts(self) -> dict[str, Table]:
        """``trainner`` only."""
        return {"trainner": {path: _public(path) for path in (key.rpartition(".")[0] for key in self.state_dict())}}

    @classmethod
    def recognise(cls, state: State) -> dict[str, Any] | None:
        """The options of the network in ``state``."""
        if not {f"up{_ROUNDS}.conv1.deconv.weight", "final_SA0.K.weight"} <= set(state):
            return None
        dim, in_nc = state["feat2.conv.weight"].shape[0], state["feat1.conv.weight"].shape[1]
        return {"in_nc": in_nc, "dim": dim}


def _public(path: str) -> str:
    """Parts of a round are numbered from 1, its shortcuts from 1 in the third round."""
    found = re.fullmatch(r"rounds\.(\d+)\.(\w+?)(\..+)?", path)
    if found is None:
        return path
    number = int(found[1]) - 1 if found[2].startswith("weight") else int(found[1]) + 1
    return f"{found[2]}{number}{found[3]}"


def _bicubic(x: Tensor, factor: float) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bicubic", align_corners=False)
