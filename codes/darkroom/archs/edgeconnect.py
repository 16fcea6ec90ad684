"""The generators of EdgeConnect, Nazeri et al. 2019, https://arxiv.org/abs/1901.00212: edges first, then the image.

Both are Johnson's network for style transfer, https://arxiv.org/abs/1603.08155, with dilated residual blocks; that of
edges is under spectral norm, https://arxiv.org/abs/1802.05957. The modules have the names of the published files.
Initialised with N(0, 0.02), as those. What differs: the width is an option.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.network import Network, State
from . import ARCHS
from .blocks import SpectralConv2d, SpectralNorm, init_normal


class SpectralConvTranspose2d(SpectralNorm):
    """``nn.ConvTranspose2d`` under spectral norm."""

    outputs: ClassVar[int] = 1

    def __init__(
        self, in_nc: int, out_nc: int, kernel: int, stride: int = 1, padding: int = 0, bias: bool = True
    ) -> None:
        super().__init__((in_nc, out_nc, kernel, kernel), bias)
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, H', W')."""
        return F.conv_transpose2d(x, self.weight(), self.bias, self.stride, self.padding)


def with_estimates(network: nn.Module, state: State) -> dict[str, Tensor]:
    """``state``, of which spectral norms may be as torch 0.4 wrote them, as torch has written them since.

    Then, ``weight`` held W / sigma, and there was no ``weight_v``. With v = sigma W^T u / |W^T u|^2, u^T W v is sigma.
    """
    state = dict(state)
    for path, layer in network.named_modules():
        if not isinstance(layer, SpectralNorm) or f"{path}.weight_orig" not in state:
            continue
        normed = state.pop(f"{path}.weight", None)
        if normed is not None:
            weight, u = state[f"{path}.weight_orig"], state[f"{path}.weight_u"]
            towards = weight.transpose(0, layer.outputs).flatten(1).t() @ u
            state[f"{path}.weight_v"] = towards * (weight.norm() / normed.norm() / towards.square().sum())
    return state


class ResidualBlock(nn.Module):
    """``x`` and two convolutions of it, the first one dilated; nothing active after the sum."""

    def __init__(self, nf: int, spectral_norm: bool) -> None:
        super().__init__()
        conv = SpectralConv2d if spectral_norm else nn.Conv2d
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(2),
            conv(nf, nf, 3, padding=0, dilation=2, bias=not spectral_norm),
            *_active(nf),
            nn.ReflectionPad2d(1),
            conv(nf, nf, 3, padding=0, bias=not spectral_norm),
            nn.InstanceNorm2d(nf),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, nf, H, W) to the same shape."""
        return x + self.conv_block(x)


class EdgeConnectGenerator(Network):
    """Abstract: encoder, residual blocks and decoder. A size that is no multiple of 4 is rounded down to one."""

    multiple_of: ClassVar[int] = 4
    keeps_gray: ClassVar[bool] = False
    container: ClassVar[str | None] = "generator"
    makes: ClassVar[int]
    """Channels of the output."""

    def __init__(self, in_nc: int, nf: int, residual_blocks: int, spectral_norm: bool) -> None:
        super().__init__()
        if residual_blocks < 1:
            raise ValueError(f"expected residual_blocks to be 1 or more, found {residual_blocks}")
        conv = SpectralConv2d if spectral_norm else nn.Conv2d
        deconv = SpectralConvTranspose2d if spectral_norm else nn.ConvTranspose2d
        self.encoder = nn.Sequential(
            nn.ReflectionPad2d(3),
            conv(in_nc, nf, 7, padding=0),
            *_active(nf),
            conv(nf, 2 * nf, 4, stride=2, padding=1),
            *_active(2 * nf),
            conv(2 * nf, 4 * nf, 4, stride=2, padding=1),
            *_active(4 * nf),
        )
        self.middle = nn.Sequential(*(ResidualBlock(4 * nf, spectral_norm) for _ in range(residual_blocks)))
        self.decoder = nn.Sequential(
            deconv(4 * nf, 2 * nf, 4, stride=2, padding=1),
            *_active(2 * nf),
            deconv(2 * nf, nf, 4, stride=2, padding=1),
            *_active(nf),
            nn.ReflectionPad2d(3),
            nn.Conv2d(nf, self.makes, 7),
        )
        init_normal(self)

    def draw(self, x: Tensor) -> Tensor:
        """(B, in_nc, H, W) -> (B, makes, H, W), not yet within a range."""
        return self.decoder(self.middle(self.encoder(x)))

    def from_public(self, state: State) -> dict[str, Tensor]:
        """``state``, whose spectral norms torch 0.4 may have written."""
        return with_estimates(self, state)

    @classmethod
    def recognise(cls, state: State) -> dict[str, Any] | None:
        """The options of the network in ``state``, of which the channels that it makes tell the class."""
        spectral = "encoder.1.weight_orig" in state
        first, last = (
            state.get("encoder.1.weight_orig" if spectral else "encoder.1.weight"),
            state.get("decoder.7.weight"),
        )
        blocks = {key.split(".")[1] for key in state if key.startswith("middle.") and ".conv_block.5." in key}
        if first is None or last is None or not blocks or len(last) != cls.makes:
            return None
        found = {"in_nc": first.shape[1], "nf": first.shape[0], "residual_blocks": len(blocks)}
        return {**found, "spectral_norm": spectral}


@ARCHS.register("edge_generator")
class EdgeGenerator(EdgeConnectGenerator):
    """G_1: gray image, edges and mask (B, 3, H, W) -> probabilities of edges (B, 1, H, W)."""

    makes = 1

    def __init__(self, in_nc: int = 3, nf: int = 64, residual_blocks: int = 8, spectral_norm: bool = True) -> None:
        super().__init__(in_nc, nf, residual_blocks, spectral_norm)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_nc, H, W) -> (B, 1, H, W)."""
        return torch.sigmoid(self.draw(x))


@ARCHS.register("inpaint_generator")
class InpaintGenerator(EdgeConnectGenerator):
    """G_2: RGB image and edges (B, 4, H, W) -> image (B, 3, H, W)."""

    makes = 3

    def __init__(self, in_nc: int = 4, nf: int = 64, residual_blocks: int = 8, spectral_norm: bool = False) -> None:
        super().__init__(in_nc, nf, residual_blocks, spectral_norm)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_nc, H, W) -> (B, 3, H, W)."""
        return (torch.tanh(self.draw(x)) + 1) / 2


def _active(nf: int) -> tuple[nn.Module, nn.Module]:
    return nn.InstanceNorm2d(nf), nn.ReLU(inplace=True)
