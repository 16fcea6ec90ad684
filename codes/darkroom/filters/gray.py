"""Gray images by random weights of the colours, so that only texture is left to compare.

The texture representation of Wang and Yu, "Learning to Cartoonize Using White-Box Cartoon Representations", CVPR 2020,
section 3.3. The weights lie around those of ITU-R BT.601. As in the authors' code, they are divided by their sum, and
the luma is not mixed in (the paper's alpha of 0.8).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
"""Mean weights of R, G and B."""
SPREAD = 0.1
"""Half the width of the uniform distribution, or the deviation of the normal one."""


def draw_gray_weights(
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
    distribution: Literal["uniform", "normal"] = "uniform",
) -> Tensor:
    """(3,): random weights of R, G and B, to be shared by all images that are compared. Without waiting for the device.

    Raises:
        ValueError: there is no such distribution.
    """
    if distribution == "uniform":
        offsets = SPREAD * (2 * torch.rand(3, generator=generator, device=device) - 1)
    elif distribution == "normal":
        offsets = SPREAD * torch.randn(3, generator=generator, device=device)
    else:
        raise ValueError(f"distribution: expected uniform or normal, found {distribution!r}")
    return torch.stack([mean + offset for mean, offset in zip(LUMA, offsets, strict=True)])


def to_gray(image: Tensor, weights: Tensor) -> Tensor:
    """(..., 3, H, W) RGB -> (..., 1, H, W): the mean of the channels by the ``weights`` (3,), whatever their sum.

    Raises:
        ValueError: there are not three channels and three weights.
    """
    if image.ndim < 3 or image.shape[-3] != 3 or weights.shape != (3,):
        raise ValueError(
            f"expected RGB images (..., 3, H, W) and 3 weights, found {tuple(image.shape)} and {tuple(weights.shape)}"
        )
    red, green, blue = weights / weights.sum()
    r, g, b = image.unbind(-3)
    return (red * r + green * g + blue * b).unsqueeze(-3)
