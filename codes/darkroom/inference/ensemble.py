"""The geometric self-ensemble (x8).

Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", 2017, section 3.4
(https://arxiv.org/abs/1707.02921). After Timofte et al. 2016 (https://arxiv.org/abs/1511.02228).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def eightfold(f: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """The mean of T^-1 f(T image) over the eight flips and rotations T: (B, C, H, W) to (B, C', s H, s W).

    Summed in float32 at least, so that eight half-precision results do not lose digits.
    """
    total: Tensor | None = None
    for mirrored in (False, True):
        for turns in range(4):
            turned = torch.rot90(image.flip(-1) if mirrored else image, turns, (-2, -1))
            result = torch.rot90(f(turned), -turns, (-2, -1))
            result = result.flip(-1) if mirrored else result
            if total is None:
                total = result.new_zeros(result.shape, dtype=torch.promote_types(result.dtype, torch.float32))
            total += result
    assert total is not None  # there are eight passes
    return total.div_(8)
