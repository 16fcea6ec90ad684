"""Structural similarity of windows: what the metric and the losses of that name share.

Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity",
https://doi.org/10.1109/TIP.2003.819861; of several scales: Wang et al. 2003,
https://doi.org/10.1109/ACSSC.2003.1292216.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import Tensor

SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of MS-SSIM, full size first: Wang et al. 2003, section 3.2."""


def gaussian_window(size: int, sigma: float) -> list[float]:
    """``size`` weights with a sum of 1, the largest in the middle."""
    bell = [math.exp(-((n - (size - 1) / 2) ** 2) / (2 * sigma**2)) for n in range(size)]
    return [value / sum(bell) for value in bell]


def similarity(moments: Iterable[Tensor], data_range: float = 1.0) -> tuple[Tensor, Tensor]:
    """Of the luminance, eq. 6, and of the structure, eq. 9 and 10 with C3 = C2 / 2; SSIM, eq. 13, is their product.

    Place by place, of the windows' means of x, y, x^2, y^2 and x y. Variances that rounding made negative count as 0.
    """
    mx, my, xx, yy, xy = moments
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    variances = (xx - mx * mx).clamp_min(0) + (yy - my * my).clamp_min(0)
    luminance = (2 * mx * my + c1) / (mx * mx + my * my + c1)
    return luminance, (2 * (xy - mx * my) + c2) / (variances + c2)
