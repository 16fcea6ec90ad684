"""Structural similarity as a loss, 1 - SSIM: of one scale and of several.

SSIM: Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861; MS-SSIM: Wang et al. 2003,
https://doi.org/10.1109/ACSSC.2003.1292216. As in traiNNer, some pixels at the borders do not count, and in MS-SSIM the
window shrinks with the image and negative similarity counts as 0. What differs from traiNNer: a power of a similarity
near 0 has no exploding gradient.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.terms import LOSSES, Loss
from ..filters.similarity import SCALES, gaussian_window, similarity
from .pixel import pair


def ssim(
    prediction: Tensor, target: Tensor, window: Tensor, data_range: float = 1.0, *, padding: bool = False
) -> tuple[Tensor, Tensor]:
    """SSIM of each channel of (B, C, H, W), and its factor without luminance: (B, C) each. Wang et al. 2004, eq. 13.

    The mean over all places where the window (K,) fits, with ``padding`` over all pixels, black beyond the border.
    """
    x, y = pair(prediction, target)
    planes = torch.cat([x, y, x * x, y * y, x * y], dim=1)
    luminance, structure = similarity(_windowed(planes, window, padding=padding).chunk(5, dim=1), data_range)
    return (luminance * structure).mean(dim=(2, 3)), structure.mean(dim=(2, 3))


def _windowed(planes: Tensor, window: Tensor, *, padding: bool) -> Tensor:
    """The separable window on each channel of (B, C, H, W).

    Variances are small differences of its large means, which TF32 could not tell: contiguous channels, more than one,
    have a kernel of true float32 on a GPU.
    """
    count, size = planes.shape[1], len(window)
    weight, margin = window.to(planes.dtype), size // 2 if padding else 0
    rows = F.conv2d(
        planes.contiguous(), weight.reshape(1, 1, -1, 1).expand(count, 1, -1, 1), padding=(margin, 0), groups=count
    )
    return F.conv2d(rows, weight.reshape(1, 1, 1, -1).expand(count, 1, 1, -1), padding=(0, margin), groups=count)


def ms_ssim(
    prediction: Tensor,
    target: Tensor,
    windows: Tensor,
    weights: tuple[float, ...] = SCALES,
    data_range: float = 1.0,
    *,
    repeat_last: bool,
    per_channel: bool = False,
) -> Tensor:
    """prod_j cs_j^w_j ssim_M^w_M over the scales j < M, each half as large as the one before: (B,) of (B, C, H, W).

    Wang et al. 2003, eq. 7, with one exponent per scale; cs and ssim are means over the channels, or with
    ``per_channel`` the result is the mean of each channel's product. ``windows`` has the window of n weights in row
    n // 2. With ``repeat_last``, ssim_M is a factor of each of the M - 1 others.
    """
    x, y = pair(prediction, target)
    *finer, last = weights
    product = x.new_ones(1)
    for weight in finer:
        _, structure = ssim(x, y, _fitting(windows, x), data_range)
        product = product * bounded_power(_gray(structure, per_channel=per_channel), weight)
        x, y = _halved(x), _halved(y)
    index, _ = ssim(x, y, _fitting(windows, x), data_range)
    last = last * len(finer) if repeat_last else last
    return (product * bounded_power(_gray(index, per_channel=per_channel), last)).mean(dim=1)


def _gray(values: Tensor, *, per_channel: bool) -> Tensor:
    """(B, C), or their mean over the channels (B, 1)."""
    return values if per_channel else values.mean(dim=1, keepdim=True)


def bounded_power(base: Tensor, exponent: float, least: float = 1e-4) -> Tensor:
    """base^exponent, but from 0 to ``least`` a straight line, whose slope is finite, and 0 below."""
    return base.clamp_min(least) ** exponent * (base / least).clamp(0, 1)


def _halved(image: Tensor) -> Tensor:
    """Means of 2 x 2 pixels; an odd side has a black line before it."""
    height, width = image.shape[-2:]
    return F.avg_pool2d(image, 2, padding=(height % 2, width % 2))


def _fitting(windows: Tensor, image: Tensor) -> Tensor:
    """The largest of the windows that is not larger than the image."""
    row = min(len(windows) - 1, (min(image.shape[-2:]) - 1) // 2)
    return windows[row, : 2 * row + 1]


def _windows(size: int, sigma: float) -> Tensor:
    """All windows up to an odd size, row by row; sigma shrinks with them."""
    rows = [gaussian_window(n, sigma * n / size) for n in range(1, size + 1, 2)]
    return torch.tensor([[*row, *(0.0,) * (size - len(row))] for row in rows])


@LOSSES.register("ssim")
class SSIM(Loss):
    """1 - SSIM, the mean over images, channels and places."""

    unit_range: ClassVar[bool] = True
    full_precision: ClassVar[bool] = True
    window: Tensor

    def __init__(
        self,
        window_size: int = 11,
        window_sigma: float = 1.5,
        data_range: float = 1.0,
        shave: int = 4,
        padding: bool = False,
    ) -> None:
        """The Gaussian window has an odd size; ``shave`` pixels at each border do not count.

        ``data_range`` is the highest value less the lowest. ``padding`` lets the window reach beyond the border.

        Raises:
            ValueError: one of them cannot be.
        """
        super().__init__()
        _check(window_size, window_sigma, data_range, shave)
        window = torch.tensor(gaussian_window(window_size, window_sigma))
        self.register_buffer("window", window, persistent=False)
        self.data_range, self.shave, self.padding = data_range, shave, padding

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """A scalar from 0 to 2, of (B, C, H, W) with sides in which the window fits after shaving."""
        x, y = shaved(prediction, target, self.shave, least=1 if self.padding else len(self.window))
        index, _ = ssim(x, y, self.window, self.data_range, padding=self.padding)
        return 1 - index.mean()


@LOSSES.register("ms-ssim")
class MSSSIM(Loss):
    """1 - MS-SSIM, the mean over images."""

    unit_range: ClassVar[bool] = True
    full_precision: ClassVar[bool] = True
    windows: Tensor

    def __init__(
        self,
        window_size: int = 11,
        window_sigma: float = 1.5,
        data_range: float = 1.0,
        shave: int = 4,
        weights: tuple[float, ...] = SCALES,
        repeat_last: bool = False,
        per_channel: bool = False,
    ) -> None:
        """As for SSIM; ``weights`` are the exponents of the scales, full size first.

        ``repeat_last`` counts the last scale as often as there are others, as traiNNer does; the paper counts it once.
        ``per_channel`` multiplies the scales of each channel before the mean, as PPON's authors do, who also have
        ``shave`` 0.

        Raises:
            ValueError: one of them cannot be.
        """
        super().__init__()
        _check(window_size, window_sigma, data_range, shave)
        if len(weights) < 2 or min(weights) <= 0:
            raise ValueError(f"weights: expected at least two positive numbers, found {list(weights)}")
        self.register_buffer("windows", _windows(window_size, window_sigma), persistent=False)
        self.data_range, self.shave = data_range, shave
        self.weights, self.repeat_last, self.per_channel = tuple(weights), repeat_last, per_channel

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """A scalar from 0 to 1, of (B, C, H, W) of which shaving leaves something."""
        x, y = shaved(prediction, target, self.shave, least=1)
        form = {"repeat_last": self.repeat_last, "per_channel": self.per_channel}
        return 1 - ms_ssim(x, y, self.windows, self.weights, self.data_range, **form).mean()


def _check(window_size: int, window_sigma: float, data_range: float, shave: int) -> None:
    if window_size < 1 or window_size % 2 == 0:
        raise ValueError(f"window_size: expected a positive odd number, found {window_size}")
    if window_sigma <= 0:
        raise ValueError(f"window_sigma: expected a positive number, found {window_sigma}")
    if data_range <= 0:
        raise ValueError(f"data_range: expected a positive number, found {data_range}")
    if shave < 0:
        raise ValueError(f"shave: expected at least 0, found {shave}")


def shaved(prediction: Tensor, target: Tensor, border: int, *, least: int) -> tuple[Tensor, Tensor]:
    """Both (B, C, H, W) without ``border`` pixels on each side.

    Raises:
        ValueError: they differ in shape, or sides shorter than ``least`` would be left.
    """
    x, y = pair(prediction, target)
    height, width = x.shape[-2:]
    least += 2 * border
    if min(height, width) < least:
        raise ValueError(f"sides of at least {least} pixels are needed where shave is {border}, found {height, width}")
    inside = (..., slice(border, height - border), slice(border, width - border))
    return x[inside], y[inside]
