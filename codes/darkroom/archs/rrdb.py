"""RRDBNet, the generator of ESRGAN, ESRGAN+ and Real-ESRGAN.

ESRGAN: https://arxiv.org/abs/1809.00219; ESRGAN+: https://arxiv.org/abs/2001.08073; Real-ESRGAN:
https://arxiv.org/abs/2107.10833. One class reads and writes the three key layouts in which files are published:
``old`` (``model.1.sub.0...``), ``new`` (``RRDB_trunk.0...``) and ``realesrgan`` (``body.0...``). Against the published
code, the number of growth channels is an option instead of always 32, and a pixel unshuffle in front is part of the
network, so that images of any size go in.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.network import State
from . import ARCHS
from .blocks import (
    Act,
    ConvType,
    GaussianNoise,
    Mode,
    Norm,
    OutMode,
    PublicNetwork,
    Table,
    UpsampleMode,
    cap,
    conv_block,
    init_kaiming,
    make_conv,
    numbered,
    pad_to_multiple,
    preset,
    reconstruction,
)

Layout = Literal["old", "new", "realesrgan"]


class DenseBlock(nn.Module):
    """Residual dense block of five convolutions, each seeing all maps before it; the residual counts 0.2."""

    def __init__(
        self, nf: int, gc: int, norm_type: Norm | None, act_type: Act, convtype: ConvType, gaussian: bool, plus: bool
    ) -> None:
        super().__init__()
        self.conv1x1 = nn.Conv2d(nf, gc, 1, bias=False) if plus else None

        def conv(maps: int, out: int, act: Act | None) -> nn.Sequential:
            into = nf + maps * gc
            return conv_block(make_conv(into, out, convtype=convtype), into, out, norm_type, act)

        self.conv1, self.conv2, self.conv3, self.conv4 = (conv(maps, gc, act_type) for maps in range(4))
        self.conv5 = conv(4, nf, None)
        self.noise = GaussianNoise() if gaussian else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, nf, H, W) to the same shape."""
        x1 = self.conv1(x)
        x2 = self.conv2(torch.cat((x, x1), 1))
        if self.conv1x1 is not None:
            x2 = x2 + self.conv1x1(x)
        x3 = self.conv3(torch.cat((x, x1, x2), 1))
        x4 = self.conv4(torch.cat((x, x1, x2, x3), 1))
        if self.conv1x1 is not None:
            x4 = x4 + x2
        x5 = self.conv5(torch.cat((x, x1, x2, x3, x4), 1))
        out = torch.add(x, x5, alpha=0.2)
        return out if self.noise is None else self.noise(out)


class RRDB(nn.Module):
    """Residual in residual dense block: dense blocks in a row within another residual that counts 0.2."""

    def __init__(self, blocks: list[DenseBlock]) -> None:
        super().__init__()
        self.dense = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        """(B, nf, H, W) to the same shape."""
        return torch.add(x, self.dense(x), alpha=0.2)


