"""SRResNet, the generator of SRGAN, and MSRResNet, its descendant without norms.

SRGAN: https://arxiv.org/abs/1609.04802; residual scaling: EDSR, https://arxiv.org/abs/1707.02921. Key layouts: SRResNet
``old`` (``model.1.sub.0.res...``); MSRResNet ``new`` (``recon_trunk.0...``, the older public files) and ``basicsr``
(``body.0...``).
"""

from __future__ import annotations

import math
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
    reconstruction,
    upsampling_factors,
)


class ResidualBlock(nn.Module):
    """``x + res_scale * conv2(conv1(x))``, the second without the norm and activation that would follow the sum."""

    def __init__(
        self, nf: int, norm_type: Norm | None, act_type: Act, mode: Mode, convtype: ConvType, res_scale: float
    ) -> None:
        super().__init__()
        act2 = act_type if mode == "NAC" else None
        norm2 = None if mode == "CNAC" else norm_type
        self.conv1 = conv_block(make_conv(nf, nf, convtype=convtype), nf, nf, norm_type, act_type, mode)
        self.conv2 = conv_block(make_conv(nf, nf, convtype=convtype), nf, nf, norm2, act2, mode)
        self.res_scale = res_scale

    def forward(self, x: Tensor) -> Tensor:
        """(B, nf, H, W) to the same shape."""
        return torch.add(x, self.conv2(self.conv1(x)), alpha=self.res_scale)


@ARCHS.register("sr_resnet", "srresnet", "srgan")
class SRResNet(PublicNetwork):
    """(B, in_nc, H, W) -> (B, out_nc, scale*H, scale*W); images in [0, 1].

    ``mode`` is the order of convolution, norm and activation in the residual blocks.
    """

    def __init__(
        self,
        in_nc: int = 3,
        out_nc: int = 3,
        nf: int = 64,
        nb: int = 16,
        scale: int = 4,
        norm_type: Norm | None = None,
        act_type: Act = "relu",
        mode: Mode = "CNA",
        upsample_mode: UpsampleMode = "pixelshuffle",
        convtype: ConvType = "Conv2D",
        finalact: Act | None = None,
        res_scale: float = 1.0,
        outm: OutMode | None = None,
    ) -> None:
        super().__init__()
        self.scale, self.outm, self.layout = scale, outm, "old"
        blocks = (ResidualBlock(nf, norm_type, act_type, mode, convtype, res_scale) for _ in range(nb))
        self.first = make_conv(in_nc, nf, convtype=convtype)
        self.trunk = nn.Sequential(*blocks)
        self.fuse = conv_block(make_conv(nf, nf, convtype=convtype), nf, nf, norm_type, mode=mode)
        self.tail = reconstruction(nf, out_nc, scale, act_type, upsample_mode, convtype, finalact)
        init_kaiming(self, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_nc, H, W) -> (B, out_nc, scale*H, scale*W)."""
        shallow = self.first(x)
        return cap(self.tail(shallow + self.fuse(self.trunk(shallow))), self.outm)

    def layouts(self) -> dict[str, Table]:
        """``old`` only."""
        table = {"first": "model.0"}
        for name, block in self.trunk.named_children():
            inner = {f"trunk.{name}.{child}": conv for child, conv in block.named_children()}
            table |= numbered(inner, f"model.1.sub.{name}.res")
        table |= numbered({"fuse": self.fuse}, "model.1.sub", start=len(self.trunk))
        tail = {f"tail.{name}": stage for name, stage in self.tail.named_children()}
        return {"old": table | numbered(tail, "model", start=2)}

    @classmethod
    def recognise(cls, state: State) -> dict[str, Any] | None:
        """The options of the network in ``state``; ReLU is assumed where the activation has no parameters."""
        inner = [key for key in state if key.startswith("model.1.sub.0.res.")]
        if "model.0.weight" not in state or not inner:
            return None
        numbers = [m[1] for key in state if (m := re.fullmatch(r"model\.(\d+)\.weight", key))]
        tail = sorted(int(n) for n in numbers if state[f"model.{n}.weight"].ndim == 4)[1:]
        up, last = state[f"model.{tail[0]}.weight"], state[f"model.{tail[-1]}.weight"]
        shuffles = len(tail) > 2 and up.shape[0] != up.shape[1]
        first = state["model.0.weight"]
        return {
            "in_nc": first.shape[1],
            "out_nc": last.shape[0],
            "nf": first.shape[0],
            "nb": 1 + max(int(key.split(".")[3]) for key in state if ".res." in key),
            "scale": 3 if shuffles and up.shape[0] == 9 * up.shape[1] else 2 ** (len(tail) - 2),
            "upsample_mode": "pixelshuffle" if shuffles or len(tail) == 2 else "upconv",
            **_recognise_block({key.removeprefix("model.1.sub.0.res."): state[key] for key in inner}),
        }


def _recognise_block(block: State) -> dict[str, Any]:
    """Norm, mode and activation from the indices and parameters of one residual block's modules."""
    at = sorted(int(key.split(".")[0]) for key, tensor in block.items() if key.endswith(".weight") and tensor.ndim == 4)
    statistics = sorted(int(key.split(".")[0]) for key in block if key.endswith("running_mean"))
    normed = at[1] - at[0] == 3  # convolution, norm, activation; without a norm two
    norm = "batch" if statistics else "instance" if normed else None
    before = at[0] > 0
    after = "CNAC" if norm == "batch" and len(statistics) == 1 else "CNA"
    swish = any(key.endswith(".beta") for key in block)
    slopes = {int(key.split(".")[0]) for key, t in block.items() if key.endswith(".weight") and t.shape == (1,)}
    prelu = slopes - set(statistics)
    return {
        "norm_type": norm,
        "mode": "NAC" if before else after,
        "act_type": "swish" if swish else "prelu" if prelu else "relu",
    }


