"""The generator of white-box cartoonization, a small U-Net that adds its encoder's maps instead of joining them.

Wang and Yu, CVPR 2020, https://systemerrorwang.github.io/White-box-Cartoonization/. The modules have the names of the
files that the authors' weights were converted to; the variables of their TensorFlow checkpoint are read too. Weights
start as TensorFlow's do: uniform after Glorot, biases 0.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from ..core.network import Network, State
from . import ARCHS
from .blocks import preset
from .translation import check_sides

Mode = Literal["pt", "tf"]
TENSORFLOW = "generator/"
"""What the names of the TensorFlow checkpoint's variables begin with."""


def pad_same(x: Tensor) -> Tensor:
    """Zeros as TensorFlow's ``SAME`` has them for a 3x3 convolution of stride 2: none before an even side."""
    height, width = x.shape[-2:]
    return F.pad(x, (width % 2, 1, height % 2, 1))


def bilinear_tf(x: Tensor, corners: int) -> Tensor:
    """(B, C, H, W) -> (B, C, 2*H, 2*W) as TensorFlow 1 interpolates: even places copy, the others are means.

    A pixel between four is the mean of those ``corners``, or in traiNNer of 2 of them, which are on the diagonal.
    """
    height, width = x.shape[-2:]
    padded = F.pad(x, (0, 1, 0, 1), mode="replicate")
    # H + 1 pixels spread over 2H + 1 places, ends on ends: every other place is a pixel
    y = F.interpolate(padded, (2 * height + 1, 2 * width + 1), mode="bilinear", align_corners=True)[..., :-1, :-1]
    if corners == 2:
        y[..., 1::2, 1::2] = (x + padded[..., 1:, 1:]) / 2
    return y


class ResidualBlock(nn.Module):
    """``x + conv2(lrelu(conv1(x)))``."""

    def __init__(self, nf: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(nf, nf, 3, padding=1), nn.Conv2d(nf, nf, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, nf, H, W) to the same shape."""
        return x + self.conv2(_leaky(self.conv1(x)))


@ARCHS.register("wbcunet")
class WBCUNet(Network):
    """(B, in_nc, H, W) -> (B, out_nc, H, W); images in [-1, 1], nothing bounds the output. Sides: multiples of 4.

    ``mode`` tf pads and interpolates as TensorFlow, which the published weights were trained with (their images had
    sides that are multiples of 8, which is not needed). There, ``corners`` 2 interpolates as traiNNer does.
    """

    multiple_of: ClassVar[int] = 4
    signed = True
    keeps_gray: ClassVar[bool] = False

    def __init__(
        self, in_nc: int = 3, out_nc: int = 3, nf: int = 32, mode: Mode = "pt", corners: Literal[2, 4] = 4
    ) -> None:
        super().__init__()
        _check(mode, corners)
        self.mode, self.corners = mode, corners
        padding = 1 if mode == "pt" else 0
        self.conv = nn.Conv2d(in_nc, nf, 7, padding=3)
        self.conv_1 = nn.Conv2d(nf, nf, 3, stride=2, padding=padding)
        self.conv_2 = nn.Conv2d(nf, 2 * nf, 3, padding=1)
        self.conv_3 = nn.Conv2d(2 * nf, 2 * nf, 3, stride=2, padding=padding)
        self.conv_4 = nn.Conv2d(2 * nf, 4 * nf, 3, padding=1)
        self.block_0, self.block_1 = ResidualBlock(4 * nf), ResidualBlock(4 * nf)
        self.block_2, self.block_3 = ResidualBlock(4 * nf), ResidualBlock(4 * nf)
        self.conv_5 = nn.Conv2d(4 * nf, 2 * nf, 3, padding=1)
        self.conv_6 = nn.Conv2d(2 * nf, 2 * nf, 3, padding=1)
        self.conv_7 = nn.Conv2d(2 * nf, nf, 3, padding=1)
        self.conv_8 = nn.Conv2d(nf, nf, 3, padding=1)
        self.conv_9 = nn.Conv2d(nf, out_nc, 7, padding=3)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # all have one

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_nc, H, W) -> (B, out_nc, H, W).

        Raises:
            ValueError: a side is not a multiple of 4.
        """
        check_sides(x, self.multiple_of)
        x0 = _leaky(self.conv(x))
        x1 = _leaky(self.conv_2(_leaky(self.conv_1(self._padded(x0)))))
        x2 = _leaky(self.conv_4(_leaky(self.conv_3(self._padded(x1)))))
        x2 = self.block_3(self.block_2(self.block_1(self.block_0(x2))))
        x2 = _leaky(self.conv_5(x2))
        x3 = _leaky(self.conv_7(_leaky(self.conv_6(self._enlarged(x2) + x1))))
        return self.conv_9(_leaky(self.conv_8(self._enlarged(x3) + x0)))

    def _padded(self, x: Tensor) -> Tensor:
        return pad_same(x) if self.mode == "tf" else x

    def _enlarged(self, x: Tensor) -> Tensor:
        if self.mode == "tf":
            return bilinear_tf(x, self.corners)
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

    @classmethod
    def recognise(cls, state: State) -> dict[str, Any] | None:
        """The options of the network in ``state``; pt is assumed of files in which nothing tells the mode."""
        tensorflow = any(key.startswith(TENSORFLOW) for key in state)
        state = _from_tensorflow(state)
        first, last = state.get("conv.weight"), state.get("conv_9.weight")
        if first is None or last is None or "block_3.conv2.weight" not in state:
            return None
        mode = "tf" if tensorflow else "pt"
        return {"in_nc": first.shape[1], "out_nc": last.shape[0], "nf": first.shape[0], "mode": mode}

    def from_public(self, state: State) -> dict[str, Tensor]:
        """``state`` under our keys, from either layout.

        The TensorFlow network was trained on BGR: its first and last convolution are turned to RGB.
        """
        return _from_tensorflow(state)


ARCHS.register("wbcunet_tf")(preset(WBCUNet, "wbcunet_tf", mode="tf"))


def _from_tensorflow(state: State) -> dict[str, Tensor]:
    """``generator/Conv_1/weights`` (height, width, in, out) -> ``conv_1.weight`` (out, in, height, width), in RGB."""
    if not any(key.startswith(TENSORFLOW) for key in state):
        return dict(state)
    ours = {}
    for key, tensor in state.items():
        path, _, leaf = key.removeprefix(TENSORFLOW).removesuffix(":0").lower().rpartition("/")
        name = {"weights": "weight", "biases": "bias"}.get(leaf, leaf)
        ours[f"{path.replace('/', '.')}.{name}"] = tensor.permute(3, 2, 0, 1) if tensor.ndim == 4 else tensor
    turned = {"conv.weight": 1, "conv_9.weight": 0, "conv_9.bias": 0}
    return ours | {key: ours[key].flip(dim) for key, dim in turned.items() if key in ours}


def _check(mode: Mode, corners: int) -> None:
    if mode not in ("pt", "tf"):
        raise ValueError(f"expected mode to be pt or tf, found {mode!r}")
    if corners not in (2, 4):
        raise ValueError(f"expected corners to be 2 or 4, found {corners!r}")
    if corners == 2 and mode == "pt":
        raise ValueError("expected mode tf with corners 2, found pt, which does not interpolate so; remove corners")


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2, inplace=True)
