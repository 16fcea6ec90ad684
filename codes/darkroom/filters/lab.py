"""CIE L*a*b* of sRGB pictures, for white of D65.

CIE 15:2004, section 8.2.1; IEC 61966-2-1 for sRGB. The numbers are those of OpenCV's ``COLOR_RGB2Lab``.

Pure functions of (..., 3, H, W) tensors of floating point. All three channels lie in [0, 1], as image files hold them:
L* / 100, (a* + 128) / 255 and (b* + 128) / 255.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_WHITE = (0.950456, 1.0, 1.088754)
"""X, Y and Z of white."""
_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
"""X, Y and Z of linear R, G and B."""
_XYZ_BACK = torch.tensor(_XYZ, dtype=torch.float64).inverse().tolist()
_KNEE = 6 / 29
"""Where the cube root goes over into a line."""


def rgb_to_lab(image: Tensor) -> Tensor:
    """L*, a*, b* of sRGB in [0, 1].

    Raises:
        ValueError: there are not three channels.
    """
    linear = torch.where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055).clamp_min(0) ** 2.4)
    x, y, z = (_root(_mixed(linear, row) / white) for row, white in zip(_XYZ, _WHITE, strict=True))
    return torch.stack([(116 * y - 16) / 100, (500 * (x - y) + 128) / 255, (200 * (y - z) + 128) / 255], dim=-3)


def lab_to_rgb(image: Tensor) -> Tensor:
    """The inverse of ``rgb_to_lab``. Colours that no screen shows leave [0, 1].

    Raises:
        ValueError: there are not three channels.
    """
    lightness, a, b = _channels(image)
    y = (lightness * 100 + 16) / 116
    roots = (y + (a * 255 - 128) / 500, y, y - (b * 255 - 128) / 200)
    xyz = torch.stack([_cube(root) * white for root, white in zip(roots, _WHITE, strict=True)], dim=-3)
    linear = torch.stack([_mixed(xyz, row) for row in _XYZ_BACK], dim=-3)
    return torch.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear.clamp_min(0) ** (1 / 2.4) - 0.055)


def _root(share: Tensor) -> Tensor:
    """The cube root, but a line near black."""
    return torch.where(share > _KNEE**3, share.clamp_min(0) ** (1 / 3), share / (3 * _KNEE**2) + 4 / 29)


def _cube(root: Tensor) -> Tensor:
    """The inverse of ``_root``."""
    return torch.where(root > _KNEE, root**3, 3 * _KNEE**2 * (root - 4 / 29))


def _mixed(image: Tensor, weights: Sequence[float]) -> Tensor:
    """Channel by channel: numbers need no tensor on the device."""
    first, second, third = _channels(image)
    return first * weights[0] + second * weights[1] + third * weights[2]


def _channels(image: Tensor) -> tuple[Tensor, ...]:
    if image.ndim < 3 or image.shape[-3] != 3:
        raise ValueError(f"expected three channels (..., 3, H, W), found {tuple(image.shape)}")
    return image.unbind(-3)