@ARCHS.register("msrresnet")
class MSRResNet(PublicNetwork):
    """SRResNet without norms that adds to the bilinearly enlarged input; ReLU in the blocks, leaky ReLU 0.1 outside.

    (B, in_nc, H, W) -> (B, out_nc, scale*H, scale*W), images in [0, 1]; ``in_nc`` and ``out_nc`` must be equal.
    """

    def __init__(
        self,
        in_nc: int = 3,
        out_nc: int = 3,
        nf: int = 64,
        nb: int = 16,
        scale: int = 4,
        outm: OutMode | None = None,
        layout: Literal["new", "basicsr"] = "basicsr",
    ) -> None:
        super().__init__()
        if in_nc != out_nc:
            raise ValueError(
                f"expected out_nc to be in_nc, {in_nc}, for the input is added to the output; found {out_nc}"
            )
        self.scale, self.outm, self.layout = scale, outm, layout
        blocks = (ResidualBlock(nf, None, "relu", "CNA", "Conv2D", 1.0) for _ in range(nb))
        self.first = make_conv(in_nc, nf)
        self.trunk = nn.Sequential(*blocks)
        self.up = nn.ModuleList(make_conv(nf, nf * factor**2) for factor in upsampling_factors(scale))
        self.hr = make_conv(nf, nf)
        self.last = make_conv(nf, out_nc)
        init_kaiming(self, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_nc, H, W) -> (B, out_nc, scale*H, scale*W)."""
        features = self.trunk(F.leaky_relu(self.first(x), 0.1))
        for conv, factor in zip(self.up, upsampling_factors(self.scale), strict=True):
            features = F.leaky_relu(F.pixel_shuffle(conv(features), factor), 0.1)
        detail = self.last(F.leaky_relu(self.hr(features), 0.1))
        base = F.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=False)
        return cap(base + detail, self.outm)

    def layouts(self) -> dict[str, Table]:
        """``new`` and ``basicsr``."""
        return {"new": self._table("recon_trunk", "HRconv"), "basicsr": self._table("body", "conv_hr")}

    def _table(self, trunk: str, hr: str) -> Table:
        table = {"first": "conv_first"}
        for i in range(len(self.trunk)):
            table |= {f"trunk.{i}.conv{c}.conv": f"{trunk}.{i}.conv{c}" for c in (1, 2)}
        table |= {f"up.{i}": f"upconv{i + 1}" for i in range(len(self.up))}
        return table | {"hr": hr, "last": "conv_last"}

    @classmethod
    def recognise(cls, state: State) -> dict[str, Any] | None:
        """The options of the network in ``state``, in either layout."""
        for layout, trunk in (("new", "recon_trunk"), ("basicsr", "body")):
            if "conv_first.weight" in state and f"{trunk}.0.conv1.weight" in state:
                first, ups = (
                    state["conv_first.weight"],
                    [key for key in state if re.fullmatch(r"upconv\d\.weight", key)],
                )
                return {
                    "in_nc": first.shape[1],
                    "out_nc": state["conv_last.weight"].shape[0],
                    "nf": first.shape[0],
                    "nb": 1 + max(int(key.split(".")[1]) for key in state if key.startswith(f"{trunk}.")),
                    "scale": math.prod(math.isqrt(state[key].shape[0] // state[key].shape[1]) for key in ups),
                    "layout": layout,
                }
        return None
