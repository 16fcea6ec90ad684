"""Augmentations that mix the pixels of a batch, applied to input and target alike, on the device.

CutBlur and the mixture of augmentations, Yoo et al. 2020, https://arxiv.org/abs/2004.00448; mixup,
https://arxiv.org/abs/1710.09412; CutMix, https://arxiv.org/abs/1905.04899. What differs: CutBlur's input is enlarged
here, and boxes are drawn on the input's grid, so that input and target show the same at whichever scale.

Numbers for the whole batch are drawn on the CPU, those for single samples on the device: nothing waits for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.registry import Registry

Batch = Mapping[str, Any]


def enlarged(batch: Batch) -> dict[str, Any]:
    """The batch with its ``input`` at the size of its ``target``, each pixel repeated."""
    image, target = batch["input"], batch["target"]
    if image.shape == target.shape:
        return dict(batch)
    return {**batch, "input": _repeated(image, _scale(image, target))}


@dataclass
class Augmentation(ABC):
    """Changes ``input`` (B, C, h, w) and ``target`` (B, C, s*h, s*w), in [0, 1], with probability ``prob``.

    What ``alpha`` is differs; see the subclasses. The tensors given stay as they are; other entries are passed on.
    """

    prob: float = 1.0
    alpha: float = 1.0

    one_size: ClassVar[bool] = False
    """Whether it needs, and therefore always gives, an input of the target's size."""
    most: ClassVar[float] = 1.0
    """The largest ``alpha``."""

    def __post_init__(self) -> None:
        for name, value, most in (("prob", self.prob, 1.0), ("alpha", self.alpha, self.most)):
            if not 0 <= value <= most:
                raise ValueError(f"{name} of {type(self).__name__}: expected 0 to {most:g}, found {value}")

    def __call__(self, batch: Batch) -> dict[str, Any]:
        """The batch, changed or not.

        Raises:
            ValueError: the sides of the target are not multiples of the input's, or batch or channels differ.
        """
        batch = enlarged(batch) if self.one_size else dict(batch)
        if _uniform() >= self.prob:
            return batch
        image, target = batch["input"], batch["target"]
        return {**batch, **self.change(image, target, _scale(image, target))}

    @abstractmethod
    def change(self, image: Tensor, target: Tensor, scale: int) -> dict[str, Tensor]:
        """The new ``input`` and ``target``, and what else is new."""


BATCH_AUGMENTS: Registry[Augmentation] = Registry("batch augmentation", "darkroom.data")


@BATCH_AUGMENTS.register("none")
@dataclass
class Unchanged(Augmentation):
    """Nothing, as one of several; its options have no effect."""

    def change(self, image: Tensor, target: Tensor, scale: int) -> dict[str, Tensor]:
        """Both as they are."""
        return {"input": image, "target": target}


@BATCH_AUGMENTS.register("blend")
@dataclass
class Blend(Augmentation):
    """A colour laid over each sample; ``alpha`` is the least share that the image keeps."""

    alpha: float = 0.6

    def change(self, image: Tensor, target: Tensor, scale: int) -> dict[str, Tensor]:
        """One share for the batch, one colour for each sample."""
        colour = torch.rand(*target.shape[:2], 1, 1, dtype=target.dtype, device=target.device)
        share = _uniform(self.alpha, 1)
        return {"input": _mixed(image, colour, share), "target": _mixed(target, colour, share)}


@BATCH_AUGMENTS.register("rgb")
@dataclass
class PermuteChannels(Augmentation):
    """The channels in another order, one order for the batch; ``alpha`` has no effect."""

    def change(self, image: Tensor, target: Tensor, scale: int) -> dict[str, Tensor]:
        """(B, C, H, W) both."""
        order = torch.randperm(target.shape[1]).tolist()
        return {
            name: torch.stack([x[:, channel] for channel in order], dim=1)
            for name, x in (("input", image), ("target", target))
        }


@BATCH_AUGMENTS.register("mixup")
@dataclass
class Mixup(Augmentation):
    """Convex combinations of samples; their share is of a Beta distribution, both parameters of which are ``alpha``."""

    alpha: float = 1.2
    most: ClassVar[float] = float("inf")

    def change(self, image: Tensor, target: Tensor, scale: int) -> dict[str, Tensor]:
        """Eq. 1 of mixup, with one share for the batch."""
        partners, share = _partners(target), _beta(self.alpha)
        return {name: _mixed(x, x[partners], share) for name, x in (("input", image), ("target", target))}


@BATCH_AUGMENTS.register("cutmix")
@dataclass
class CutMix(Augmentation):
    """A box of each sample from another one; ``alpha`` is about its part of the sides."""

    alpha: float = 0.7

    def change(self, image: Tensor, target: Tensor, scale: int) -> dict[str, Tensor]:
        """The same place of the same samples in both."""
        partners, box = _partners(target), _draw_box(image, self.alpha)
        return {
            "input": _pasted(image, image[partners], box),
            "target": _pasted(target, target[partners], box.times(scale)),
        }


