"""What colours the images of an item have: ``color: y`` and the like."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ..filters.color import luma, rgb_to_ycbcr
from ..filters.lab import lab_to_rgb, rgb_to_lab
from .images import Picture

Color = Literal["rgb", "gray", "y", "lab", "lab_to_rgb"]
"""As the file is; luma of BT.601 in full range; that in studio range, 16 to 235, as MATLAB has it; CIE L*a*b*, each
channel in the range of the file's numbers (of 8 bits L* 255 / 100, a* + 128, b* + 128); RGB of files that hold that."""
LARGEST = {torch.uint8: 255, torch.uint16: 65535}
"""The number that stands for 1."""

_GRAY = (9798, 19235, 3735)
"""Of BT.601, times 2**15: in integers, as OpenCV does it, by which colour files are read for one channel."""


def converted(image: Tensor, color: Color) -> Tensor:
    """(..., 3 or 1, H, W) of (..., 3, H, W) RGB, or of Lab for ``lab_to_rgb``; uint8 or uint16, as is the result."""
    if color == "rgb":
        return image
    if color == "gray":
        r, g, b = image.to(torch.int32).unbind(-3)
        total = r * _GRAY[0] + g * _GRAY[1] + b * _GRAY[2] + 2**14
        return (total >> 15).to(image.dtype).unsqueeze(-3)
    if color == "y" and image.dtype == torch.uint8:
        return rgb_to_ycbcr(image)[..., :1, :, :]
    largest = LARGEST[image.dtype]
    unit = image.to(torch.float32) / largest
    changed = {"y": luma, "lab": rgb_to_lab, "lab_to_rgb": lab_to_rgb}[color](unit)
    return changed.mul_(largest).round_().clamp_(0, largest).to(image.dtype)


def recolored(picture: Picture, color: Color) -> Picture:
    """The picture converted, without its transparency; as it is for ``rgb``."""
    if color == "rgb":
        return picture
    pixels = np.ascontiguousarray(picture.as_channels(3).transpose(2, 0, 1))
    return Picture(np.ascontiguousarray(converted(torch.from_numpy(pixels), color).permute(1, 2, 0).numpy()))


def check_color(name: str, color: Color, channels: int) -> None:
    """Refuse what cannot be made of images that are read with so many ``channels``.

    Raises:
        ValueError: that is so.
    """
    if color not in get_args(Color):
        raise ValueError(f"{name}: expected one of {', '.join(get_args(Color))}, found {color!r}")
    if color != "rgb" and channels != 3:
        raise ValueError(f"{name}: {color} is made of three channels, found channels: {channels}; write channels: 3")
