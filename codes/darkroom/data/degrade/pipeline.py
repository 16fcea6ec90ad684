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

from ..augment import chosen
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
    group: str = ""
    """Stages of one group stay together where the order is random; without a name, a stage is a group of its own."""

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> Operation | None:
        """One of the choices for one sample, or none; two numbers are drawn, then those of the choice."""
        happens, place = rng.random(), rng.random()
        if happens >= self.probability:
            return None
        return self.choices[chosen(self.shares, place)].draw(rng, size, goal)


@dataclass(frozen=True)
class Pipeline:
    """All stages. After those of ``last`` the image has the size that it is to have."""

    first: Sequence[Stage] = ()
    """These come first, in their order."""
    stages: Sequence[Stage] = ()
    shuffle: bool = False
    """Whether the ``stages`` come in any order."""
    last: Sequence[Stage] = ()
    """These come then, always in any order of their groups."""
    after: Sequence[Stage] = ()
    """And these in the end, in their order, to the part of the image that is kept; the size stays."""

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> tuple[Operation, ...]:
        """What is done to one sample of that ``size``, so that it has the size ``goal`` in the end."""
        done: list[Operation] = []
        middle = _shuffled(rng, self.stages) if self.shuffle else self.stages
        for stage in (*self.first, *middle, *_shuffled(rng, self.last)):
            operation = stage.draw(rng, size, goal)
            if operation is not None:
                size = operation.size(size)
                done.append(operation)
        if size != goal:
            done.append(Resize("cubic", goal))
        return tuple(done)

    def draw_after(self, rng: np.random.Generator, size: Size) -> tuple[Operation, ...]:
        """What is done ``after`` to the part that is kept, which has that ``size``."""
        drawn = (stage.draw(rng, size, size) for stage in self.after)
        return tuple(operation for operation in drawn if operation is not None)


def _shuffled(rng: np.random.Generator, stages: Sequence[Stage]) -> list[Stage]:
    """The groups of the stages in a random order; a number is drawn for each stage."""
    groups: dict[str, float] = {}
    places = enumerate(rng.random(len(stages)).tolist())
    ordered = ((groups.setdefault(stages[n].group, place) if stages[n].group else place, n) for n, place in places)
    return [stages[n] for _, n in sorted(ordered)]


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
            chosen = [operations[sample][place] for sample in samples]
            if len(samples) == len(operations):
                images = kind.on_device(chosen, images)
            else:
                images = _replaced(images, samples, kind.on_device(chosen, _some(images, samples)))
    return images


def _some(images: Ragged, samples: Sequence[int]) -> Ragged:
    """Some of the images, with no more room than they need."""
    sizes = [images.sizes[sample] for sample in samples]
    height, width = (max(sides) for sides in zip(*sizes, strict=True))
    return Ragged(images.images[torch.tensor(samples), :, :height, :width], sizes)


def _replaced(images: Ragged, samples: Sequence[int], changed: Ragged) -> Ragged:
    """The images with those ``changed``, in as much room as all of them need."""
    sizes = list(images.sizes)
    for sample, size in zip(samples, changed.sizes, strict=True):
        sizes[sample] = size
    height, width = (max(sides) for sides in zip(*sizes, strict=True))
    old = images.images
    room = old.new_zeros(*old.shape[:2], height, width)
    h, w = min(height, old.shape[-2]), min(width, old.shape[-1])
    room[:, :, :h, :w] = old[:, :, :h, :w]
    h, w = min(height, changed.images.shape[-2]), min(width, changed.images.shape[-1])
    room[torch.tensor(samples), :, :h, :w] = changed.images[:, :, :h, :w]
    return Ragged(room, sizes)
