"""The edges that EdgeConnect learns to complete: Canny's, as scikit-image finds them.

Nazeri et al., "EdgeConnect", 2019, section 4.1: https://arxiv.org/abs/1901.00212; J. Canny, IEEE TPAMI 8(6), 1986. The
thresholds are those of scikit-image, 0.1 and 0.2. Nothing differs from https://github.com/knazeri/edge-connect.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

WEIGHTS = (0.2125, 0.7154, 0.0721)
"""Of R, G and B in gray, as in scikit-image."""


def gray(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(H, W) in [0, 1] of (H, W, 3), RGB, uint8."""
    red, green, blue = np.moveaxis(image / 255, 2, 0)
    mean: NDArray[np.float64] = WEIGHTS[0] * red + WEIGHTS[1] * green + WEIGHTS[2] * blue
    return mean


def canny(gray: NDArray[np.float64], sigma: float, known: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """Where there are edges in ``gray`` (H, W), smoothed by a Gaussian of ``sigma`` pixels.

    Of a picture that is not ``known`` everywhere, only what is known has edges, and the border of it has none.
    """
    from skimage.feature import canny as edges_of

    found: NDArray[Any] = edges_of(gray, sigma=sigma, mask=known)
    return found
