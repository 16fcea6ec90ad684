"""SFT-Net, the generator of SFTGAN: super-resolution told what is where. https://arxiv.org/abs/1804.02815.

Maps of class probabilities become one condition for the whole network; spatial feature transform (SFT) layers scale and
shift features by it, place by place. The modules have the names of the public files. Two networks have those names:
``version`` ``torch`` is that of the paper, and ``pytorch`` the authors' later one, which the public weights are of.
Against the published code, sizes, classes and scale may be others.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.network import Network, State
from . import ARCHS
from .blocks import init_kaiming, make_act, make_conv, preset, upsampling_factors
from .pan import depth

Version = Literal["pytorch", "torch"]


class SFTLayer(nn.Module):
    """SFT(F | gamma, beta) = gamma F + beta, where both are made of the condition; ``pytorch`` adds 1 to gamma."""

    def __init__(self, nf: int, cond_nc: int, version: Version) -> None:
        super().__init__()
        self.residual = version == "pytorch"
        self.slope = 0.1 if self.residual else 0.01
        self.SFT_scale_conv0, self.SFT_scale_conv1 = nn.Conv2d(cond_nc, cond_nc, 1), nn.Conv2d(cond_nc, nf, 1)
        self.SFT_shift_conv0, self.SFT_shift_conv1 = nn.Conv2d(cond_nc, cond_nc, 1), nn.Conv2d(cond_nc, nf, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, nf, H, W) and (B, cond_nc, H, W) -> (B, nf, H, W)."""
        gamma = self.SFT_scale_conv1(F.leaky_relu(self.SFT_scale_conv0(condition), self.slope))
        beta = self.SFT_shift_conv1(F.leaky_relu(self.SFT_shift_conv0(condition), self.slope))
        return torch.addcmul(beta, x, gamma + 1 if self.residual else gamma)


class SFTBlock(nn.Module):
    """A residual block with two SFT layers; ``torch`` activates what they give, ``pytorch`` the inner convolution."""

    def __init__(self, nf: int, cond_nc: int, version: Version) -> None:
        super().__init__()
        self.activates_transformed = version == "torch"
        self.sft0, self.conv0 = SFTLayer(nf, cond_nc, version), make_conv(nf, nf)
        self.sft1, self.conv1 = SFTLayer(nf, cond_nc, version), make_conv(nf, nf)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, nf, H, W) and (B, cond_nc, H, W) -> (B, nf, H, W)."""
        if self.activates_transformed:
            inner = self.conv0(F.relu(self.sft0(x, condition)))
            return x + self.conv1(F.relu(self.sft1(inner, condition)))
        inner = F.relu(self.conv0(self.sft0(x, condition)))
        return x + self.conv1(self.sft1(inner, condition))


@ARCHS.register("sft_net", "sft_arch")
class SFTNet(Network):
    """Image (B, in_nc, H, W) in [0, 1], maps (B, classes, scale*H, scale*W) -> image (B, out_nc, scale*H, scale*W).

    The maps are probabilities, one channel a class. ``cond_nc`` is the number of channels of the condition, ``cond_nf``
    the width of the network that makes it.
    """

    reads: ClassVar = ("input", "maps")
    condition: ClassVar = ("SFT_", "CondNet")

    def __init__(
        self,
        in_nc: int = 3,
        out_nc: int = 3,
        nf: int = 64,
        nb: int = 16,
        scale: int = 4,
        classes: int = 8,
        cond_nc: int = 32,
        cond_nf: int = 128,
        version: Version = "pytorch",
    ) -> None:
        super().__init__()
        if version not in ("pytorch", "torch"):
            raise ValueError(f"expected the version to be pytorch or torch, found {version!r}")
        if scale == 1:
            raise ValueError("expected the network's scale to be 2, 3, 4 or 8, found 1")
        self.scale, self.version = scale, version
        self.conv0 = make_conv(in_nc, nf)
        blocks = (SFTBlock(nf, cond_nc, version) for _ in range(nb))
        self.sft_branch = nn.ModuleList([*blocks, SFTLayer(nf, cond_nc, version), make_conv(nf, nf)])
        self.HR_branch = _reconstruction(nf, out_nc, scale, version)
        self.CondNet = nn.Sequential(nn.Conv2d(classes, cond_nf, scale, scale))
        for width in (cond_nf, cond_nf, cond_nf, cond_nc):
            self.CondNet.extend([make_act("leakyrelu", slope=0.1), nn.Conv2d(cond_nf, width, 1)])
        init_kaiming(self, 0.1)
        self._start_near_identity()

    def forward(self, x: Tensor, maps: Tensor) -> Tensor:
        """(B, in_nc, H, W) and (B, classes, scale*H, scale*W) -> (B, out_nc, scale*H, scale*W).

        Raises:
            ValueError: the maps do not have the size of the image to be made.
        """
        height, width = (side * self.scale for side in x.shape[-2:])
        if maps.shape[-2:] != (height, width):
            raise ValueError(
                f"expected segmentation maps as large as the enlarged image, {height} x {width}, found "
                f"{maps.shape[-2]} x {maps.shape[-1]}; make them from an image of that size"
            )
        condition = self.CondNet(maps)
        *blocks, transform, conv = self.sft_branch
        features = shallow = self.conv0(x)
        for block in blocks:
            features = block(features, condition)
        image: Tensor = self.HR_branch(shallow + conv(transform(features, condition)))
        return image

    @classmethod
    def recognise(cls, state: State) -> dict[str, Any] | None:
        """The options of the network in ``state``; the versions differ in where the enlarging convolutions are."""
        cond, layer = state.get("CondNet.0.weight"), state.get("sft_branch.0.sft0.SFT_scale_conv1.weight")
        if cond is None or layer is None or "conv0.weight" not in state:
            return None
        return {
            "in_nc": state["conv0.weight"].shape[1],
            "out_nc": state[f"HR_branch.{depth(state, 'HR_branch') - 1}.weight"].shape[0],
            "nf": layer.shape[0],
            "nb": depth(state, "sft_branch") - 2,
            "scale": cond.shape[-1],
            "classes": cond.shape[1],
            "cond_nc": layer.shape[1],
            "cond_nf": cond.shape[0],
            "version": "pytorch" if "HR_branch.0.weight" in state else "torch",
        }

    @torch.no_grad()
    def _start_near_identity(self) -> None:
        """Where nothing adds 1 to gamma, its own bias does: else 33 layers of nearly 0 would let nothing through."""
        for module in self.modules():
            if isinstance(module, SFTLayer) and not module.residual:
                nn.init.ones_(module.SFT_scale_conv1.bias)  # type: ignore[arg-type]


ARCHS.register("sft_net_torch")(preset(SFTNet, "sft_net_torch", version="torch"))


def _reconstruction(nf: int, out_nc: int, scale: int, version: Version) -> nn.Sequential:
    """Features (B, nf, h, w) -> image (B, out_nc, scale*h, scale*w), its modules numbered through."""
    stages: list[nn.Module] = []
    for factor in upsampling_factors(scale):
        if version == "torch":
            stages += [nn.Upsample(scale_factor=factor), make_conv(nf, nf)]
        else:
            stages += [make_conv(nf, nf * factor**2), nn.PixelShuffle(factor)]
        stages.append(make_act("relu"))
    return nn.Sequential(*stages, make_conv(nf, nf), make_act("relu"), make_conv(nf, out_nc))
