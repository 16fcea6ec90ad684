"""Noise as a camera makes it: the image is taken back to what the sensor saw, which is noisy, and developed again.

T. Brooks et al., "Unprocessing Images for Learned Raw Denoising", CVPR 2019, https://arxiv.org/abs/1811.11127 (numbers
of its appendix and of the published code); H. Malvar, L. He and R. Cutler, "High-quality linear interpolation for
demosaicing of Bayer-patterned color images", ICASSP 2004. What differs: red and blue gains share a range.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import cv2
import numpy as np

from . import DEGRADATIONS
from .fields import draw_offset, normal
from .operation import Array, Degradation, Operation, Size

Demosaicing = Literal["malvar", "bilinear", "edge_aware"]
White = Literal["D50", "D65"]
Gains = tuple[float, float, float]

_CAMERAS = np.array(
    [
        [[1.0234, -0.2969, -0.2266], [-0.5625, 1.6328, -0.0469], [-0.0703, 0.2188, 0.6406]],
        [[0.4913, -0.0541, -0.0202], [-0.6130, 1.3513, 0.2906], [-0.1564, 0.2151, 0.7183]],
        [[0.8380, -0.2630, -0.0639], [-0.2887, 1.0725, 0.2496], [-0.0627, 0.1427, 0.5438]],
        [[0.6596, -0.2079, -0.0562], [-0.4782, 1.3016, 0.1933], [-0.0970, 0.1581, 0.5181]],
    ]
)
"""From CIE XYZ to the colours of the four cameras of the Darmstadt noise dataset."""
_TO_XYZ = {
    "D50": [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]],
    "D65": [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]],
}
"""From linear sRGB to XYZ, for the white of the name."""
_SITES = {(0, 0): 0, (0, 1): 1, (1, 0): 1, (1, 1): 2}
"""The channel of each pixel of a cell: RGGB, which OpenCV calls BG, after the second row and column."""
_GAMMA = 2.2
_BRIGHT = 0.9
"""Linear brightness from which on gains are undone less and less, so that white stays white."""
_TONES = 1 << 16
"""Of the table that undoes tones."""
_MALVAR = (
    np.array(
        [
            [[0, 0, -2, 0, 0], [0, 0, 4, 0, 0], [-2, 4, 8, 4, -2], [0, 0, 4, 0, 0], [0, 0, -2, 0, 0]],
            [[0, 0, 1, 0, 0], [0, -2, 0, -2, 0], [-2, 8, 10, 8, -2], [0, -2, 0, -2, 0], [0, 0, 1, 0, 0]],
            [[0, 0, -2, 0, 0], [0, -2, 8, -2, 0], [1, 0, 10, 0, 1], [0, -2, 8, -2, 0], [0, 0, -2, 0, 0]],
            [[0, 0, -3, 0, 0], [0, 4, 0, 4, 0], [-3, 0, 12, 0, -3], [0, 4, 0, 4, 0], [0, 0, -3, 0, 0]],
        ],
        np.float32,
    )
    / 16
)
"""Figure 2: green at red or blue; red or blue at green between two of a row, and of a column; and red at blue."""


@DEGRADATIONS.register("camera_noise")
class CameraNoise(Degradation):
    """Shot and read noise of a Bayer sensor, with all that comes after it; on the host only."""

    def __init__(
        self,
        demosaic: Demosaicing = "malvar",
        white: White = "D50",
        gains: tuple[float, float] = (1.2, 2.4),
        shot: tuple[float, float] = (0.0001, 0.012),
    ) -> None:
        """A camera is a random mixture of four.

        Args:
            demosaic: how the missing colours of a pixel are found: Malvar's filters, or OpenCV's two ways.
            white: what the camera's colours are balanced for.
            gains: range of the white balance's gains of red and blue.
            shot: range of the shot noise, its variance where the sensor is full; read noise is as cameras have it then.

        Raises:
            ValueError: there is no such demosaicing or white, or a range is none.
        """
        if demosaic not in ("malvar", "bilinear", "edge_aware"):
            raise ValueError(f"demosaic: expected malvar, bilinear or edge_aware, found {demosaic!r}")
        if white not in _TO_XYZ:
            raise ValueError(f"white: expected D50 or D65, found {white!r}")
        for name, (low, high) in (("gains", gains), ("shot", shot)):
            if not 0 < low <= high:
                raise ValueError(f"{name}: expected a range above 0, lower end first, found {(low, high)}")
        self.demosaic, self.white, self.gains, self.shot = demosaic, white, gains, shot

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> Operation:
        """Shares of the cameras, brightness, gains of red and blue, shot noise, read noise, window: ten numbers."""
        del size, goal
        shares = rng.random(4)
        camera = np.tensordot(shares / shares.sum(), _CAMERAS, 1) @ _TO_XYZ[self.white]
        brightness = 1 / np.clip(rng.normal(0.8, 0.1), 0.5, 1.1)
        red, blue = rng.uniform(*self.gains, 2)
        shot = rng.uniform(*np.log(self.shot))
        read = rng.normal(2.18 * shot + 1.2, 0.26)
        return SensorNoise(
            tuple((camera / camera.sum(axis=1, keepdims=True)).ravel().tolist()),
            (float(brightness * red), float(brightness), float(brightness * blue)),
            float(np.exp(shot)),
            float(np.exp(read)),
            self.demosaic,
            draw_offset(rng),
        )


@dataclass(frozen=True)
class SensorNoise(Operation):
    """What one camera makes of what the image shows."""

    camera: tuple[float, ...]
    """From linear sRGB to the camera's colours: nine numbers, row by row."""
    gains: Gains
    """Of red, green and blue."""
    shot: float
    """Variance of the noise where the sensor is full, ..."""
    read: float
    """... and where it is dark."""
    demosaic: Demosaicing
    offset: int
    """Of the window of the noise."""

    def on_host(self, image: Array) -> Array:
        """In [0, 1]; a gray image is one of three equal channels, and becomes the luma of the result."""
        gray = image.shape[2] == 1
        camera = np.reshape(self.camera, (3, 3))
        colours = cv2.transform(_untoned(cv2.merge([image] * 3) if gray else image), camera)
        raw = mosaic(colours, self.gains)
        deviation = np.sqrt(raw * np.float32(self.shot) + np.float32(self.read))
        raw += deviation * normal(self.offset, (*raw.shape, 1))[:, :, 0]
        for (row, column), channel in _SITES.items():
            raw[row::2, column::2] *= np.float32(self.gains[channel])
        colours = _DEMOSAICINGS[self.demosaic](np.clip(raw, 0, 1, out=raw))
        developed = _toned(cv2.transform(colours, np.linalg.inv(camera)))
        return cv2.cvtColor(developed, cv2.COLOR_RGB2GRAY)[:, :, None] if gray else developed

    def __str__(self) -> str:
        """With both kinds of noise, as deviations in levels of 255."""
        return f"camera {255 * self.shot**0.5:.1f} {255 * self.read**0.5:.1f}"


