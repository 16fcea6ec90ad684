"""How much there is to see in an image: the entropy of its levels, and its sharpness."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from ..data.images import Picture, as_bytes

Array = np.ndarray[Any, np.dtype[Any]]


def gray(picture: Picture) -> Array:
    """(H, W) uint8, the luma of BT.601."""
    return as_bytes(picture.as_channels(1))[:, :, 0]


def entropy(levels: Array) -> float:
    """Of (H, W) uint8, in bits: 0 where all pixels are the same, 8 where all levels are equally frequent."""
    shares = np.bincount(levels.ravel(), minlength=256) / levels.size
    present = shares[shares > 0]
    return float(-(present * np.log2(present)).sum()) + 0.0  # of one level it is -0


def sharpness(levels: Array) -> float:
    """Variance of the Laplacian of (H, W) uint8: near 0 where an image is flat or blurred.

    J. Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000.
    """
    return float(cv2.Laplacian(levels, cv2.CV_32F).var())
