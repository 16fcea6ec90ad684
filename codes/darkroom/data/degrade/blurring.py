"""Blur by a kernel, whichever it is: one image with OpenCV or by a transform, a batch by transforms.

Real-ESRGAN (https://arxiv.org/abs/2107.10833) and its followers blur a batch with one kernel per image in the same way;
what differs: images may differ in size, too, and each is mirrored at its own border.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from .operation import Array, Operation, Ragged

_DIRECT = 11 * 11
"""Entries of the largest kernel for which sums are faster than transforms; OpenCV's limit is almost the same."""
_LARGE = math.inf if cv2.ipp.useIPP() else 128 * 128
"""Pixels of the smallest image for which the transforms here take less time than OpenCV's: none if it has Intel's."""


@dataclass(frozen=True, eq=False)
class Blur(Operation):
    """Every pixel becomes the mean of those around it, by the weights of a kernel (a correlation).

    At the border the image is mirrored, its outermost pixels once: ``dcb|abcd|cba``. It may be smaller than the kernel.
    Host and device differ by less than 2e-6.
    """

    kernel: Array
    """(h, w), of odd sides; sums to 1."""
    label: str
    """What it is, with its numbers."""

    def __post_init__(self) -> None:
        if self.kernel.ndim != 2 or not all(side % 2 for side in self.kernel.shape):
            raise ValueError(f"kernel of {self.label}: expected two odd sides, found shape {self.kernel.shape}")

    def __eq__(self, other: object) -> bool:
        """Whether all numbers are equal."""
        return isinstance(other, Blur) and self.label == other.label and np.array_equal(self.kernel, other.kernel)

    def __hash__(self) -> int:
        return hash(self.label)

    def __str__(self) -> str:
        """Its label."""
        return self.label

    def on_host(self, image: Array) -> Array:
        """By rows and columns if the kernel allows it, else by sums if it is small, else by transforms."""
        line = self._line()
        if line is not None:
            done = cv2.sepFilter2D(image, -1, *line, borderType=cv2.BORDER_REFLECT_101)
        elif self.kernel.size <= _DIRECT or image[..., 0].size < _LARGE:
            done = cv2.filter2D(image, -1, self.kernel, borderType=cv2.BORDER_REFLECT_101)
        else:
            done = self._by_transforms(image)
        # OpenCV has no third axis for a single channel
        done = done.reshape(image.shape)
        return np.clip(done, 0, 1, out=done)

    def _line(self) -> tuple[Array, Array] | None:
        """Weights along x and along y, of which the kernel is the product; None if it is none."""
        kernel, y, x = self.kernel, *(side // 2 for side in self.kernel.shape)
        a, b, c, d = kernel[y, x].item(), kernel[y, 0].item(), kernel[0, x].item(), kernel[0, 0].item()
        if abs(a * d - b * c) > 1e-6 * (abs(a) + abs(b) + abs(c) + abs(d)):  # four entries tell of most others
            return None
        rows, columns = kernel.sum(1), kernel.sum(0)
        return (columns, rows) if np.abs(rows[:, None] * columns - kernel).sum() < 1e-6 else None

    def _by_transforms(self, image: Array) -> Array:
        size = image.shape[:2]
        before = [side // 2 for side in self.kernel.shape]
        after = [t - n - b for t, n, b in zip(_transform_size(size, self.kernel.shape), size, before, strict=True)]
        padded = cv2.copyMakeBorder(image, before[0], after[0], before[1], after[1], cv2.BORDER_REFLECT_101)
        planes = torch.from_numpy(np.atleast_3d(padded)).permute(2, 0, 1).contiguous()
        done = _correlated(planes, torch.from_numpy(self.kernel.astype(np.float32)), size)
        return cv2.merge(list(done.numpy()))

    @staticmethod
    def on_device(operations: Sequence[Blur], images: Ragged) -> Ragged:
        """By transforms of one size, the kernels padded to that of the largest."""
        shapes = [operation.kernel.shape for operation in operations]
        height, width = (max(sides) for sides in zip(*shapes, strict=True))
        kernels = np.zeros((len(shapes), 1, height, width), np.float32)
        for place, (h, w), operation in zip(kernels[:, 0], shapes, operations, strict=True):
            top, left = (height - h) // 2, (width - w) // 2
            place[top : top + h, left : left + w] = operation.kernel
        padded = _mirrored(images, (height, width))
        weights = torch.from_numpy(kernels).to(padded.device)
        return Ragged(_correlated(padded, weights, images.images.shape[-2:]).clamp(0, 1), images.sizes)


def _transform_size(size: Sequence[int], kernel: Sequence[int]) -> tuple[int, int]:
    """Of an image with its border; a product of 2, 3 and 5, for which transforms are fast."""
    height, width = (cv2.getOptimalDFTSize(n + k - 1) for n, k in zip(size, kernel, strict=True))
    return height, width


def _correlated(padded: Tensor, kernel: Tensor, size: Sequence[int]) -> Tensor:
    """(..., height, width), the ``size``, of (..., H, W) with its border, by (..., h, w): the correlation theorem."""
    (height, width), (h, w), (top, left) = size, padded.shape[-2:], (side - 1 for side in kernel.shape[-2:])
    spectrum = torch.fft.rfft2(padded)
    spectrum *= torch.fft.fft(torch.fft.rfft(kernel.flip(-2, -1), n=w), n=h, dim=-2)
    rows = torch.fft.ifft(spectrum, dim=-2)[..., top : top + height, :]
    return torch.fft.irfft(rows, n=w)[..., left : left + width]


def _mirrored(images: Ragged, kernel: Sequence[int]) -> Tensor:
    """(B, C, H, W): the images, each with its own border, and more of the same up to a size for transforms."""
    whole = images.images
    b, c, height, width = whole.shape
    sizes = torch.tensor(images.sizes, device=whole.device)
    rows, columns = (
        _mirror(torch.arange(total, device=whole.device) - side // 2, own[:, None])
        for total, side, own in zip(_transform_size((height, width), kernel), kernel, sizes.unbind(1), strict=True)
    )
    places = rows[:, :, None] * width + columns[:, None, :]
    flat = whole.flatten(2).gather(2, places.reshape(b, 1, -1).expand(b, c, -1))
    return flat.reshape(b, c, *places.shape[1:])


def _mirror(places: Tensor, length: Tensor) -> Tensor:
    """The places on a line that are seen at ``places`` beyond its ends, its end points seen once."""
    period = (2 * (length - 1)).clamp(min=1)
    there = places.remainder(period)
    return torch.minimum(there, period - there)