@BATCH_AUGMENTS.register("cutmixup")
@dataclass
class CutMixup(Augmentation):
    """CutMix whose pasted pixels are mixed (``mixup``), inside of the box or, half of the time, outside of it.

    ``alpha`` is that of the box; ``aux_prob`` and ``aux_alpha`` are those of the mixing, without which it is CutMix.
    """

    alpha: float = 0.7
    aux_prob: float = 1.0
    aux_alpha: float = 1.2

    def __post_init__(self) -> None:
        super().__post_init__()
        Mixup(self.aux_prob, self.aux_alpha)

    def change(self, image: Tensor, target: Tensor, scale: int) -> dict[str, Tensor]:
        """The same place and shares of the same samples in both."""
        partners, box = _partners(target), _draw_box(image, self.alpha)
        share = _beta(self.aux_alpha) if _uniform() < self.aux_prob else 0.0
        inside = _uniform() < 0.5
        new = {}
        for name, x, place in (("input", image, box), ("target", target, box.times(scale))):
            other = _mixed(x, x[partners], share)
            new[name] = _pasted(x, other, place) if inside else _pasted(other, x, place)
        return new


@BATCH_AUGMENTS.register("cutout")
@dataclass
class Cutout(Augmentation):
    """Black pixels in the input, a share ``alpha`` of them, and at the same places in the target.

    The batch gets ``keep`` (B, 1, H, W) of the target's size, 0 there: the output is to be blackened too, so that the
    losses do not ask what was there. Without a change there is no ``keep``.
    """

    alpha: float = 0.001

    def change(self, image: Tensor, target: Tensor, scale: int) -> dict[str, Tensor]:
        """Both, and ``keep``."""
        b, _, h, w = image.shape
        kept = (torch.rand(b, 1, h, w, device=image.device) >= self.alpha).to(image.dtype)
        keep = _repeated(kept, scale)
        return {"input": image * kept, "target": target * keep, "keep": keep}


@BATCH_AUGMENTS.register("cutblur")
@dataclass
class CutBlur(Augmentation):
    """A box of the target in the input or, half of the time, of the input in the target as the new input.

    ``alpha`` is about its part of the sides. The input is enlarged to the target's size first, always.
    """

    alpha: float = 0.7
    one_size: ClassVar[bool] = True

    def change(self, image: Tensor, target: Tensor, scale: int) -> dict[str, Tensor]:
        """The target stays."""
        box = _draw_box(image, self.alpha)
        inside = _uniform() < 0.5
        return {"input": _pasted(image, target, box) if inside else _pasted(target, image, box), "target": target}


class OneOf:
    """One of several augmentations for each batch, drawn with probabilities in proportion to ``shares``, or equally.

    If one of them needs an input of the target's size, all get one, since a network takes one size.
    """

    def __init__(self, choices: Sequence[Augmentation], shares: Sequence[float] | None = None) -> None:
        shares = [1.0] * len(choices) if shares is None else shares
        if not choices or len(shares) != len(choices) or min(shares) < 0 or sum(shares) <= 0:
            raise ValueError(
                f"expected one augmentation at least and as many shares, not negative and not all 0, "
                f"found {len(choices)} and {list(shares)}"
            )
        self.choices = choices
        self.one_size = any(choice.one_size for choice in choices)
        self._shares = torch.tensor(shares, dtype=torch.float64)

    def __call__(self, batch: Batch) -> dict[str, Any]:
        """The batch as the one that is drawn makes it."""
        choice = self.choices[int(torch.multinomial(self._shares, 1))]
        return choice(enlarged(batch) if self.one_size else batch)


class Box(NamedTuple):
    """Rows ``top`` to ``bottom`` and columns ``left`` to ``right``, the last ones exclusively."""

    top: int
    bottom: int
    left: int
    right: int

    def times(self, scale: int) -> Box:
        """The same place of an image ``scale`` times as large."""
        return Box(*(side * scale for side in self))


def _draw_box(image: Tensor, part: float) -> Box:
    """Anywhere in the image; its sides are about ``part`` of those, with a deviation of 0.01, and a pixel at least."""
    part = part + 0.01 * float(torch.randn(()))
    height, width = (min(max(int(part * side), 1), side) for side in image.shape[2:])
    top, left = (
        int(torch.randint(whole - side + 1, ())) for whole, side in zip(image.shape[2:], (height, width), strict=True)
    )
    return Box(top, top + height, left, left + width)


def _pasted(base: Tensor, other: Tensor, box: Box) -> Tensor:
    """``base`` with the box of ``other``."""
    top, bottom, left, right = box
    new = base.clone()
    new[:, :, top:bottom, left:right] = other[:, :, top:bottom, left:right]
    return new


def _mixed(x: Tensor, other: Tensor, share: float) -> Tensor:
    return share * x + (1 - share) * other


def _partners(target: Tensor) -> Tensor:
    """For each sample the index of another one, or of itself."""
    return torch.randperm(len(target), device=target.device)


def _repeated(image: Tensor, times: int) -> Tensor:
    return F.interpolate(image, scale_factor=times, mode="nearest")


def _uniform(low: float = 0, high: float = 1) -> float:
    return low + (high - low) * float(torch.rand(()))


def _beta(alpha: float) -> float:
    """A share of Beta(alpha, alpha); with 0, as mixup has it, nothing is mixed."""
    return float(torch.distributions.Beta(alpha, alpha).sample()) if alpha > 0 else 1.0


def _scale(image: Tensor, target: Tensor) -> int:
    """How many times as large the target is."""
    b, c, h, w = image.shape
    scale = target.shape[-1] // w
    if target.shape != (b, c, scale * h, scale * w) or scale < 1:
        raise ValueError(
            f"expected a target whose sides are the same multiple of the input's, and else of its shape, found "
            f"{tuple(image.shape)} and {tuple(target.shape)}"
        )
    return scale
