"""What the generators of pix2pix, CycleGAN and white-box cartoonization share.

Against the published code, images can also be enlarged by resizing and a convolution, which leaves no checkerboards:
https://distill.pub/2016/deconv-checkerboard/.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from ..core.network import State
from .blocks import Table

Norm = Literal["batch", "instance"]
Upsampling = Literal["deconv", "upconv", "upconv_bilinear"]
CONVOLUTION: dict[Upsampling, str] = {"deconv": "", "upconv": ".1", "upconv_bilinear": ".2"}
"""Where the convolution is in what ``twice_as_large`` makes."""


def has_bias(norm_type: Norm) -> bool:
    """Whether the convolutions before such norms have a bias in the published networks.

    Raises:
        ValueError: they are made with another norm.
    """
    if norm_type not in ("batch", "instance"):
        raise ValueError(f"expected norm_type to be batch or instance, found {norm_type!r}")
    return norm_type == "instance"


def twice_as_large(mode: Upsampling, in_nc: int, out_nc: int, kernel: int, bias: bool) -> nn.Module:
    """(B, in_nc, H, W) -> (B, out_nc, 2*H, 2*W).

    ``deconv`` is a transposed convolution with that kernel. ``upconv`` repeats pixels and convolves, 3x3, padded with
    zeros; ``upconv_bilinear`` interpolates between pixels and pads with reflections.
    """
    if mode == "deconv":
        return nn.ConvTranspose2d(in_nc, out_nc, kernel, stride=2, padding=1, output_padding=kernel % 2, bias=bias)
    if mode == "upconv":
        return nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(in_nc, out_nc, 3, padding=1, bias=bias))
    if mode == "upconv_bilinear":
        smooth = nn.Upsample(scale_factor=2, mode="bilinear")
        return nn.Sequential(smooth, nn.ReflectionPad2d(1), nn.Conv2d(in_nc, out_nc, 3, bias=bias))
    raise ValueError(f"expected upsample_mode to be deconv, upconv or upconv_bilinear, found {mode!r}")


def upsampling_at(state: State, path: str) -> Upsampling:
    """The mode of what ``twice_as_large`` made, by which of its parts has the weights."""
    return next(mode for mode, part in CONVOLUTION.items() if f"{path}{part}.weight" in state)


def with_parts(network: nn.Module, table: Table) -> Table:
    """``table``, and the parts of what it names, which public files call as we do."""
    parts = {
        f"{ours}.{part}": f"{theirs}.{part}"
        for ours, theirs in table.items()
        for part, _ in network.get_submodule(ours).named_children()
    }
    return table | parts


def check_sides(x: Tensor, multiple: int) -> None:
    """Raise ValueError unless height and width of ``x`` are multiples of ``multiple``."""
    height, width = x.shape[-2:]
    if height % multiple or width % multiple:
        raise ValueError(
            f"this network halves images again and again: expected sides that are multiples of {multiple}, found "
            f"{height} x {width}; choose another crop size, or pad the images"
        )