@ARCHS.register("rrdb_net", "esrgan")
class RRDBNet(PublicNetwork):
    """(B, in_nc, H, W) -> (B, out_nc, scale*H, scale*W); images in [0, 1].

    ``unshuffle`` u trades resolution for channels in front, as Real-ESRGAN's x2 (u = 2) and x1 (u = 4) models do: the
    network proper then takes u*u*in_nc channels and enlarges scale*u times. ``mode`` is that of the trunk's last
    convolution, ``gaussian`` the noise of ESRGAN+ in training, ``plus`` its 1x1 paths. ``layout`` is the one in which
    weights are saved.
    """

    def __init__(
        self,
        in_nc: int = 3,
        out_nc: int = 3,
        nf: int = 64,
        nb: int = 23,
        nr: int = 3,
        gc: int = 32,
        scale: int = 4,
        norm_type: Norm | None = None,
        act_type: Act = "leakyrelu",
        mode: Mode = "CNA",
        upsample_mode: UpsampleMode = "upconv",
        convtype: ConvType = "Conv2D",
        finalact: Act | None = None,
        gaussian: bool = True,
        plus: bool = False,
        unshuffle: int = 1,
        outm: OutMode | None = None,
        layout: Layout = "old",
    ) -> None:
        super().__init__()
        if unshuffle < 1:
            raise ValueError(f"expected unshuffle to be 1 (none), 2 or 4, found {unshuffle}")
        self.scale, self.unshuffle, self.outm, self.layout = scale, unshuffle, outm, layout
        self.nr = nr

        def block() -> RRDB:
            return RRDB([DenseBlock(nf, gc, norm_type, act_type, convtype, gaussian, plus) for _ in range(nr)])

        self.first = make_conv(in_nc * unshuffle**2, nf, convtype=convtype)
        self.trunk = nn.Sequential(*(block() for _ in range(nb)))
        self.fuse = conv_block(make_conv(nf, nf, convtype=convtype), nf, nf, norm_type, mode=mode)
        self.tail = reconstruction(nf, out_nc, scale * unshuffle, act_type, upsample_mode, convtype, finalact)
        init_kaiming(self, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_nc, H, W) -> (B, out_nc, scale*H, scale*W)."""
        height, width = (side * self.scale for side in x.shape[-2:])
        if self.unshuffle > 1:
            x = F.pixel_unshuffle(pad_to_multiple(x, self.unshuffle), self.unshuffle)
        shallow = self.first(x)
        deep = self.fuse(self.trunk(shallow))
        return cap(self.tail(shallow + deep), self.outm)[..., :height, :width]

    def layouts(self) -> dict[str, Table]:
        """``old``, ``new`` and ``realesrgan``."""
        return {"old": self._old(), "new": self._new(_NEW), "realesrgan": self._new(_REALESRGAN)}

    def _old(self) -> Table:
        table = {"first": "model.0"}
        for path, module in self._convs():
            block, dense, conv = _position(path)
            where = f"model.1.sub.{block}.{self._dense('RDB', dense)}.{conv}"
            table |= numbered({path: module}, where) if isinstance(module, nn.Sequential) else {path: where}
        table |= numbered({"fuse": self.fuse}, "model.1.sub", start=len(self.trunk))
        tail = {f"tail.{name}": stage for name, stage in self.tail.named_children()}
        return table | numbered(tail, "model", start=2)

    def _new(self, names: dict[str, str]) -> Table:
        table = {"first": "conv_first"}
        for path, module in self._convs():
            block, dense, conv = _position(path)
            ours = f"{path}.conv" if isinstance(module, nn.Sequential) else path
            table[ours] = f"{names['trunk']}.{block}.{self._dense(names['dense'], dense)}.{conv}"
        table["fuse.conv"] = names["fuse"]
        for name, _ in self.tail.named_children():
            table[f"tail.{name}.conv"] = names.get(name, f"{names['up']}{name.removeprefix('up')}")
        return table

    def _convs(self) -> list[tuple[str, nn.Module]]:
        """The convolution blocks of the trunk by path, in order."""
        return [(path, m) for path, m in self.named_modules() if re.fullmatch(r"trunk\.\d+\.dense\.\d+\.conv\w+", path)]

    def _dense(self, name: str, index: int) -> str:
        """Three dense blocks are published as RDB1 to RDB3, other numbers of them as a list."""
        return f"{name}{index + 1}" if self.nr == 3 else f"{name}s.{index}"

    @classmethod
    def recognise(cls, state: State) -> dict[str, Any] | None:
        """The options of the network in ``state``; x3 files have the keys and shapes of x2 ones and count as x2."""
        if "model.0.weight" in state and any(_OLD_CONV.match(key) for key in state):
            return _recognise_old(state)
        for layout, names in (("new", _NEW), ("realesrgan", _REALESRGAN)):
            if "conv_first.weight" in state and any(
                key.startswith(f"{names['trunk']}.0.{names['dense']}") for key in state
            ):
                return {**_recognise_new(state, names), "layout": layout}
        return None


_NEW = {
    "trunk": "RRDB_trunk",
    "dense": "RDB",
    "fuse": "trunk_conv",
    "up": "upconv",
    "hr": "HRconv",
    "last": "conv_last",
}
_REALESRGAN = {
    "trunk": "body",
    "dense": "rdb",
    "fuse": "conv_body",
    "up": "conv_up",
    "hr": "conv_hr",
    "last": "conv_last",
}
_OLD_CONV = re.compile(r"model\.1\.sub\.\d+\.(RDB\d+|RDBs\.\d+)\.conv1\.0\.weight$")


def _position(path: str) -> tuple[str, int, str]:
    """``trunk.5.dense.2.conv1`` -> ("5", 2, "conv1")."""
    _, block, _, dense, conv = path.split(".")
    return block, int(dense), conv


def _recognise_old(state: State) -> dict[str, Any]:
    convs = sorted(
        int(m[1]) for key in state if (m := re.fullmatch(r"model\.(\d+)\.weight", key)) and state[key].ndim == 4
    )
    first, tail = state["model.0.weight"], convs[1:]  # of the tail, the last two enlarge nothing
    last, ups = state[f"model.{tail[-1]}.weight"], [state[f"model.{n}.weight"] for n in tail[:-2]]
    blocks = [key for key in state if _OLD_CONV.match(key)]
    nb = 1 + max(int(key.split(".")[3]) for key in blocks)
    gc = state[blocks[0]].shape[0]
    dense = {key.partition(".conv")[0] for key in blocks if key.startswith("model.1.sub.0.")}
    some = next(iter(sorted(dense)))
    return {
        **_sizes(first, last, ups),
        "nb": nb,
        "nr": len(dense),
        "gc": gc,
        "norm_type": "batch" if f"{some}.conv1.1.running_mean" in state else None,
        "act_type": _act(state, some),
        "mode": "NAC" if f"model.1.sub.{nb}.running_mean" in state else "CNA",
        "plus": f"{some}.conv1x1.weight" in state,
        "layout": "old",
    }


def _act(state: State, dense: str) -> str:
    """The activation, as far as it has parameters; a norm without them may stand between."""
    places = [f"{dense}.conv1.{i}" for i in (1, 2)]
    if any(f"{place}.beta" in state for place in places):
        return "swish"
    if any(f"{place}.weight" in state and f"{place}.running_mean" not in state for place in places):
        return "prelu"
    return "leakyrelu"


def _recognise_new(state: State, names: dict[str, str]) -> dict[str, Any]:
    numbers = [int(m[1]) for key in state if (m := re.match(rf"{names['trunk']}\.(\d+)\.", key))]
    start = f"{names['trunk']}.0.{names['dense']}"
    dense = sorted({key.partition(".conv")[0] for key in state if key.startswith(start)})
    ups = [state[key] for i in range(1, 9) if (key := f"{names['up']}{i}.weight") in state]
    return {
        **_sizes(state["conv_first.weight"], state["conv_last.weight"], ups),
        "nb": max(numbers) + 1,
        "nr": len(dense),
        "gc": state[f"{dense[0]}.conv1.weight"].shape[0],
        "plus": f"{dense[0]}.conv1x1.weight" in state,
    }


def _sizes(first: Tensor, last: Tensor, ups: list[Tensor]) -> dict[str, Any]:
    """Channels, scale and kind of upsampling from the weights of the first, last and upsampling convolutions."""
    in_nc, out_nc, nf = first.shape[1], last.shape[0], first.shape[0]
    widest = max((up.shape[0] for up in ups), default=nf)
    inner = 3 if widest == 9 * nf else 2 ** len(ups)  # of the network proper
    unshuffle = next((u for u in (2, 4) if in_nc == out_nc * u**2 and inner % u == 0), 1)
    return {
        "in_nc": in_nc // unshuffle**2,
        "out_nc": out_nc,
        "nf": nf,
        "scale": inner // unshuffle,
        "unshuffle": unshuffle,
        "upsample_mode": "pixelshuffle" if widest > nf else "upconv",
    }


ARCHS.register("esrgan-lite")(preset(RRDBNet, "esrgan-lite", nf=32, nb=12))
ARCHS.register("esrgan-mid", "esrgan-anime-lite")(preset(RRDBNet, "esrgan-mid", nb=6))
ARCHS.register("mrrdb_net", "mesrgan")(preset(RRDBNet, "mrrdb_net", gaussian=False, layout="new"))
