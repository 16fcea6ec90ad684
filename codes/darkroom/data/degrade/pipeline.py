"""Degradations one after another, as BSRGAN and Real-ESRGAN have them: in stages, each a choice of several.

K. Zhang et al., "Designing a Practical Degradation Model for Deep Blind Image Super-Resolution", ICCV 2021 (stages in
random order); X. Wang et al., "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data",
ICCVW 2021 (two rounds of stages, and a last one whose two parts come in either order).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .operation import Array, Degradation, Operation, Ragged, Size
from .resizes import Resize


@dataclass(frozen=True)
class Stage:
    """Something that may happen to a sample."""

    choices: Sequence[Degradation]
    shares: Sequence[float]
    """How often each of the ``choices`` is taken, relative to the others."""
    probability: float = 1.0
    """That one of them is."""
    last: str | None = None
    """Stages with a name here come after all others; those with one name stay together, and in their order."""

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> Operation | None:
        """One of the choices for one sample, or none; two numbers are drawn, then those of the choice."""
        happens, place = rng.random(), rng.random()
        if happens >= self.probability:
            return None
        limits = np.cumsum(self.shares)
        choice = int(np.searchsorted(limits / limits[-1], place, side="right"))
        return self.choices[choice].draw(rng, size, goal)


@dataclass(frozen=True)
class Pipeline:
    """All stages."""

    stages: Sequence[Stage]
    shuffle: bool = False
    """Whether those that do not come last come in any order."""

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> tuple[Operation, ...]:
        """What is done to one sample of that ``size``, so that it has the size ``goal`` in the end."""
        done: list[Operation] = []
        for stage in self._order(rng):
            operation = stage.draw(rng, size, goal)
            if operation is not None:
                size = operation.size(size)
                done.append(operation)
        if size != goal:
            done.append(Resize("cubic", goal))
        return tuple(done)

    def _order(self, rng: np.random.Generator) -> Iterable[Stage]:
        first = [stage for stage in self.stages if stage.last is None]
        groups: dict[str, list[Stage]] = {}
        for stage in self.stages:
            if stage.last is not None:
                groups.setdefault(stage.last, []).append(stage)
        if self.shuffle:
            first = [first[i] for i in rng.permutation(len(first))]
        names = list(groups)
        mixed = [names[i] for i in rng.permutation(len(names))] if len(names) > 1 else names
        return [*first, *(stage for name in mixed for stage in groups[name])]


def degrade(image: Array, operations: Iterable[Operation]) -> Array:
    """(H', W', C) of (H, W, C), float32 in [0, 1], on the host."""
    for operation in operations:
        image = operation.on_host(image)
    return image


def degrade_batch(images: Ragged, operations: Sequence[Sequence[Operation]]) -> Ragged:
    """The same for a batch, on its device: what several samples have done to them next is done to them together."""
    for place in range(max(map(len, operations), default=0)):
        kinds: dict[type[Operation], list[int]] = {}
        for sample, own in enumerate(operations):
            if place < len(own):
                kinds.setdefault(type(own[place]), []).append(sample)
        for kind, samples in kinds.items():
            images = _apply(kind, [operations[s][place] for s in samples], samples, images)
    return images


def _apply(kind: type[Operation], operations: Sequence[Operation], samples: Sequence[int], images: Ragged) -> Ragged:
    """The batch with some of its ``samples`` changed."""
    if len(samples) == len(images.sizes):
        return kind.on_device(operations, images)
    chosen = torch.tensor(samples, device=images.images.device)
    changed = kind.on_device(operations, Ragged(images.images[chosen], [images.sizes[s] for s in samples]))
    height, width = (max(sides) for sides in zip(images.images.shape[-2:], changed.images.shape[-2:], strict=True))
    old = images.images
    if (height, width) != tuple(old.shape[-2:]):
        old = torch.nn.functional.pad(old, (0, width - old.shape[-1], 0, height - old.shape[-2]))
    else:
        old = old.clone()
    old[chosen, :, : changed.images.shape[-2], : changed.images.shape[-1]] = changed.images
    sizes = list(images.sizes)
    for sample, size in zip(samples, changed.sizes, strict=True):
        sizes[sample] = size
    return Ragged(old, sizes)
