"""Resizing an image to a size, by any kernel: the operations. What draws them is in ``resizing``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor

from ...filters.resize_taps import ENLARGING_AREA, Line, joined_taps, kernel_name, sum_taps, taps
from .operation import Array, Operation, Ragged, Size

_CV2 = {
    "nearest": cv2.INTER_NEAREST,
    "area": cv2.INTER_AREA,
    "cv2_linear": cv2.INTER_LINEAR,
    "cv2_linear_exact": cv2.INTER_LINEAR_EXACT,
    "cv2_cubic": cv2.INTER_CUBIC,
    "cv2_lanczos4": cv2.INTER_LANCZOS4,
}


@dataclass(frozen=True)
class Resize(Operation):
    """Resizes to exactly the size ``goal``. Host and device agree to 1e-5."""

    kernel: str
    """One of ``filters.resize_taps.NAMES``."""
    goal: Size
    sigma: float = 0.0
    """Of the Gaussian that ``nearest_aligned`` has, in pixels of the image as it comes."""

    def __str__(self) -> str:
        """As ``cubic 40x48``, width before height."""
        blur = f" {self.sigma:.2f}" if self.sigma else ""
        return f"{self.kernel}{blur} {self.goal.width}x{self.goal.height}"

    def size(self, size: Size) -> Size:
        """The goal."""
        del size
        return self.goal

    def on_host(self, image: Array) -> Array:
        """By OpenCV where it has the kernel, else by sums along both axes."""
        kernel, (height, width) = kernel_name(self.kernel), self.goal
        grows = height >= image.shape[0] and width >= image.shape[1]
        if kernel == "linear" and grows:
            kernel = "cv2_linear"  # the same, where there is nothing to antialias
        if kernel in _CV2:
            done = cv2.resize(image, (width, height), interpolation=_CV2[kernel])
        else:
            rows, columns = self._lines(Size(*image.shape[:2]))
            done = cv2.transpose(_along_rows(cv2.transpose(_along_rows(image, rows)), columns))
        return np.clip(done, 0, 1, out=done).reshape(height, width, image.shape[2])

    def _lines(self, size: Size) -> tuple[Line, Line]:
        """Rows and columns."""
        kernel = kernel_name(self.kernel)
        if kernel == "area" and (self.goal.height > size.height or self.goal.width > size.width):
            kernel = ENLARGING_AREA
        rows, columns = (Line(kernel, n, m, self.sigma) for n, m in zip(size, self.goal, strict=True))
        return rows, columns

    @staticmethod
    def on_device(operations: Sequence[Resize], images: Ragged) -> Ragged:
        """All at once, whatever their sizes and kernels."""
        lines = [o._lines(size) for o, size in zip(operations, images.sizes, strict=True)]
        rows, columns = zip(*lines, strict=True)
        tall = _along_all_rows(images.images.transpose(1, 2), rows)
        wide = _along_all_rows(tall.transpose(1, 3), columns).clamp_(0, 1)
        return Ragged(wide.permute(0, 2, 3, 1).contiguous(), [o.goal for o in operations])


def _along_rows(image: Array, line: Line) -> Array:
    """(H', W, C) of (H, W, C)."""
    table = torch.from_numpy(np.ascontiguousarray(image)).view(line.length, -1)
    return sum_taps(table, *_tensors(line)).numpy().reshape(line.out, *image.shape[1:])


@lru_cache(maxsize=1024)  # taps take as long as the resize itself, and in Real-ESRGAN three of four lines come again
def _tensors(line: Line) -> tuple[Tensor, Tensor, Tensor]:
    """The taps of one line, as ``sum_taps`` takes them."""
    pixels, weights = taps(line)
    starts = np.arange(0, pixels.size, pixels.shape[1], dtype=np.int32)
    flat = pixels.astype(np.int32).ravel(), weights.ravel(), starts  # as numpy, which begins such small work sooner
    return torch.from_numpy(flat[0]), torch.from_numpy(flat[1]), torch.from_numpy(flat[2])


def _along_all_rows(images: Tensor, lines: Sequence[Line]) -> Tensor:
    """(B, H', C, W) of (B, H, C, W), with a line for each of the B."""
    batch, height, channels, width = images.shape
    table = images.reshape(batch * height, channels * width)
    arguments = (torch.from_numpy(array).to(images.device) for array in joined_taps(lines, height))
    return sum_taps(table, *arguments).view(batch, -1, channels, width)


@dataclass(frozen=True)
class DownUp(Operation):
    """Resizes twice, in most cases down and up again."""

    first: Resize
    second: Resize

    def __str__(self) -> str:
        """Both."""
        return f"{self.first}, {self.second}"

    def size(self, size: Size) -> Size:
        """Of the second."""
        del size
        return self.second.goal

    def on_host(self, image: Array) -> Array:
        """One, then the other."""
        return self.second.on_host(self.first.on_host(image))

    @staticmethod
    def on_device(operations: Sequence[DownUp], images: Ragged) -> Ragged:
        """All first ones, then all second ones."""
        return Resize.on_device([o.second for o in operations], Resize.on_device([o.first for o in operations], images))
