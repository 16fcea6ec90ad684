"""PatchGAN, its multiscale version, and PixelGAN.

pix2pix: https://arxiv.org/abs/1611.07004; multiscale: pix2pixHD, https://arxiv.org/abs/1711.11585; spectral norm:
https://arxiv.org/abs/1802.05957. Initialised with N(0, 0.02), as in the papers. Key layouts: ``plain`` (``model.0``)
and ``feats`` (``model0.0``), which the published code writes when it may return feature maps; here both are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.network import Network, State
from . import ARCHS
from .blocks import Norm, PublicNetwork, SpectralConv2d, Table, init_normal, make_norm, numbered


def _patch_blocks(
    in_nc: int, nf: int, n_layers: int, norm_type: Norm | None, spectral_norm: bool, bias: bool
) -> nn.ModuleList:
    """Blocks of convolution, norm (nothing under spectral norm) and leaky ReLU; the last is a convolution alone."""
    if n_layers < 1:
        raise ValueError(f"expected n_layers to be 1 or more, found {n_layers}")
    norm = None if spectral_norm else norm_type

    def conv(into: int, out: int, stride: int, biased: bool) -> nn.Module:
        return (SpectralConv2d if spectral_norm else nn.Conv2d)(into, out, 4, stride, 1, bias=biased)

    def block(*layers: nn.Module) -> nn.Sequential:
        names = {1: ("conv",), 2: ("conv", "act"), 3: ("conv", "norm", "act")}[len(layers)]
        sequence = nn.Sequential()
        for name, layer in zip(names, layers, strict=True):
            sequence.add_module(name, layer)
        return sequence

    widths = [nf * min(2**n, 8) for n in range(n_layers + 1)]
    blocks = [block(conv(in_nc, nf, 2, True), _leaky())]
    for n in range(1, n_layers + 1):
        strided = conv(widths[n - 1], widths[n], 2 if n < n_layers else 1, bias)
        blocks.append(block(strided, make_norm(norm, widths[n]) or nn.Identity(), _leaky()))
    return nn.ModuleList([*blocks, block(conv(widths[-1], 1, 1, True))])


def _leaky() -> nn.Module:
    return nn.LeakyReLU(0.2, inplace=True)


def _run(blocks: nn.Module, x: Tensor) -> list[Tensor]:
    """What each block gives; the last gives the logits."""
    maps = []
    for block in blocks.children():
        x = block(x)
        maps.append(x)
    return maps


def _layouts(blocks: nn.Module, ours: str, plain: str, feats: str) -> dict[str, Table]:
    """``feats`` is what the names of the blocks begin with."""
    named = {f"{ours}.{i}": block for i, block in enumerate(blocks.children())}
    parts: Table = {}
    for i, (path, block) in enumerate(named.items()):
        parts |= numbered({path: block}, f"{feats}{i}")
    return {"plain": numbered(named, plain), "feats": parts}


def _reconcile(network: nn.Module, state: State) -> dict[str, Tensor]:
    """Drop or add (as zeros) the biases before instance norms, which cancel exactly: some published code has them."""
    state = dict(state)
    for name, block in network.named_modules():
        layers = dict(block.named_children())
        if isinstance(layers.get("norm"), nn.InstanceNorm2d):
            key, bias = f"{name}.conv.bias", layers["conv"].bias
            if not isinstance(bias, Tensor):
                state.pop(key, None)
            elif f"{name}.conv.weight" in state:
                state.setdefault(key, torch.zeros_like(bias))
    return state


@ARCHS.register("patchgan", "nlayerdiscriminator")
class PatchGAN(PublicNetwork):
    """(B, in_nc, H, W) -> (B, 1, H', W'), a logit for every patch; H' is about H / 2**n_layers.

    With ``get_feats`` it gives ``[[map, map, ..., logits]]``, and its files have the key layout ``feats``.
    ``spectral_norm`` replaces the norms. ``bias`` is that of the inner convolutions. Without ``patch_output`` the
    logits of an image are averaged: (B, 1).
    """

    def __init__(
        self,
        in_nc: int = 3,
        nf: int = 64,
        n_layers: int = 3,
        norm_type: Norm | None = "batch",
        spectral_norm: bool = False,
        bias: bool = False,
        get_feats: bool = False,
        patch_output: bool = True,
    ) -> None:
        super().__init__()
        self.layout = "feats" if get_feats else "plain"
        self.get_feats, self.patch_output = get_feats, patch_output
        self.blocks = _patch_blocks(in_nc, nf, n_layers, norm_type, spectral_norm, bias)
        init_normal(self)

    def forward(self, x: Tensor) -> Tensor | list[list[Tensor]]:
        """Logits; with ``get_feats`` a list, within a list, of what each block gives, the logits last."""
        *maps, logits = _run(self.blocks, x)
        if not self.patch_output:
            logits = logits.mean((2, 3))
        return [[*maps, logits]] if self.get_feats else logits

    def stages(self) -> Sequence[Sequence[str]]:
        """Its convolution blocks."""
        return [[f"blocks.{i}"] for i in range(len(self.blocks))]

    def layouts(self) -> dict[str, Table]:
        """``plain`` and ``feats``."""
        return _layouts(self.blocks, "blocks", "model", "model")

    def from_public(self, state: State) -> dict[str, Tensor]:
        """As in the parent, with or without the biases that instance norms cancel."""
        return _reconcile(self, super().from_public(state))


@ARCHS.register("multiscale")
class MultiscaleDiscriminator(PublicNetwork):
    """``num_D`` PatchGANs, each judging the image at half the side of the one before.

    (B, in_nc, H, W) -> a list of logits (B, 1, H', W'), the finest first; with ``get_feats`` a list of lists.
    """

    def __init__(
        self,
        in_nc: int = 3,
        nf: int = 64,
        n_layers: int = 3,
        num_D: int = 3,
        norm_type: Norm | None = "batch",
        spectral_norm: bool = False,
        bias: bool = False,
        get_feats: bool = False,
    ) -> None:
        super().__init__()
        self.layout, self.get_feats = "feats" if get_feats else "plain", get_feats
        # in the order of the files: the last one judges the image as it is
        scales = (_patch_blocks(in_nc, nf, n_layers, norm_type, spectral_norm, bias) for _ in range(num_D))
        self.scales = nn.ModuleList(scales)
        init_normal(self)

    def forward(self, x: Tensor) -> list[Tensor] | list[list[Tensor]]:
        """Logits for each scale, the finest first; with ``get_feats`` lists of maps that end in the logits."""
        judged = []
        for i, blocks in enumerate(reversed(self.scales)):
            if i:
                x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
            judged.append(_run(blocks, x))
        return judged if self.get_feats else [maps[-1] for maps in judged]

    def stages(self) -> Sequence[Sequence[str]]:
        """The convolution blocks, those of all scales at once."""
        scales = range(len(self.scales))
        return [[f"scales.{scale}.{i}" for scale in scales] for i, _ in enumerate(self.scales[0].children())]

    def layouts(self) -> dict[str, Table]:
        """``plain`` (``layer0.0``) and ``feats`` (``scale0_layer0.0``)."""
        plain: Table = {}
        feats: Table = {}
        for i, blocks in enumerate(self.scales):
            tables = _layouts(blocks, f"scales.{i}", f"layer{i}", f"scale{i}_layer")
            plain |= tables["plain"]
            feats |= tables["feats"]
        return {"plain": plain, "feats": feats}

    def from_public(self, state: State) -> dict[str, Tensor]:
        """As in the parent, with or without the biases that instance norms cancel."""
        return _reconcile(self, super().from_public(state))


@ARCHS.register("pixelgan", "pixeldiscriminator")
class PixelGAN(Network):
    """(B, in_nc, H, W) -> (B, 1, H, W), a logit for every pixel, of that pixel alone.

    ``bias`` is that of the second and third convolution (with instance norm, published CycleGAN code has them).
    """

    def __init__(
        self,
        in_nc: int = 3,
        nf: int = 64,
        norm_type: Literal["batch", "instance"] = "batch",
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(in_nc, nf, 1),
            _leaky(),
            nn.Conv2d(nf, nf * 2, 1, bias=bias),
            make_norm(norm_type, nf * 2) or nn.Identity(),
            _leaky(),
            nn.Conv2d(nf * 2, 1, 1, bias=bias),
        )
        init_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_nc, H, W) -> (B, 1, H, W)."""
        return self.net(x)