def mosaic(colours: Array, gains: Gains) -> Array:
    """(h, w) of the linear camera colours (h, w, 3): one colour for each pixel, before the gains.

    Where a pixel is bright its gain is partly kept, so that what is white after the gains is as white as before them.
    """
    height, width = colours.shape[:2]
    bright = cv2.transform(colours, np.full((1, 3), 1 / 3)).reshape(height, width)
    kept = np.square(np.maximum(bright - np.float32(_BRIGHT), 0) / np.float32(1 - _BRIGHT))
    raw = np.empty((height, width), np.float32)
    for (row, column), channel in _SITES.items():
        undone, keep = np.float32(1 / gains[channel]), kept[row::2, column::2]
        raw[row::2, column::2] = colours[row::2, column::2, channel] * np.maximum(keep + (1 - keep) * undone, undone)
    return np.clip(raw, 0, 1, out=raw)


def malvar(raw: Array) -> Array:
    """(h, w, 3) of (h, w) in the order RGGB, which is mirrored at its borders."""
    green, across, along, diagonal = (cv2.filter2D(raw, -1, k, borderType=cv2.BORDER_REFLECT_101) for k in _MALVAR)
    colours = np.empty((*raw.shape, 3), np.float32)
    found = {
        (0, 0): (raw, green, diagonal),
        (0, 1): (across, raw, along),
        (1, 0): (along, raw, across),
        (1, 1): (diagonal, green, raw),
    }
    for (row, column), planes in found.items():
        for channel, plane in enumerate(planes):
            colours[row::2, column::2, channel] = plane[row::2, column::2]
    return colours


def bilinear(raw: Array) -> Array:
    """As ``malvar``, by OpenCV's means of the neighbours, with 16 bits."""
    return _opencv(raw, cv2.COLOR_BayerBG2RGB)


def edge_aware(raw: Array) -> Array:
    """As ``malvar``, by OpenCV's means along edges, with 16 bits."""
    return _opencv(raw, cv2.COLOR_BayerBG2RGB_EA)


_DEMOSAICINGS = {"malvar": malvar, "bilinear": bilinear, "edge_aware": edge_aware}


def _opencv(raw: Array, code: int) -> Array:
    colours = cv2.cvtColor(np.rint(raw * np.float32(65535)).astype(np.uint16), code)
    return np.divide(colours, np.float32(65535), dtype=np.float32)


def _untoned(image: Array) -> Array:
    """Linear, of an image with tone curve and gamma."""
    return _linear().take((image * np.float32(_TONES - 1) + np.float32(0.5)).astype(np.intp))


@cache
def _linear() -> Array:
    """The inverse of the tone curve 3 x^2 - 2 x^3, then of the gamma, for all values of so many steps."""
    shown = np.linspace(0, 1, _TONES)
    return np.float32(np.maximum(0.5 - np.sin(np.arcsin(1 - 2 * shown) / 3), 0) ** _GAMMA)


def _toned(linear: Array) -> Array:
    """With gamma and tone curve, in [0, 1]."""
    values = np.power(np.clip(linear, 0, 1, out=linear), np.float32(1 / _GAMMA), out=linear)
    return values * values * (3 - 2 * values)
