"""Attention between all pixels of feature maps, for the families that have it.

SAGAN: https://arxiv.org/abs/1805.08318; the flexible one (FSA), around which maps are pooled and enlarged again:
https://arxiv.org/abs/1812.04821.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .blocks import SpectralNorm


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """``o_i = sum_j softmax_j(query_i . key_j) value_j`` over N pixels; (B, E, N) twice and (B, C, N) -> (B, C, N).

    There is no 1 / sqrt(E). The products are summed in float32 whatever the type of the maps, as they may exceed the
    range of half precision, and no N x N matrix is kept where the device has a kernel for that.
    """
    q, k, v = (maps.transpose(1, 2).contiguous()[:, None] for maps in (query, key, value))
    return F.scaled_dot_product_attention(q, k, v, scale=1.0)[:, 0].transpose(1, 2)


class SpectralConv1d(SpectralNorm):
    """``nn.Conv1d`` with a kernel of 1 under spectral norm."""

    def __init__(self, in_nc: int, out_nc: int) -> None:
        super().__init__((out_nc, in_nc, 1), bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, N) -> (B, C_out, N)."""
        return F.conv1d(x, self.weight(), self.bias)


class FlexibleSelfAttention(nn.Module):
    """``x + gamma * attention(x)``, gamma starting at 0; the attention sees ``x`` pooled ``poolsize`` times (1: as is).

    ``mode`` is the interpolation that brings its maps back to the size of ``x``. Names as in the paper: f, g and h are
    query, key and value.
    """

    def __init__(
        self, nf: int, poolsize: int = 4, mode: Literal["bilinear", "bicubic"] = "bilinear", spectral_norm: bool = False
    ) -> None:
        super().__init__()
        if nf < 8 or poolsize < 1:
            raise ValueError(f"self attention needs nf from 8 and a poolsize from 1 on, found {nf} and {poolsize}")
        self.poolsize, self.mode = poolsize, mode
        self.gamma = nn.Parameter(torch.zeros(1))
        self.conv_f, self.conv_g, self.conv_h = (
            SpectralConv1d(nf, out) if spectral_norm else nn.Conv1d(nf, out, 1) for out in (nf // 8, nf // 8, nf)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, nf, H, W) to the same shape."""
        size = min(self.poolsize, *x.shape[-2:])
        pooled = F.max_pool2d(x, size) if size > 1 else x
        pixels = pooled.flatten(2)
        mixed = attend(self.conv_f(pixels), self.conv_g(pixels), self.conv_h(pixels)).reshape(pooled.shape)
        if size > 1:
            mixed = F.interpolate(mixed, x.shape[-2:], mode=self.mode, align_corners=False)
        return x + self.gamma * mixed
