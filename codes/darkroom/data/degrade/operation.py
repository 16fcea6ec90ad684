"""What a degradation is, and what it does to one sample.

A ``Degradation`` draws; it returns an ``Operation``, which knows all of its numbers and draws no more. So the sample is
settled before a pixel is touched, and comes out the same wherever the operations are carried out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, np.dtype[Any]]


class Size(NamedTuple):
    """Of an image."""

    height: int
    width: int


class Ragged(NamedTuple):
    """Images of different sizes in one tensor."""

    images: Tensor
    """(B, C, H, W), float32 in [0, 1]. Beyond the size of an image, anything finite."""
    sizes: Sequence[Size]
    """Of each image, at the upper left of its place."""

    def each(self) -> list[Tensor]:
        """Views (C, h, w) of the images."""
        return [image[:, :h, :w] for image, (h, w) in zip(self.images, self.sizes, strict=True)]

    @classmethod
    def of(cls, images: Sequence[Tensor]) -> Ragged:
        """From images (C, h, w) of one device."""
        sizes = [Size(*image.shape[-2:]) for image in images]
        height, width = (max(sides) for sides in zip(*sizes, strict=True))
        whole = images[0].new_zeros(len(images), images[0].shape[0], height, width)
        for place, image in zip(whole, images, strict=True):
            place[:, : image.shape[1], : image.shape[2]] = image
        return cls(whole, sizes)


class Operation(ABC):
    """One thing that is done to one sample, with all its numbers: a frozen dataclass, which pickles."""

    @abstractmethod
    def on_host(self, image: Array) -> Array:
        """(H', W', C) of (H, W, C), float32 in [0, 1], C 1 or 3, which is left as it is; nothing is random."""

    @abstractmethod
    def __str__(self) -> str:
        """What is done, for people, in a few characters: ``iso 13 1.42``."""

    def size(self, size: Size) -> Size:
        """Of the result."""
        return size

    @staticmethod
    def on_device(operations: Sequence[Any], images: Ragged) -> Ragged:
        """The same for a batch, one operation of this class for each image; one by one on the host unless it is said.

        Every image comes out as from ``on_host``, but for rounding.
        """
        done = [
            operation.on_host(np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy()))
            for operation, image in zip(operations, images.each(), strict=True)
        ]
        device = images.images.device
        return Ragged.of([torch.from_numpy(np.ascontiguousarray(d.transpose(2, 0, 1))).to(device) for d in done])


class Degradation(ABC):
    """A kind of damage with the ranges of its parameters, which are the arguments of its constructor."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> Operation | None:
        """The operation for one sample that has this ``size`` by now and will have the size ``goal`` in the end.

        None leaves it as it is.
        """


@dataclass(frozen=True)
class OnHost(Operation):
    """A function of the image that is carried out on the host only."""

    name: str
    """What it is, with its numbers."""
    function: Callable[..., Array]
    """Of a module, so that it pickles; called with the image and ``arguments``."""
    arguments: tuple[Any, ...] = ()

    def on_host(self, image: Array) -> Array:
        """What ``function`` makes of it."""
        return self.function(image, *self.arguments)

    def __str__(self) -> str:
        """Its name."""
        return self.name
