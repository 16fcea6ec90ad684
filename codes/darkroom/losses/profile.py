"""Spatial profile losses: Sarfraz et al. 2019, https://arxiv.org/abs/1908.00274.

Rows and columns of two images are compared by the angle between them, so that contrast is free. What differs: a profile
too short to have a direction has no exploding gradient, and gradient images keep their size, the last difference 0, as
in traiNNer. Values are negative: -2 C for equal images of C channels, as often as they are compared.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ..core.terms import LOSSES, Loss
from ..filters.color import rgb_to_yuv
from .gradients import differences
from .pixel import pair


def profile_similarity(prediction: Tensor, target: Tensor) -> Tensor:
    """sum_c (1/H tr(x_c y_c^T) + 1/W tr(x_c^T y_c)) of rows, then columns, of length 1; mean over the batch.

    Of (B, C, H, W). Profiles shorter than 1e-3, a quarter of a level of 8 bits, count as of that length.
    """
    rows, columns = (F.cosine_similarity(prediction, target, dim=dim, eps=1e-3).mean(dim=-1) for dim in (-1, -2))
    return (rows + columns).sum(dim=-1).mean()


def gradient_profile(prediction: Tensor, target: Tensor) -> Tensor:
    """-S of the horizontal, plus that of the vertical gradients."""
    x, y = (differences(image) for image in (prediction, target))
    return -profile_similarity(x[0], y[0]) - profile_similarity(x[1], y[1])


@LOSSES.register("gpl")
class GradientProfile(Loss):
    """Gradient profile loss: edges are to be where the target has them."""

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """A negative scalar, of (B, C, H, W)."""
        return gradient_profile(*pair(prediction, target))


@LOSSES.register("cpl")
class ColourProfile(Loss):
    """Colour profile loss: the profiles in RGB, in YUV, and of the gradients in YUV."""

    def __init__(self, rgb: bool = True, yuv: bool = True, yuvgrad: bool = True) -> None:
        """Which of the three count; YUV needs images of three channels.

        Raises:
            ValueError: none does.
        """
        super().__init__()
        if not (rgb or yuv or yuvgrad):
            raise ValueError("rgb, yuv, yuvgrad: expected at least one to be true, found none")
        self.rgb, self.yuv, self.yuvgrad = rgb, yuv, yuvgrad

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """A scalar, of RGB (B, 3, H, W) in [0, 1]; without ``yuv`` and ``yuvgrad``, of any (B, C, H, W)."""
        x, y = pair(prediction, target)
        total = x.new_zeros(())
        if self.rgb:
            total = total - profile_similarity(x, y)
        if self.yuv or self.yuvgrad:
            x, y = rgb_to_yuv(x), rgb_to_yuv(y)
        if self.yuv:
            total = total - profile_similarity(x, y)
        return total + gradient_profile(x, y) if self.yuvgrad else total
