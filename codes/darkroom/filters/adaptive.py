"""Small pieces of an image, each moved by an affine transform of its own.

AdaTarget, Jo et al., "Tackling the Ill-Posedness of Super-Resolution through Adaptive Target Generation", CVPR 2021,
section 3; the transforms come from ``archs.locnet``. What differs: pieces at the border see the border's pixels again
instead of black, and what is left of the image beside the last whole piece stays as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def pieces(images: Tensor, size: int, stride: int) -> Tensor:
    """(B, C, H, W) -> (B, N, C * size * size): row by row, the ``size`` x ``size`` surroundings of the whole
    ``stride`` x ``stride`` pieces; beyond the border its pixels are repeated.

    Raises:
        ValueError: the surroundings are smaller than the pieces, or not centred on them.
    """
    margin, odd = divmod(size - stride, 2)
    if odd or margin < 0:
        raise ValueError(
            f"expected surroundings larger than the pieces by an even number of pixels, found {size} around {stride}"
        )
    surrounded = F.pad(images, (margin,) * 4, mode="replicate") if margin else images
    return F.unfold(surrounded, size, stride=stride).mT


def adapt(image: Tensor, theta: Tensor, p_size: int, s_size: int) -> Tensor:
    """``image`` (B, C, H, W) with each piece of ``p_size`` pixels sampled as its transform says.

    ``theta`` (B, N, 2, 3) maps the piece's own coordinates, from -1 to 1 over its width and height, to where its
    pixels are taken from, which may be anywhere in its ``s_size`` surroundings: [[1, 0, 0], [0, 1, 0]] changes
    nothing. Computed in float32 at least.

    Raises:
        ValueError: there are not as many transforms as pieces, or see ``pieces``.
    """
    b, c, height, width = image.shape
    rows, columns = height // p_size, width // p_size
    if theta.shape != (b, rows * columns, 2, 3):
        raise ValueError(
            f"expected a transform for each of {rows} x {columns} pieces, {(b, rows * columns, 2, 3)}, "
            f"found {tuple(theta.shape)}"
        )
    dtype = torch.promote_types(image.dtype, torch.float32)
    with torch.autocast(image.device.type, enabled=False):
        sources = pieces(image.to(dtype), s_size, p_size).reshape(-1, c, s_size, s_size)
        grid = F.affine_grid(theta.to(dtype).flatten(0, 1), [len(sources), c, p_size, p_size], align_corners=False)
        warped = F.grid_sample(sources, grid * (p_size / s_size), padding_mode="border", align_corners=False)
    tiled = warped.reshape(b, rows, columns, c, p_size, p_size).permute(0, 3, 1, 4, 2, 5)
    whole = tiled.reshape(b, c, rows * p_size, columns * p_size).to(image.dtype)
    beside, below = image[:, :, : whole.shape[2], whole.shape[3] :], image[:, :, whole.shape[2] :]
    return torch.cat([torch.cat([whole, beside], dim=3), below], dim=2)
