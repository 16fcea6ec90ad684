"""Colour spaces of ITU-R BT.601 and BT.709, as MATLAB and OpenCV have them.

Pure functions of (..., 3, H, W) tensors in RGB order. ``rgb_to_ycbcr`` is MATLAB's: studio range, Y in 16..235 of 255;
what the literature measures "on the Y channel" is its unrounded luma.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Constants = Literal["yuv", "ycbcr", "BT709", "yuvK"]

_STUDIO = (((65481, 128553, 24966), 16), ((-37797, -74203, 112000), 128), ((112000, -93786, -18214), 128))
"""MATLAB's rgb2ycbcr: thousandths for R, G, B in 0..1, and the offset, of a result in 0..255."""
_STUDIO_BACK = torch.tensor([row for row, _ in _STUDIO], dtype=torch.float64).inverse().mul(255e3).tolist()
_YUV = {
    "yuv": ((0.299, 0.587, 0.114), 0.493, 0.877),
    "ycbcr": ((0.299, 0.587, 0.114), 0.564, 0.713),
    "BT709": ((0.2126, 0.7152, 0.0722), 0.539, 0.635),
}
"""Weights of the luma, factors of B - Y and R - Y."""
_YUV_K = ((0.299, 0.587, 0.114), (-0.147, -0.289, 0.436), (0.615, -0.515, -0.1))
"""The rounded matrix that is in wide use, with U and V around 0."""
_YUV_BACK = {
    "ycbcr": ((1.0, 0.0, 1.403), (1.0, -0.344, -0.714), (1.0, 1.773, 0.0)),
    "yuvK": ((1.0, 0.0, 1.14), (1.0, -0.396, -0.581), (1.0, 2.029, 0.0)),
}
"""The published inverses, rounded as published: back and forth is exact to about 1e-3."""


def rgb_to_ycbcr(image: Tensor) -> Tensor:
    """Y, Cb, Cr in studio range: floating point in [0, 1] to such, uint8 to uint8, rounded (half up).

    Raises:
        ValueError: there are not three channels.
    """
    if image.dtype == torch.uint8:
        return torch.stack([_studio_byte(image, *row) for row in _STUDIO], dim=-3)
    return torch.stack([_weighted(image, [w / 255e3 for w in row], offset / 255) for row, offset in _STUDIO], dim=-3)


def luma(image: Tensor) -> Tensor:
    """Y of ``rgb_to_ycbcr`` as (..., 1, H, W), of floating point in [0, 1]; not rounded.

    Raises:
        ValueError: there are not three channels.
    """
    row, offset = _STUDIO[0]
    return _weighted(image, [w / 255e3 for w in row], offset / 255).unsqueeze(-3)


def ycbcr_to_rgb(image: Tensor) -> Tensor:
    """The inverse of ``rgb_to_ycbcr``; uint8 is rounded and clipped, floating point is neither.

    Raises:
        ValueError: there are not three channels.
    """
    if image.dtype == torch.uint8:
        return ycbcr_to_rgb(image.float() / 255).mul(255).round().clamp(0, 255).to(torch.uint8)
    offsets = [offset / 255 for _, offset in _STUDIO]
    shift = [-sum(w * o for w, o in zip(row, offsets, strict=True)) for row in _STUDIO_BACK]
    return torch.stack([_weighted(image, row, s) for row, s in zip(_STUDIO_BACK, shift, strict=True)], dim=-3)


def rgb_to_yuv(image: Tensor, constants: Constants = "yuv") -> Tensor:
    """Y, U, V of floating point in [0, 1]; U and V lie around 0.5, with ``yuvK`` around 0.

    Raises:
        ValueError: there are not three channels, or no such constants.
    """
    if constants == "yuvK":
        return torch.stack([_weighted(image, row, 0.0) for row in _YUV_K], dim=-3)
    if constants not in _YUV:
        raise ValueError(f"constants: expected one of {', '.join([*_YUV, 'yuvK'])}, found {constants!r}")
    weights, blue, red = _YUV[constants]
    y = _weighted(image, weights, 0.0)
    r, _, b = image.unbind(-3)
    return torch.stack([y, (b - y) * blue + 0.5, (r - y) * red + 0.5], dim=-3)


def yuv_to_rgb(image: Tensor, constants: Literal["ycbcr", "yuvK"] = "ycbcr") -> Tensor:
    """The published inverse of ``rgb_to_yuv`` with the same constants.

    Raises:
        ValueError: there are not three channels, or no such constants.
    """
    if constants not in _YUV_BACK:
        raise ValueError(f"constants: expected one of {', '.join(_YUV_BACK)}, found {constants!r}")
    centre = 0.5 if constants == "ycbcr" else 0.0
    return torch.stack([_weighted(image, row, -centre * (row[1] + row[2])) for row in _YUV_BACK[constants]], dim=-3)


def rgb_to_gray(image: Tensor) -> Tensor:
    """MATLAB's rgb2gray with four digits, as (..., 1, H, W); full range.

    Raises:
        ValueError: there are not three channels.
    """
    return _weighted(image, (0.2989, 0.587, 0.114), 0.0).unsqueeze(-3)


def _weighted(image: Tensor, weights: Sequence[float], offset: float) -> Tensor:
    """Channel by channel: numbers need no tensor on the device."""
    r, g, b = _channels(image)
    return r * weights[0] + g * weights[1] + b * weights[2] + offset


def _studio_byte(image: Tensor, weights: Sequence[int], offset: int) -> Tensor:
    """In integers, so that a tie rounds the same way everywhere."""
    r, g, b = _channels(image.int())
    total = r * weights[0] + g * weights[1] + b * weights[2] + 127500
    return (torch.div(total, 255000, rounding_mode="floor") + offset).to(torch.uint8)


def _channels(image: Tensor) -> tuple[Tensor, ...]:
    if image.ndim < 3 or image.shape[-3] != 3:
        raise ValueError(f"expected an RGB image (..., 3, H, W), found {tuple(image.shape)}")
    return image.unbind(-3)
