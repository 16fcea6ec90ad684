"""The discriminator of SFTGAN, which judges an image and says what it shows. https://arxiv.org/abs/1804.02815.

An auxiliary classifier as in AC-GAN, https://arxiv.org/abs/1610.09585: two heads on the same features. The modules have
the names of the public files. Against the published code, sizes and classes may be others.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ..core.network import Network
from . import ARCHS
from .blocks import init_kaiming, make_act, make_conv


@ARCHS.register("dis_acd")
class ACDiscriminator(Network):
    """(B, in_nc, size, size) -> (B, 1), a logit, and (B, classes), logits too.

    The side is halved four times, the width doubles. ``hidden`` is the width of both heads' linear layers.
    """

    def __init__(self, size: int = 96, in_nc: int = 3, nf: int = 64, classes: int = 8, hidden: int = 100) -> None:
        super().__init__()
        if size < 16:
            raise ValueError(f"expected the size of the images to be 16 or more, found {size}")
        self.size = size
        layers = [make_conv(in_nc, nf), _lrelu(), *_block(nf, nf, stride=2)]
        for width in (2 * nf, 4 * nf, 8 * nf):
            layers += [*_block(width // 2, width, stride=1), *_block(width, width, stride=2)]
        self.feature = nn.Sequential(*layers)
        flat = 8 * nf * (size // 16) ** 2
        self.gan = nn.Sequential(nn.Linear(flat, hidden), _lrelu(), nn.Linear(hidden, 1))
        self.cls = nn.Sequential(nn.Linear(flat, hidden), _lrelu(), nn.Linear(hidden, classes))
        init_kaiming(self)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, in_nc, size, size) -> (B, 1) and (B, classes).

        Raises:
            ValueError: the images have another size.
        """
        if x.shape[-2:] != (self.size, self.size):
            raise ValueError(
                f"this discriminator judges images of {self.size} x {self.size}, for it ends in linear layers; found "
                f"{x.shape[-2]} x {x.shape[-1]}. Set the crop size to {self.size}, or its option `size` to the crop's"
            )
        features = self.feature(x).flatten(1)
        return self.gan(features), self.cls(features)

    def stages(self) -> Sequence[Sequence[str]]:
        """Its convolutions, each with its norm."""
        parts = [[f"feature.{i}", f"feature.{i + 1}"] for i in range(2, len(self.feature), 3)]
        return [["feature.0"], *parts]


def _block(in_nc: int, out_nc: int, stride: int) -> list[nn.Module]:
    kernel = (3, 4)[stride - 1]
    return [make_conv(in_nc, out_nc, kernel, stride), nn.BatchNorm2d(out_nc), _lrelu()]


def _lrelu() -> nn.Module:
    return make_act("leakyrelu", slope=0.1)
