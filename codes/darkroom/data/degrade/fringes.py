"""Chromatic aberration: coloured fringes, as a lens makes them that refracts each colour in its own way.

The enlargements, the blur along the radius and the shifts are those of https://github.com/yoonsikp/kromo. What differs:
images are enlarged by linear interpolation, and the blur, there one of whole pixels in polar coordinates, is here the
mean of several enlargements.
"""

from __future__ import annotations

import cv2
import numpy as np

from . import DEGRADATIONS
from .operation import Array, Degradation, OnHost, Operation, Size

_ENLARGED = (0.0, 0.018, 0.044)
"""By how much red, green and blue are enlarged, at strength 1."""
_SMEARED = (0.0085, 0.0102, 0.0119)
"""Deviations of what they are enlarged by, at strength 1: a radial blur of that many pixels for one of radius."""
_TAPS = np.linspace(-2, 2, 5)
"""Where these are sampled."""


@DEGRADATIONS.register("fringes")
class Fringes(Degradation):
    """Chromatic aberration: green is enlarged more than red, and blue more than green, around the centre."""

    def __init__(
        self,
        strength: tuple[float, float] = (1.0, 1.0),
        jitter: tuple[float, float] = (0.0, 0.0),
        radial_blur: bool = True,
    ) -> None:
        """Gray images have none.

        Args:
            strength: its range; 1 enlarges green by 1.8 % and blue by 4.4 %.
            jitter: range of the pixels by which red moves left and blue moves right.
            radial_blur: whether they are blurred along the radius, the more the farther from the centre.

        Raises:
            ValueError: a range is none, or the strength is not in 0 to 10.
        """
        if not 0 <= strength[0] <= strength[1] <= 10 or jitter[0] > jitter[1]:
            raise ValueError(
                "expected a range of strength in 0 to 10 and a range of jitter, lower ends first, found "
                f"{strength} and {jitter}"
            )
        self.strength, self.jitter, self.radial_blur = strength, jitter, radial_blur

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> Operation:
        """Strength and jitter."""
        del size, goal
        strength, jitter = rng.uniform(*self.strength), rng.uniform(*self.jitter)
        return OnHost(f"fringes {strength:.2f} {jitter:.1f}", fringes, (strength, jitter, self.radial_blur))


def fringes(image: Array, strength: float, jitter: float, radial_blur: bool) -> Array:
    """The image (H, W, 3) as a lens shows it that refracts each colour in its own way; a gray one as it is."""
    if image.shape[2] == 1:
        return image
    taps = _TAPS if radial_blur else np.zeros(1)
    weights = np.exp(-(taps**2) / 2)
    planes = []
    for plane, enlarged, smeared, side in zip(cv2.split(image), _ENLARGED, _SMEARED, (1, 0, -1), strict=True):
        scales = 1 + strength * (enlarged + smeared * taps)
        parts = [_scaled(plane, scale, side * jitter) for scale in scales]
        planes.append(np.einsum("t,thw->hw", np.float32(weights / weights.sum()), np.stack(parts)))
    return np.stack(planes, axis=2).clip(0, 1)


def _scaled(plane: Array, scale: float, shift: float) -> Array:
    """Enlarged around the centre and moved to the left, by linear interpolation; it goes on as it ends."""
    y, x = ((side - 1) / 2 * (1 - 1 / scale) for side in plane.shape)
    places = np.array([[1 / scale, 0, x + shift], [0, 1 / scale, y]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(plane, places, plane.shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
