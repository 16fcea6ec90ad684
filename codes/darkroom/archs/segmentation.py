"""The network that tells SFTGAN which kind of scenery is where: https://arxiv.org/abs/1804.02815.

A ResNet-101 (https://arxiv.org/abs/1512.03385) whose last stages are dilated instead of strided, as in DeepLab
(https://arxiv.org/abs/1606.00915), with the key layout of the public file. What differs: it takes images as all our
networks do, RGB in [0, 1] and of any size; the published one took BGR from 0 to 255 less a mean, sides multiples of 8.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.network import Network
from . import ARCHS
from .blocks import pad_to_multiple

CATEGORIES = ("background", "sky", "water", "grass", "mountain", "building", "plant", "animal")
"""What the public weights tell apart, in the order of the maps."""
MEAN_BGR = (103.939, 116.779, 123.68)
"""The mean colour that the published network takes off images from 0 to 255."""


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolution beside a shortcut, which is projected where the width changes."""

    def __init__(self, in_nc: int, nf: int, stride: int, dilation: int) -> None:
        super().__init__()
        out_nc = 4 * nf
        self.res = nn.Sequential(
            *(*_normed(in_nc, nf, 1), nn.ReLU(inplace=True)),
            *(*_normed(nf, nf, 3, stride, dilation), nn.ReLU(inplace=True)),
            *_normed(nf, out_nc, 1),
        )
        self.proj = nn.Sequential(*_normed(in_nc, out_nc, 1, stride)) if in_nc != out_nc else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_nc, H, W) -> (B, 4*nf, H/stride, W/stride)."""
        shortcut = x if self.proj is None else self.proj(x)
        return F.relu(shortcut + self.res(x), inplace=True)


@ARCHS.register("outdoor_scene_seg")
class OutdoorSceneSeg(Network):
    """RGB image (B, 3, H, W) in [0, 1] -> probabilities (B, classes, H, W), which sum to 1 at each pixel.

    ``blocks`` are the numbers of bottlenecks in the four stages of the ResNet, ``nf`` is the width of the first.
    """

    mean: Tensor

    def __init__(
        self,
        classes: int = len(CATEGORIES),
        nf: int = 64,
        blocks: tuple[int, int, int, int] = (3, 4, 23, 3),
    ) -> None:
        super().__init__()
        if len(blocks) != 4 or min(blocks) < 1:
            raise ValueError(f"blocks: expected four numbers of 1 or more, found {list(blocks)}")
        layers: list[nn.Module] = []
        for in_nc, out_nc, stride in ((3, nf, 2), (nf, nf, 1), (nf, 2 * nf, 1)):
            layers += [*_normed(in_nc, out_nc, 3, stride), nn.ReLU(inplace=True)]
        layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
        width = 2 * nf
        for stage, (count, stride, dilation) in enumerate(zip(blocks, (1, 2, 1, 1), (1, 1, 2, 4), strict=True)):
            for n in range(count):
                layers.append(Bottleneck(width, nf * 2**stage, stride if n == 0 else 1, dilation))
                width = 4 * nf * 2**stage
        layers += [*_normed(width, 8 * nf, 3), nn.ReLU(inplace=True), nn.Dropout(0.1), nn.Conv2d(8 * nf, classes, 1)]
        self.feature = nn.Sequential(*layers)
        self.deconv = nn.ConvTranspose2d(classes, classes, 16, 8, 4, groups=classes, bias=False)
        self.register_buffer("mean", torch.tensor(MEAN_BGR).reshape(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, classes, H, W)."""
        height, width = x.shape[-2:]
        bgr = 255 * pad_to_multiple(x, 8).flip(1) - self.mean
        logits = self.deconv(self.feature(bgr))
        return logits[..., :height, :width].softmax(1)


def _normed(in_nc: int, out_nc: int, kernel: int, stride: int = 1, dilation: int = 1) -> tuple[nn.Module, nn.Module]:
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(in_nc, out_nc, kernel, stride, padding, dilation, bias=False)
    return conv, nn.BatchNorm2d(out_nc)
