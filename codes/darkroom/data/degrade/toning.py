"""Contrast, sharpness and edges.

N. Limare et al., "Simplest Color Balance", Image Processing On Line, 2011 (auto levels); K. Zuiderveld, "Contrast
Limited Adaptive Histogram Equalization", Graphics Gems IV, 1994, as OpenCV has it; J. Canny, "A Computational Approach
to Edge Detection", IEEE TPAMI 8(6), 1986, as OpenCV has it, with thresholds around the median.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from . import DEGRADATIONS
from .erasing import boxes
from .fixed import Fixed
from .operation import Array, Operation, Ragged

_LAPLACIAN = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], np.float32)


@DEGRADATIONS.register("auto_levels")
@dataclass(frozen=True)
class AutoLevels(Fixed):
    """Each channel stretched until some of its pixels are black, and as many white; one that is flat stays.

    Raises:
        ValueError: the percentage is out of its range.
    """

    percent: float = 10
    """How many pixels become black or white, half of them either."""

    def __post_init__(self) -> None:
        if not 0 <= self.percent < 100:
            raise ValueError(f"percent: expected 0 or more and less than 100, found {self.percent}")

    def cut(self, pixels: int) -> int:
        """How many of so many become black."""
        return int(pixels * self.percent / 200)

    def on_host(self, image: Array) -> Array:
        """From black to white."""
        values = image.reshape(-1, image.shape[2])
        cut = self.cut(len(values))
        low, high = np.partition(values, (cut, len(values) - 1 - cut), axis=0)[[cut, len(values) - 1 - cut]]
        room = high - low
        return np.where(room > 0, (image - low) / np.where(room > 0, room, 1), image).clip(0, 1)

    @staticmethod
    def on_device(operations: Sequence[AutoLevels], images: Ragged) -> Ragged:
        """The same to the last bit."""
        given = images.images
        ordered = (
            given.masked_fill(~boxes(given, [(0, 0, *size) for size in images.sizes]), 2).flatten(2).sort(2).values
        )
        counts = [height * width for height, width in images.sizes]
        cuts = [operation.cut(count) for operation, count in zip(operations, counts, strict=True)]
        ends = torch.tensor([[c, n - 1 - c] for c, n in zip(cuts, counts, strict=True)], device=given.device)
        low, high = ordered.gather(2, ends[:, None].expand(-1, given.shape[1], -1))[..., None, None].unbind(2)
        room = high - low
        stretched = (given - low) / room.where(room > 0, room.new_ones(()))
        return images._replace(images=stretched.where(room > 0, given).clamp(0, 1))

    def __str__(self) -> str:
        """With the percentage."""
        return f"levels {self.percent:g}"


@DEGRADATIONS.register("unsharp")
@dataclass(frozen=True)
class Unsharp(Fixed):
    """Sharpened: less of what a detail filter finds.

    Raises:
        ValueError: an option is out of its range.
    """

    algorithm: Literal["laplacian", "DoG"] = "laplacian"
    """The detail filter; DoG is a Gaussian of 5 pixels less one of 3."""
    blur: Literal["median", "gaussian"] | None = "median"
    """What the Laplacian is taken of."""
    kernel_size: int = 3
    """Of the blur."""
    strength: float = 0.3
    """Of the sharpening."""

    def __post_init__(self) -> None:
        if self.algorithm not in ("laplacian", "DoG") or self.blur not in ("median", "gaussian", None):
            raise ValueError(
                "expected an algorithm laplacian or DoG and a blur median, gaussian or null, found "
                f"{self.algorithm!r} and {self.blur!r}"
            )
        if self.kernel_size not in (1, 3, 5) or self.strength < 0:
            raise ValueError(
                f"expected a kernel_size of 1, 3 or 5 and a strength of 0 or more, found {self.kernel_size} and "
                f"{self.strength}"
            )

    @property
    def median(self) -> int:
        """Side of the median filter that comes first; 1 is none."""
        return self.kernel_size if (self.algorithm, self.blur) == ("laplacian", "median") else 1

    @property
    def detail(self) -> Array:
        """The detail filter (k, k)."""
        if self.algorithm == "DoG":
            return _gaussian(5) - np.pad(_gaussian(3), 1)
        if self.blur == "gaussian":
            return cv2.filter2D(np.pad(_gaussian(self.kernel_size), 1), -1, _LAPLACIAN, borderType=cv2.BORDER_CONSTANT)
        return _LAPLACIAN

    def on_host(self, image: Array) -> Array:
        """Beyond its borders the image goes on as it ends."""
        smooth = cv2.medianBlur(image, self.median) if self.median > 1 else image
        detail = cv2.filter2D(smooth, -1, self.detail, borderType=cv2.BORDER_REPLICATE).reshape(image.shape)
        return (image - np.float32(self.strength) * detail).clip(0, 1)

    @staticmethod
    def on_device(operations: Sequence[Unsharp], images: Ragged) -> Ragged:
        """The same to 1e-5; together if all are alike and have no median of 25."""
        first = operations[0]
        if first.median == 5 or any(operation != first for operation in operations):
            return Operation.on_device(operations, images)
        smooth = images._replace(images=_median_of_nine(images)) if first.median == 3 else images
        weights = first.detail
        detail = sum(w * shifted for w, shifted in zip(weights.flat, _shifted(smooth, len(weights)), strict=True) if w)
        return images._replace(images=(images.images - first.strength * detail).clamp(0, 1))

    def __str__(self) -> str:
        """With the strength."""
        return f"unsharp {self.strength:g}"


@DEGRADATIONS.register("clahe")
@dataclass(frozen=True)
class CLAHE(Fixed):
    """Histograms of tiles made flat, of the lightness of CIELAB, which is rounded to 8 bits.

    Raises:
        ValueError: an option is out of its range.
    """

    clip_limit: float = 4.0
    """The most that a level may have of the pixels of a tile, in mean shares of a level."""
    tile_grid_size: tuple[int, int] = (8, 8)
    """Tiles in a row, and in a column."""

    def __post_init__(self) -> None:
        if self.clip_limit <= 0 or min(self.tile_grid_size) < 1:
            raise ValueError(
                "expected a clip_limit of more than 0 and a tile_grid_size of 1 or more each, found "
                f"{self.clip_limit} and {self.tile_grid_size}"
            )

    def on_host(self, image: Array) -> Array:
        """A gray image is its own lightness."""
        if image.shape[2] == 1:
            return self._equalised(image)
        lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
        lab[:, :, 0] = 100 * self._equalised(lab[:, :, 0] / 100)
        return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB).clip(0, 1)

    def _equalised(self, plane: Array) -> Array:
        levels = cv2.createCLAHE(self.clip_limit, self.tile_grid_size).apply(_bytes(plane))
        return levels.reshape(plane.shape) / np.float32(255)

    def __str__(self) -> str:
        """With the limit."""
        return f"clahe {self.clip_limit:g}"


@DEGRADATIONS.register("canny")
@dataclass(frozen=True)
class CannyEdges(Fixed):
    """White edges on black, with thresholds around the median of all values.

    Raises:
        ValueError: the distance of the thresholds is negative.
    """

    sigma: float = 0.33
    """How far the thresholds are from the median, relative to it."""

    def __post_init__(self) -> None:
        if self.sigma < 0:
            raise ValueError(f"sigma: expected 0 or more, found {self.sigma}")

    def on_host(self, image: Array) -> Array:
        """The same edges in each channel; where they differ, those of the channel with the largest gradient."""
        pixels = _bytes(image)
        median = np.median(pixels)
        edges = cv2.Canny(pixels, max((1 - self.sigma) * median, 0), min((1 + self.sigma) * median, 255))
        return np.repeat(edges[:, :, None] / np.float32(255), image.shape[2], axis=2)

    def __str__(self) -> str:
        """With the distance of the thresholds."""
        return f"canny {self.sigma:g}"


def _median_of_nine(images: Ragged) -> Tensor:
    """(B, C, H, W): the median of the 3x3 pixels around each.

    It is the median of three: the largest least, the middle middle and the least largest value of the rows.
    """
    around = list(_shifted(images, 3))
    rows = around[:3], around[3:6], around[6:]
    least = reduce(torch.maximum, (reduce(torch.minimum, row) for row in rows))
    most = reduce(torch.minimum, (reduce(torch.maximum, row) for row in rows))
    return _middle(least, _middle(*(_middle(*row) for row in rows)), most)


def _middle(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return torch.maximum(torch.minimum(a, b), torch.minimum(torch.maximum(a, b), c))


def _shifted(images: Ragged, side: int) -> Iterator[Tensor]:
    """The images as seen from each place of a window of that ``side``; each goes on as it ends."""
    given, margin = images.images, side // 2
    reach = [torch.arange(-margin, length + margin, device=given.device) for length in given.shape[-2:]]
    ends = torch.tensor(images.sizes, device=given.device) - 1
    rows, columns = (places.clamp(min=0).minimum(end[:, None]) for places, end in zip(reach, ends.T, strict=True))
    samples = torch.arange(len(given), device=given.device)[:, None, None]
    extended = given.movedim(1, -1)[samples, rows[:, :, None], columns[:, None]].movedim(-1, 1)
    for y, x in np.ndindex(side, side):
        yield extended[..., y : y + given.shape[-2], x : x + given.shape[-1]]


def _gaussian(side: int) -> Array:
    """(k, k), as OpenCV has it for a kernel of that side."""
    line = cv2.getGaussianKernel(side, 0, cv2.CV_32F)
    return line @ line.T


def _bytes(values: Array) -> Array:
    """Rounded to 8 bits."""
    return np.rint(values * 255).astype(np.uint8)
