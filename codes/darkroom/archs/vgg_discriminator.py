"""VGG-style discriminators: strided convolutions down to 4 x 4 or 3 x 3, then two linear layers, one score an image.

SRGAN: https://arxiv.org/abs/1609.04802; as in ESRGAN, PPON and BasicSR. One class for all of them; the names with a
size are presets of it. Against the published code, every one can return its feature maps, and all convolutions are part
of the network (some published ``_fea`` files hold the last layers only; they load with ``strict: false``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor, nn

from . import ARCHS
from .blocks import (
    Act,
    ConvType,
    Mode,
    Norm,
    PublicNetwork,
    SpectralConv2d,
    SpectralLinear,
    Table,
    conv_block,
    init_kaiming,
    make_act,
    make_conv,
    numbered,
    preset,
)

Layout = Literal["features", "fea", "sn", "ppon", "basicsr"]


@ARCHS.register("discriminator_vgg")
class VGGDiscriminator(PublicNetwork):
    """(B, in_nc, size, size) -> (B, 1), a logit; with ``get_feats`` ``[[map, map, ..., logit]]``.

    ``hidden`` is the width of the linear layer (ESRGAN 100, PPON 128). ``spectral_norm`` is that of the convolutions,
    ``spectral_head`` that of the linear layers. The width doubles with every halving up to ``max_nf``, or up to 8 nf.
    ``bias`` is that of all convolutions but the first, which has one.
    """

    def __init__(
        self,
        size: int = 128,
        in_nc: int = 3,
        nf: int = 64,
        norm_type: Norm | None = "batch",
        act_type: Act = "leakyrelu",
        mode: Mode = "CNA",
        convtype: ConvType = "Conv2D",
        spectral_norm: bool = False,
        spectral_head: bool = False,
        hidden: int = 100,
        max_nf: int | None = 512,
        bias: bool = True,
        get_feats: bool = False,
        layout: Layout = "features",
    ) -> None:
        super().__init__()
        if size < 4:
            raise ValueError(f"expected the size of the images to be 4 or more, found {size}")
        self.size, self.layout, self.get_feats = size, layout, get_feats

        def block(into: int, out: int, stride: int, first: bool = False) -> nn.Sequential:
            kernel, biased = (3, 4)[stride - 1], bias or first
            if spectral_norm:
                conv: nn.Module = SpectralConv2d(into, out, kernel, stride, bias=biased)
            else:
                conv = make_conv(into, out, kernel, stride, biased, convtype if stride == 1 else "Conv2D")
            return conv_block(conv, into, out, None if first else norm_type, act_type, mode)

        self.blocks = nn.ModuleList([block(in_nc, nf, 1, first=True), block(nf, nf, 2)])
        side, widest = size // 2, 8 * nf if max_nf is None else max_nf
        while side > 4:
            wider = nf * 2 if nf < widest else nf
            self.blocks += [block(nf, wider, 1), block(wider, wider, 2)]
            nf, side = wider, side // 2
        linear = SpectralLinear if spectral_head else nn.Linear
        self.head = nn.Sequential()
        self.head.add_module("linear1", linear(nf * side**2, hidden))
        self.head.add_module("act", make_act("leakyrelu"))
        self.head.add_module("linear2", linear(hidden, 1))
        init_kaiming(self)

    def forward(self, x: Tensor) -> Tensor | list[list[Tensor]]:
        """(B, in_nc, size, size) -> (B, 1); with ``get_feats`` a list, within a list, that ends in it.

        The others are what each convolution block gives, in order: the form of a critic with one scale and maps.

        Raises:
            ValueError: the images have another size.
        """
        if x.shape[-2:] != (self.size, self.size):
            height, width = x.shape[-2:]
            raise ValueError(
                f"this discriminator judges images of {self.size} x {self.size}, for it ends in linear layers; found "
                f"{height} x {width}. Set the crop size to {self.size}, or take discriminator_vgg, whose option `size` "
                f"may be any"
            )
        maps = []
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        score = self.head(x.flatten(1))
        return [[*maps, score]] if self.get_feats else score

    def stages(self) -> Sequence[Sequence[str]]:
        """Its convolution blocks."""
        return [[f"blocks.{i}"] for i in range(len(self.blocks))]

    def layouts(self) -> dict[str, Table]:
        """``features``, ``fea``, ``sn``, ``ppon`` and ``basicsr``."""
        blocks = dict(enumerate(self.blocks))
        flat = numbered({f"blocks.{i}": block for i, block in blocks.items()}, "features")
        fea: Table = {}
        for i, block in blocks.items():
            fea |= numbered({f"blocks.{i}": block}, f"conv{i}")
        plain = {f"blocks.{i}.conv": f"conv{i}" for i in blocks}
        basicsr = {f"blocks.{i}.conv": f"conv{i // 2}_{i % 2}" for i in blocks}
        basicsr |= {f"blocks.{i}.norm": f"bn{i // 2}_{i % 2}" for i in blocks}
        return {
            "features": flat | _head("classifier.0", "classifier.2"),
            "fea": fea | _head("classifier.0", "classifier.2"),
            "sn": plain | _head("linear0", "linear1"),
            "ppon": flat | _head("classifier2.0", "classifier2.2"),
            "basicsr": basicsr | _head("linear1", "linear2"),
        }


def _head(first: str, second: str) -> Table:
    return {"head.linear1": first, "head.linear2": second}


def _register(*names: str, **defaults: Any) -> None:
    ARCHS.register(*names)(preset(VGGDiscriminator, names[0], **defaults))


_register("discriminator_vgg_96", size=96)
_register("discriminator_vgg_128", size=128)
_register("discriminator_vgg_192", "discriminator_192", size=192)
_register("discriminator_vgg_256", "discriminator_256", size=256)
_register("discriminator_vgg_fea", get_feats=True, layout="fea")
_register("discriminator_vgg_128_fea", size=128, get_feats=True, layout="fea")
_register("discriminator_vgg_192_fea", size=192, get_feats=True, layout="fea")
_register("discriminator_vgg_256_fea", size=256, get_feats=True, layout="fea")
_SN = {"size": 128, "norm_type": None, "spectral_norm": True, "spectral_head": True, "layout": "sn"}
_register("discriminator_vgg_128_SN", "discriminator_vgg_128_sn", **_SN)
_register("vggstylediscriminator", max_nf=None, bias=False, layout="basicsr")
