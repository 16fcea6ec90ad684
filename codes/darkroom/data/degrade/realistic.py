"""Blur kernels that were estimated from real photographs.

S. Bell-Kligler, A. Shocher and M. Irani, "Blind Super-Resolution Kernel Estimation using an Internal-GAN", NeurIPS
2019, https://arxiv.org/abs/1909.06581; X. Ji et al., "Real-World Super-Resolution via Kernel Estimation and Noise
Injection", CVPRW 2020, who degrade by such kernels: correlation, then every s-th pixel.

KernelGAN's kernels are off their own centre by (s - 1) / 2 pixels, so that pixels 0, s, 2s, ... of the filtered image
are those of the small one. Files of others may be centred otherwise. So sampling starts where the centre of mass of the
kernel says it should, to the nearest pixel: at pixel 0 for KernelGAN's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ...core.errors import DataError
from ...filters.resize_taps import reflected, sum_taps
from . import DEGRADATIONS
from .operation import Array, Degradation, Operation, Ragged, Size
from .resizing import CLOSE, RandomResize

_SIDE = 13
_OFFSETS = np.arange(_SIDE) - _SIDE // 2


@dataclass(frozen=True, eq=False)
class Estimated(Operation):
    """Correlation with a kernel, and every ``scale``-th pixel of that. Host and device agree to 1e-5."""

    name: str
    """Of the kernel."""
    kernel: Array
    """(13, 13), float32; its sum is 1."""
    scale: int

    def __str__(self) -> str:
        """As ``realistic 0801 x4``."""
        return f"realistic {self.name} x{self.scale}"

    def size(self, size: Size) -> Size:
        """One for each pixel that ``image[::scale, ::scale]`` has."""
        return Size(-(-size.height // self.scale), -(-size.width // self.scale))

    def _seen(self, size: Size) -> tuple[Array, Array]:
        """Rows (H', 13) and columns (W', 13) that the pixels of the result see; those beyond the border reflected."""
        masses = self.kernel.sum(axis=1), self.kernel.sum(axis=0)
        # a hair less, so that halves go down whatever rounding has made of them
        starts = [round((self.scale - 1) / 2 - float(mass @ _OFFSETS) - 1e-3) for mass in masses]
        rows, columns = (
            reflected((np.arange(out) * self.scale + start)[:, None] + _OFFSETS, length)
            for out, start, length in zip(self.size(size), starts, size, strict=True)
        )
        return rows, columns

    def on_host(self, image: Array) -> Array:
        """As on a device."""
        batch = Ragged.of([torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))])
        done = Estimated.on_device([self], batch).images[0].numpy()
        return np.ascontiguousarray(done.transpose(1, 2, 0))

    @staticmethod
    def on_device(operations: Sequence[Estimated], images: Ragged) -> Ragged:
        """All at once: each row of a result is a sum of 169 rows, 13 of the image, each from 13 first columns on."""
        device, pixels = images.images.device, images.images
        seen = [o._seen(size) for o, size in zip(operations, images.sizes, strict=True)]
        rows, columns = (torch.from_numpy(_padded(index)).to(device) for index in zip(*seen, strict=True))
        (batch, channels, height, _), tall, wide = pixels.shape, rows.shape[1], columns.shape[1]
        across = columns.transpose(1, 2).reshape(batch, 1, 1, -1).expand(-1, channels, height, -1)
        table = pixels.gather(3, across).view(-1, wide)  # (B * C * H * 13, W')
        above = torch.arange(batch * channels, device=device).view(batch, channels, 1, 1, 1) * height
        index = (above + rows[:, None, :, :, None]) * _SIDE + torch.arange(_SIDE, device=device)
        kernels = torch.from_numpy(np.stack([o.kernel for o in operations])).to(device)
        weight = kernels[:, None, None].expand_as(index)
        starts = torch.arange(0, index.numel(), _SIDE**2, device=device)
        done = sum_taps(table, index.flatten(), weight.flatten(), starts).clamp_(0, 1)
        sizes = [o.size(size) for o, size in zip(operations, images.sizes, strict=True)]
        return Ragged(done.view(batch, channels, tall, wide), sizes)


def _padded(index: Sequence[Array]) -> Array:
    """(B, P, 13) of B arrays of up to P rows."""
    whole = np.zeros((len(index), max(map(len, index)), _SIDE), np.int64)
    for place, own in zip(whole, index, strict=True):
        place[: len(own)] = own
    return whole


@DEGRADATIONS.register("realistic")
class Realistic(Degradation):
    """Filters and samples with one of the kernels of a folder, so that the image ends ``kernel_scale`` times smaller.

    An image that would end smaller than its goal by more than 4 pixels is resized as by ``resize`` instead.
    """

    def __init__(self, folder: str, kernel_scale: int = 4) -> None:
        """``folder`` has files ``kernel_x4.npy`` (or what ``kernel_scale`` is), in a folder for each photograph.

        KernelGAN's own ``*_kernel_x4.mat`` will do, too. All are read at once.

        Raises:
            DataError: there is no such file, or one that holds no kernel.
            ValueError: ``kernel_scale`` is less than 1.
        """
        if kernel_scale < 1:
            raise ValueError(f"kernel_scale: expected 1 or more, found {kernel_scale}")
        self._scale = kernel_scale
        pattern = f"*kernel_x{kernel_scale}"
        paths = sorted(p for suffix in (".npy", ".mat") for p in Path(folder).rglob(pattern + suffix))
        if not paths:
            what = "no such folder" if not Path(folder).is_dir() else f"no {pattern}.npy or .mat in it or below"
            example = f"0001/kernel_x{kernel_scale}.npy"
            raise DataError(f"folder of kernels {folder}: {what}; expected KernelGAN's output, such as {example}")
        self._kernels = [_read(path) for path in paths]
        self._names = [
            p.parent.name if p.stem == pattern[1:] else p.stem.removesuffix(f"_{pattern[1:]}") for p in paths
        ]
        self._otherwise = RandomResize()

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> Operation | None:
        """The kernel is drawn, then what ``resize`` draws, though it is rarely needed."""
        number = int(rng.random() * len(self._kernels))
        otherwise = self._otherwise.draw(rng, size, goal)
        operation = Estimated(self._names[number], self._kernels[number], self._scale)
        ends = zip(operation.size(size), goal, strict=True)
        return operation if all(side >= end - CLOSE for side, end in ends) else otherwise


def _read(path: Path) -> Array:
    """The kernel of a file: the 13x13 in its middle, or zeros around it, and a sum of 1."""
    try:
        kernel = np.asarray(_load(path), np.float64)
    except Exception as error:  # what scipy raises has no base of its own
        raise DataError(f"{path}: cannot be read as a kernel: {error}") from error
    if kernel.ndim != 2 or not np.isfinite(kernel).all():
        raise DataError(
            f"{path}: expected a kernel, a matrix of finite numbers, found an array of shape {kernel.shape}"
        )
    middle = np.zeros((_SIDE, _SIDE))
    (to_rows, rows), (to_columns, columns) = (_middle(side) for side in kernel.shape)
    middle[to_rows, to_columns] = kernel[rows, columns]
    if middle.sum() <= 1e-6:
        raise DataError(f"{path}: expected a kernel with a positive sum, found one of {middle.sum():.3g}")
    return np.asarray(middle / middle.sum(), np.float32)


def _middle(side: int) -> tuple[slice, slice]:
    """Where in 13 pixels what part of ``side`` pixels goes."""
    spare = abs(side - _SIDE) // 2
    part = slice(spare, spare + min(side, _SIDE))
    return (slice(0, _SIDE), part) if side >= _SIDE else (part, slice(0, side))


def _load(path: Path) -> Array:
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False)
    from scipy.io import loadmat  # type: ignore[import-untyped]

    values = [value for name, value in loadmat(path).items() if not name.startswith("__")]
    if len(values) != 1:
        raise ValueError(f"expected one matrix, found {len(values)}")
    return values[0]
