"""The U-Net generator of pix2pix, https://arxiv.org/abs/1611.07004.

An encoder that halves the image until one pixel is left of a square, and a decoder that sees the encoder's maps too.
Initialised with N(0, 0.02). It reads and writes the authors' files. Against their code, the number of halvings is free.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.network import State
from . import ARCHS
from .blocks import PublicNetwork, Table, conv_block, init_normal, numbered, preset
from .translation import (
    CONVOLUTION,
    Norm,
    Upsampling,
    check_sides,
    has_bias,
    twice_as_large,
    upsampling_at,
    with_parts,
)


@ARCHS.register("unet", "unet_net")
class UNetGenerator(PublicNetwork):
    """(B, in_nc, H, W) -> (B, out_nc, H, W); images in [-1, 1], the sides must be multiples of ``2**num_downs``.

    ``num_downs`` is how often the image is halved. ``norm_type`` batch leaves the convolutions without bias.
    ``use_dropout`` is that of the decoder's inner levels, the noise of the paper. ``upsample_mode`` upconv enlarges by
    repeating pixels and convolving, upconv_bilinear by interpolation.
    """

    signed = True
    keeps_gray: ClassVar[bool] = False

    def __init__(
        self,
        in_nc: int = 3,
        out_nc: int = 3,
        num_downs: int = 8,
        nf: int = 64,
        norm_type: Norm = "batch",
        use_dropout: bool = False,
        upsample_mode: Upsampling = "deconv",
    ) -> None:
        super().__init__()
        if num_downs < 2:
            raise ValueError(f"expected num_downs to be 2 or more, found {num_downs}")
        self.multiple_of = 2**num_downs  # type: ignore[misc]  # known per network only
        self.layout = "plain"
        widths = [nf * min(2**level, 8) for level in range(num_downs)]
        outermost, innermost = 0, num_downs - 1
        bias = has_bias(norm_type)

        def down(level: int) -> nn.Module:
            into, out = widths[level - 1] if level else in_nc, widths[level]
            norm = None if level in (outermost, innermost) else norm_type
            return conv_block(nn.Conv2d(into, out, 4, 2, 1, bias=bias), into, out, norm)

        def up(level: int) -> nn.Module:
            into = widths[level] if level == innermost else 2 * widths[level]
            if level == outermost:
                return conv_block(twice_as_large(upsample_mode, into, out_nc, 4, bias=True), into, out_nc)
            out = widths[level - 1]
            block = conv_block(twice_as_large(upsample_mode, into, out, 4, bias), into, out, norm_type)
            if use_dropout and 4 <= level < innermost:
                block.add_module("dropout", nn.Dropout(0.5))
            return block

        self.downs = nn.ModuleList(down(level) for level in range(num_downs))
        self.ups = nn.ModuleList(up(level) for level in reversed(range(num_downs)))
        init_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_nc, H, W) -> (B, out_nc, H, W), in [-1, 1].

        Raises:
            ValueError: a side is not a multiple of ``2**num_downs``.
        """
        check_sides(x, self.multiple_of)
        maps = [self.downs[0](x)]
        for down in self.downs[1:]:
            maps.append(down(F.leaky_relu(maps[-1], 0.2)))
        # the authors' code overwrites a map by its leaky ReLU before it joins: after the ReLU that is the same
        y = self.ups[0](F.relu(maps.pop()))
        for up in self.ups[1:]:
            y = up(F.relu(torch.cat([maps.pop(), y], 1), inplace=True))
        return torch.tanh(y)

    def layouts(self) -> dict[str, Table]:
        """``plain`` only: levels within levels, the layers of each numbered with its activations and inner level."""
        table: Table = {}
        innermost, public = len(self.downs) - 1, "model.model"
        for level, down in enumerate(self.downs):
            table |= numbered({f"downs.{level}": down}, public, start=1 if level else 0)
            ups = {f"ups.{innermost - level}": self.ups[innermost - level]}
            table |= numbered(ups, public, start=5 if 0 < level < innermost else 3)
            public += ".3.model" if level else ".1.model"
        return {"plain": with_parts(self, table)}

    @classmethod
    def recognise(cls, state: State) -> dict[str, Any] | None:
        """The options of the network in ``state``; dropout leaves no trace there."""
        first = state.get("model.model.0.weight")
        inner = [key for key in state if re.fullmatch(r"model\.model\.1(\.model\.3)*\.model\.1\.weight", key)]
        if first is None or not inner:
            return None
        mode = upsampling_at(state, "model.model.3")
        return {
            "in_nc": first.shape[1],
            "out_nc": state[f"model.model.3{CONVOLUTION[mode]}.bias"].shape[0],
            "num_downs": 1 + len(inner),
            "nf": first.shape[0],
            "norm_type": "instance" if "model.model.0.bias" in state else "batch",
            "upsample_mode": mode,
        }


ARCHS.register("unet_128")(preset(UNetGenerator, "unet_128", num_downs=7))
ARCHS.register("unet_256")(preset(UNetGenerator, "unet_256", num_downs=8))
