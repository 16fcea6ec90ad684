"""U-Net discriminator of Real-ESRGAN, https://arxiv.org/abs/2107.10833: a logit for every pixel, with context.

After the U-Net GAN, https://arxiv.org/abs/2002.12655. The keys are those of the public files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from ..core.network import Network
from . import ARCHS
from .blocks import SpectralConv2d, preset


@ARCHS.register("unet_discriminator", "unetdiscriminator")
class UNetDiscriminator(Network):
    """(B, in_nc, H, W) -> (B, 1, H, W); the sides must be multiples of 8.

    ``spectral_norm`` is that of all convolutions but the first and the last, ``spectral_first`` that of the first as
    well. ``skip_connection`` adds the encoder's maps to the decoder's.
    """

    multiple_of: ClassVar[int] = 8

    def __init__(
        self,
        in_nc: int = 3,
        nf: int = 64,
        skip_connection: bool = True,
        spectral_norm: bool = False,
        spectral_first: bool = False,
        get_feats: bool = False,
    ) -> None:
        super().__init__()
        self.skip_connection, self.get_feats = skip_connection, get_feats

        def conv(into: int, out: int, kernel: int = 3, stride: int = 1) -> nn.Module:
            return (SpectralConv2d if spectral_norm else nn.Conv2d)(into, out, kernel, stride, 1, bias=False)

        self.conv0 = (SpectralConv2d if spectral_first else nn.Conv2d)(in_nc, nf, 3, 1, 1)
        self.conv1 = conv(nf, nf * 2, 4, 2)
        self.conv2 = conv(nf * 2, nf * 4, 4, 2)
        self.conv3 = conv(nf * 4, nf * 8, 4, 2)
        self.conv4 = conv(nf * 8, nf * 4)
        self.conv5 = conv(nf * 4, nf * 2)
        self.conv6 = conv(nf * 2, nf)
        self.conv7 = conv(nf, nf)
        self.conv8 = conv(nf, nf)
        self.conv9 = nn.Conv2d(nf, 1, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor | list[list[Tensor]]:
        """(B, in_nc, H, W) -> (B, 1, H, W); with ``get_feats`` a list, within a list, of seven maps and that.

        Raises:
            ValueError: a side is not a multiple of 8.
        """
        height, width = x.shape[-2:]
        if height % 8 or width % 8:
            raise ValueError(
                f"the U-Net discriminator halves images three times: expected sides that are multiples of 8, found "
                f"{height} x {width}; choose another crop size"
            )
        x0 = _leaky(self.conv0(x))
        x1 = _leaky(self.conv1(x0))
        x2 = _leaky(self.conv2(x1))
        x3 = _leaky(self.conv3(x2))
        x4 = self._up(self.conv4, x3, x2)
        x5 = self._up(self.conv5, x4, x1)
        x6 = self._up(self.conv6, x5, x0)
        logits = self.conv9(_leaky(self.conv8(_leaky(self.conv7(x6)))))
        return [[x0, x1, x2, x3, x4, x5, x6, logits]] if self.get_feats else logits

    def stages(self) -> Sequence[Sequence[str]]:
        """Its convolutions."""
        return [[name] for name, _ in self.named_children()]

    def _up(self, conv: nn.Module, x: Tensor, skip: Tensor) -> Tensor:
        """Twice the side, a convolution, and the encoder's map of that size."""
        up = _leaky(conv(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)))
        return up + skip if self.skip_connection else up


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2, inplace=True)


ARCHS.register("unetdiscriminatorsn")(preset(UNetDiscriminator, "unetdiscriminatorsn", spectral_norm=True))
