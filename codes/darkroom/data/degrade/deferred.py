"""Samples that are settled but not yet degraded: done one by one where they are read, or a batch at once on its device.

Both ways the image that is degraded is cut out with a margin and turned before, so that no noise is ever turned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from ..augment import unit
from ..colors import Color, converted
from ..crops import Box, Crop
from .operation import Array, Operation, Ragged, Size
from .pipeline import Pipeline, degrade, degrade_batch

SOURCE, PLAN, WINDOW = "source", "plan", "window"
"""Keys of an item that stand for its ``input`` until ``finish``, and those of a batch."""


class Window(NamedTuple):
    """What an input is of its source."""

    size: Size
    """Of the source."""
    box: Box
    """The part that is kept of what becomes of it."""
    after: tuple[Operation, ...]
    """What is done to that part."""
    color: Color
    """What the input is converted to."""


class Sample(NamedTuple):
    """An image, what is to be done to it, and what is kept of the result."""

    source: Array
    """(H, W, C), uint8 or uint16."""
    plan: tuple[Operation, ...]
    window: Window

    @classmethod
    def draw(cls, crop: Crop, pipeline: Pipeline, factor: int, color: Color, rng: np.random.Generator) -> Sample:
        """Of a crop that becomes ``factor`` times smaller. It takes the numbers of the pipeline, and those of after."""
        height, width = crop.size
        plan = pipeline.draw(rng, crop.size, Size(height // factor, width // factor))
        box = crop.box.over(factor)
        after = pipeline.draw_after(rng, Size(box.height, box.width))
        return cls(crop.pixels, plan, Window(crop.size, box, after, color))

    def degraded(self) -> Array:
        """(h, w, C), uint8, not converted yet."""
        kept = np.ascontiguousarray(self.window.box.of(degrade(unit(self.source), self.plan)))
        done = degrade(kept, self.window.after)
        return cv2.convertScaleAbs(done, alpha=255).reshape(done.shape)


def gathered(sources: Sequence[Tensor]) -> Tensor:
    """(B, C, H, W) of sources (C, h, w) of any sizes, each at the upper left of its place."""
    height, width = (max(side) for side in zip(*(source.shape[-2:] for source in sources), strict=True))
    whole = torch.zeros(len(sources), sources[0].shape[0], height, width, dtype=sources[0].dtype)
    for place, source in zip(whole, sources, strict=True):
        place[:, : source.shape[1], : source.shape[2]] = source
    return whole


@torch.no_grad()
def finish(batch: Mapping[str, Any]) -> dict[str, Any]:
    """The batch with its ``input`` (B, C, H, W), float32 in [0, 1], of 256 levels, made of ``source`` on its device.

    The same as on the host, but for what operations differ by and one level where that decides the rounding. A batch
    that has its input stays as it is. ``plan``, a tuple of operations for each sample, remains.
    """
    if SOURCE not in batch:
        return dict(batch)
    windows: Sequence[Window] = batch[WINDOW]
    source: Tensor = batch[SOURCE]
    images = source.float() if source.is_floating_point() else source.to(torch.float32).div_(255)
    done = degrade_batch(Ragged(images.contiguous(), [window.size for window in windows]), batch[PLAN])
    boxes = [window.box for window in windows]
    cut = [i[:, b.top : b.top + b.height, b.left : b.left + b.width] for i, b in zip(done.images, boxes, strict=True)]
    kept = Ragged(torch.stack(cut), [Size(b.height, b.width) for b in boxes])
    kept = degrade_batch(kept, [window.after for window in windows])
    numbers = kept.images.mul_(255).round_().clamp_(0, 255)
    color = windows[0].color
    if color != "rgb":
        numbers = converted(numbers.to(torch.uint8), color).float()
    rest = {name: value for name, value in batch.items() if name not in (SOURCE, WINDOW)}
    return {**rest, "input": numbers.div_(255)}
