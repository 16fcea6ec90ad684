"""By how much one image is shifted against another that shows the same: to hundredths of a pixel.

Phase correlation finds the whole pixels: C. Kuglin and D. Hines, "The phase correlation image alignment method", 1975;
spectra are divided by the square root of their magnitude only, as frequencies without signal shall not count alike.
Least squares on the gradient find the rest: B. Lucas and T. Kanade, "An iterative image registration technique", 1981.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

_STEPS = 20
_ENOUGH = 1e-3
_LONGEST = 2.0
"""Pixels of one step: the gradient tells little about what is further away."""


class Shift(NamedTuple):
    """The second image shows at (x + dx, y + dy) what the first shows at (x, y)."""

    dx: float
    dy: float
    correlation: float
    """Of what the images show once they are aligned, -1 to 1."""
    contrast: float
    """Standard deviation, in levels of 255, of what was compared in the first image; below 1 nothing can be said."""


def find_shift(first: Array, second: Array, blur: float = 1.0) -> Shift:
    """The shift of ``second`` against ``first``, both (H, W) float32 in 0..255, at least 16 x 16.

    ``blur`` is the scale by which one of them was enlarged: details finer than that are in one of them only. Slopes
    wider than a few of them are left out, too, because they tell little of a place and much of the light.

    Raises:
        ValueError: the sizes differ, or are too small.
    """
    if first.shape != second.shape or first.ndim != 2 or min(first.shape) < 16:
        raise ValueError(f"expected two images of one size from 16x16 on, found {first.shape} and {second.shape}")
    a, b = (_band(image, blur) for image in (first, second))
    window = cv2.createHanningWindow(a.shape[::-1], cv2.CV_32F)
    gradients = np.gradient(a)
    gy, gx = gradients
    normal = np.array(
        [[_sum(window * gx * gx), _sum(window * gx * gy)], [_sum(window * gx * gy), _sum(window * gy * gy)]]
    )
    contrast = float(np.sqrt(_sum(window * a * a) / _sum(window)))
    if np.linalg.cond(normal) > 1e6:
        return Shift(0.0, 0.0, 0.0, contrast)
    shift = _whole(a * window, b * window)
    for _ in range(_STEPS):
        moved = _moved(b, shift)
        error = moved * (_sum(window * moved * a) / max(_sum(window * moved * moved), 1e-9)) - a
        step = np.linalg.solve(normal, [_sum(window * gx * error), _sum(window * gy * error)])
        shift = shift - np.clip(step, -_LONGEST, _LONGEST)
        if np.abs(step).max() < _ENOUGH:
            break
    moved = _moved(b, shift)
    energy = _sum(window * a * a) * _sum(window * moved * moved)
    return Shift(float(shift[0]), float(shift[1]), _sum(window * moved * a) / max(energy, 1e-9) ** 0.5, contrast)


def _sum(values: Array) -> float:
    return float(values.sum(dtype=np.float64))


def _band(image: Array, blur: float) -> Array:
    fine = cv2.GaussianBlur(image, (0, 0), 0.6 * blur)
    return fine - cv2.GaussianBlur(image, (0, 0), 4 * blur)


def _whole(a: Array, b: Array) -> Array:
    """(dx, dy) in whole pixels."""
    cross = np.conj(np.fft.rfft2(a)) * np.fft.rfft2(b)
    peak = np.fft.irfft2(cross / (np.sqrt(np.abs(cross)) + 1e-9), a.shape)
    dy, dx = np.unravel_index(int(peak.argmax()), peak.shape)
    return np.array([n - side if n > side // 2 else n for n, side in ((dx, a.shape[1]), (dy, a.shape[0]))], np.float64)


def _moved(image: Array, shift: Array) -> Array:
    """The image, ``shift`` taken back."""
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, matrix, image.shape[::-1], flags=flags, borderMode=cv2.BORDER_REFLECT)
