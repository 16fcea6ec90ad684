"""Metrics: what an image is worth, measured as the literature does."""

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


METRICS: Registry[Metric] = Registry("metric", "darkroom.metrics")
