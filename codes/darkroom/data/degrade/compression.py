"""What files with losses leave of images: JPEG as libjpeg writes it, WebP as libwebp does, both through OpenCV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ...filters import jpeg
from ..augment import unit
from . import DEGRADATIONS
from .operation import Array, Degradation, Operation, Ragged, Size


@DEGRADATIONS.register("jpeg")
class JPEG(Degradation):
    """Written as a JPEG file and read again; colours at half the size (4:2:0), whatever the quality."""

    def __init__(self, quality: tuple[int, int] = (30, 95)) -> None:
        """Take the options.

        Args:
            quality: its range, both ends included.

        Raises:
            ValueError: the range is none, or not in 1 to 100.
        """
        _check(quality)
        self.quality = quality

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> Operation:
        """The quality."""
        del size, goal
        return ThroughJPEG(int(rng.integers(self.quality[0], self.quality[1] + 1)))


@dataclass(frozen=True)
class ThroughJPEG(Operation):
    """Writes a JPEG file and reads it."""

    quality: int

    def on_host(self, image: Array) -> Array:
        """Rounded to 8 bits before and after."""
        sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
        return _through(image, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, self.quality, *sampling])

    @staticmethod
    def on_device(operations: Sequence[ThroughJPEG], images: Ragged) -> Ragged:
        """The same levels of 8 bits, if OpenCV has libjpeg or libjpeg-turbo."""
        return images._replace(images=jpeg.jpeg(images.images, [o.quality for o in operations], images.sizes))

    def __str__(self) -> str:
        """With the quality."""
        return f"jpeg {self.quality}"


@DEGRADATIONS.register("webp")
class WebP(Degradation):
    """Written as a WebP file with losses and read again."""

    def __init__(self, quality: tuple[int, int] = (20, 90)) -> None:
        """Take the options.

        Args:
            quality: its range, both ends included.

        Raises:
            ValueError: the range is none, or not in 1 to 100.
        """
        _check(quality)
        self.quality = quality

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> Operation:
        """The quality."""
        del size, goal
        return ThroughWebP(int(rng.integers(self.quality[0], self.quality[1] + 1)))


@dataclass(frozen=True)
class ThroughWebP(Operation):
    """Writes a WebP file and reads it, on the host only."""

    quality: int

    def on_host(self, image: Array) -> Array:
        """Rounded to 8 bits before and after."""
        return _through(image, ".webp", [cv2.IMWRITE_WEBP_QUALITY, self.quality])

    def __str__(self) -> str:
        """With the quality."""
        return f"webp {self.quality}"


def _through(image: Array, suffix: str, settings: Sequence[int]) -> Array:
    """The image as a file of that kind shows it."""
    levels = cv2.convertScaleAbs(image, alpha=255)
    gray = image.shape[2] == 1
    _, file = cv2.imencode(suffix, levels if gray else cv2.cvtColor(levels, cv2.COLOR_RGB2BGR), settings)
    decoded = np.asarray(cv2.imdecode(file, cv2.IMREAD_GRAYSCALE if gray else cv2.IMREAD_COLOR))
    shown = decoded if gray else cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
    return unit(shown).reshape(image.shape)


def _check(quality: tuple[int, int]) -> None:
    if not 1 <= quality[0] <= quality[1] <= 100:
        raise ValueError(f"quality: expected a range in 1 to 100, lower end first, found {quality}")
