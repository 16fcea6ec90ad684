"""Metrics: what an image, or a set of images, is worth, measured as the literature does."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Protocol

from torch import Tensor

from ..core.registry import Registry


class Metric(Protocol):
    """A number for how near an image is to another."""

    higher: ClassVar[bool]
    """Whether more is better."""

    def __call__(self, prediction: Tensor, target: Tensor) -> float:
        """Of two (C, H, W) images in [0, 1] on one device, already rounded to 8 bits."""
        ...


class SetMetric(ABC):
    """A number for how near a set of images is to another set. What it sees of each pair is kept until the end."""

    higher: ClassVar[bool]
    """Whether more is better."""

    @abstractmethod
    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        """What matters of two such images: small and on the CPU, as it travels between processes."""

    @abstractmethod
    def over(self, seen: Sequence[Tensor]) -> float:
        """The value of a set, of what was seen of each of its pairs."""


METRICS: Registry[Metric | SetMetric] = Registry("metric", "darkroom.metrics")
