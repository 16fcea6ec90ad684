"""Noise of real cameras, cut from smooth places of photographs.

J. Chen et al., "Image Blind Denoising with Generative Adversarial Network Based Noise Modeling", CVPR 2018; X. Ji et
al., "Real-World Super-Resolution via Kernel Estimation and Noise Injection", CVPRW 2020. Nothing differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch

from ...core.errors import DataError
from ..folders import list_images
from ..images import read
from . import DEGRADATIONS
from .operation import Array, Degradation, Operation, Ragged, Size

_FILES_KEPT = 32
"""Decoded, in each process."""


@DEGRADATIONS.register("noise_patches")
class NoisePatches(Degradation):
    """Adds what a patch of noise is more than its mean."""

    def __init__(self, folder: str, size: int = 256, amplitude: float = 1.0) -> None:
        """The files are listed once, here, and read when they are used.

        Args:
            folder: of images that are nothing but noise; those of its subfolders count, too.
            size: side of the square that is taken from a file, or from the whole of one that is smaller.
            amplitude: factor of the noise.

        Raises:
            DataError: the folder is missing or has no images.
            ValueError: the size is not positive.
        """
        if size < 1:
            raise ValueError(f"size: expected at least 1, found {size}")
        try:
            self.files = [str(path) for path in list_images([Path(folder)])]
        except DataError as error:
            raise DataError(
                f"folder: expected a folder of noise patches, such as 256x256 .png files; {error}"
            ) from None
        self.size, self.amplitude = size, amplitude

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> Operation:
        """The file, the place in it (two numbers), how it is mirrored (two numbers)."""
        del size, goal
        file = self.files[rng.integers(len(self.files))]
        top, left, upside_down, mirrored = rng.random(4).tolist()
        return AddPatch(file, self.size, (top, left), (upside_down < 0.5, mirrored < 0.5), self.amplitude)


@dataclass(frozen=True)
class AddPatch(Operation):
    """Adds the noise of a file."""

    file: str
    side: int
    """Side of the square that is taken from it."""
    place: tuple[float, float]
    """Of the square: from 0 at the top or the left to 1 at the other end."""
    flips: tuple[bool, bool]
    """Whether it is turned upside down, and mirrored left to right."""
    amplitude: float

    def on_host(self, image: Array) -> Array:
        """Clipped to [0, 1].

        Raises:
            UnreadableImage: the file cannot be decoded.
        """
        noisy = self.noise(image.shape)
        noisy += image
        return np.clip(noisy, 0, 1, out=noisy)

    @staticmethod
    def on_device(operations: Sequence[AddPatch], images: Ragged) -> Ragged:
        """The same; the noise comes from the host."""
        channels = images.images.shape[1]
        noises = Ragged.of(
            [
                torch.from_numpy(operation.noise((*size, channels)).transpose(2, 0, 1))
                for operation, size in zip(operations, images.sizes, strict=True)
            ]
        )
        height, width = noises.images.shape[-2:]
        room = images.images[..., :height, :width]
        return images._replace(images=noises.images.to(room.device).add_(room).clamp_(0, 1))

    def noise(self, shape: tuple[int, ...]) -> Array:
        """What is added to an image of that ``shape`` (h, w, c): the square from its upper left, mirrored beyond."""
        height, width, channels = shape
        patch = _patch(self.file, channels)
        top, left = (
            int(p * (max(length - self.side, 0) + 1)) for p, length in zip(self.place, patch.shape, strict=False)
        )
        square = patch[top : top + self.side, left : left + self.side]
        down, right = (-1 if flip else 1 for flip in self.flips)
        cut = square[::down, ::right][:height, :width].astype(np.float32, order="C")
        rows = cut.reshape(len(cut), -1)  # long rows, as numpy is slow along three channels
        rows -= np.tile(np.array(cv2.mean(square)[:channels], np.float32), cut.shape[1])
        rows *= np.float32(self.amplitude / np.iinfo(patch.dtype).max)
        below, beyond = height - cut.shape[0], width - cut.shape[1]
        if below or beyond:
            cut = cv2.copyMakeBorder(cut, 0, below, 0, beyond, cv2.BORDER_REFLECT_101)
        return cut.reshape(shape)

    def __str__(self) -> str:
        """With the name of the file."""
        return f"patch {Path(self.file).name}"


@lru_cache(maxsize=_FILES_KEPT)
def _patch(file: str, channels: int) -> Array:
    """(H, W, channels), uint8 or uint16."""
    return np.ascontiguousarray(read(file).as_channels(channels))
