"""Metrics: what an image is worth, measured as the literature does."""

from collections.abc import Callable

from torch import Tensor

from ..core.registry import Registry

Metric = Callable[[Tensor, Tensor], float]
"""``metric(prediction, target)`` of two (C, H, W) images in [0, 1] on one device, already rounded to 8 bits."""

METRICS: Registry[Metric] = Registry("metric", "darkroom.metrics")
