"""Loss terms: a loss function, its weight, and the names of the tensors it reads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from .registry import Registry
from .sample import Sample

Critic = Callable[[Tensor], Any]
View = Callable[[Mapping[str, Tensor], Collection[str]], dict[str, Tensor]]
"""``view(images, only_moved)`` changes what a critic is shown: all images alike, those named ``only_moved`` not in
colour."""


class Loss(nn.Module):
    """A function of tensors. Its ``forward`` takes them by the names that the option file uses and returns a scalar.

    It may return a ``Verdict`` instead, for more figures in the log. Its weight is not its business.
    """

    full_precision: ClassVar[bool] = False
    """Whether it must be computed in float32 also where the rest runs in half precision."""
    unit_range: ClassVar[bool] = False
    """Whether it means images in [0, 1]; where the networks work in [-1, 1], it is given the images in [0, 1]."""


class Verdict(NamedTuple):
    """What a critic learns from, and what the log shows of it."""

    loss: Tensor
    """What the critic minimises: a scalar."""
    figures: Mapping[str, Tensor]
    """Scalars for the log by name, such as ``l_d_real``, ``l_d_fake``, ``D_real``, ``D_fake``; without graph."""


class AdversarialLoss(Loss):
    """A loss with two sides, one for each player of the game.

    ``generator(critic, fake, real)`` returns a scalar, ``discriminator(critic, fake, real)`` a ``Verdict``; so may
    ``generator``. Both may take more tensors by name.
    """

    generator: Callable[..., Tensor | Verdict]
    discriminator: Callable[..., Verdict]
    compares_maps: bool = False
    """Whether it needs a critic that returns its feature maps with its scores."""


class Share(NamedTuple):
    """What a term adds to its player's objective, and what the log shows of it."""

    loss: Tensor
    figures: Mapping[str, Tensor]


def unchanged(images: Mapping[str, Tensor], only_moved: Collection[str]) -> dict[str, Tensor]:
    """The view that shows the images as they are."""
    del only_moved
    return dict(images)


class Term(Protocol):
    """One addend of one player's objective."""

    @property
    def name(self) -> str:
        """What a phase's ``losses`` calls it."""
        ...

    @property
    def player(self) -> str:
        """Whose objective it is part of."""
        ...

    @property
    def loss(self) -> Loss:
        """The function; the loop moves its parameters to the device."""
        ...

    def __call__(self, s: Sample) -> Share:
        """The weighted loss of the sample."""
        ...


@dataclass(frozen=True)
class ImageTerm:
    """``scale * weight * loss(**{parameter: s[key]})``, of which the log shows ``weight * loss``."""

    name: str
    player: str
    weight: float
    loss: Loss
    inputs: Mapping[str, str]
    scale: float = 1.0
    signed: bool = False
    """Whether the images are in [-1, 1] and the loss wants them in [0, 1]."""

    def __call__(self, s: Sample) -> Share:
        """The weighted loss of the sample."""
        tensors = {p: (s[key] + 1) / 2 if self.signed else s[key] for p, key in self.inputs.items()}
        loss, figures = _verdict(_evaluate(self.loss, self.loss, **tensors))
        value = self.weight * loss
        return Share(self.scale * value, {self.name: value.detach(), **figures})


@dataclass(frozen=True)
class FoolTerm:
    """The generator's side of an adversarial loss, logged as ``l_g_<name>``."""

    name: str
    player: str
    weight: float
    loss: AdversarialLoss
    critic: Critic
    inputs: Mapping[str, str]
    given: str | None = None
    """The condition of a conditional critic: concatenated to what it judges."""
    view: View = unchanged
    scale: float = 1.0
    """As of ``ImageTerm``."""

    def __call__(self, s: Sample) -> Share:
        """The weighted loss of the sample."""
        images = _judged({p: s[key] for p, key in self.inputs.items()}, s, self.given, self.view)
        loss, figures = _verdict(_evaluate(self.loss, self.loss.generator, self.critic, **images))
        value = self.weight * loss
        return Share(self.scale * value, {f"l_g_{self.name}": value.detach(), **figures})


@dataclass(frozen=True)
class JudgeTerm:
    """The discriminator's side of the same loss. It sees the fakes detached, and unweighted as in the papers."""

    name: str
    player: str
    loss: AdversarialLoss
    critic: Critic
    inputs: Mapping[str, str]
    given: str | None = None
    view: View = unchanged
    pool: Callable[[Tensor], Tensor] = field(default=lambda fakes: fakes)

    def __call__(self, s: Sample) -> Share:
        """The verdict; its figures carry the term's suffix: ``gan_A`` logs ``l_d_real_A``."""
        images = _judged({p: s.detached(key) for p, key in self.inputs.items()}, s, self.given, self.view)
        images["fake"] = self.pool(images["fake"])
        verdict = _evaluate(self.loss, self.loss.discriminator, self.critic, **images)
        suffix = self.name.removeprefix("gan")
        return Share(verdict.loss, {f"{figure}{suffix}": value for figure, value in verdict.figures.items()})


def _judged(images: dict[str, Tensor], s: Sample, given: str | None, view: View) -> dict[str, Tensor]:
    """``fake`` and ``real`` as the critic is shown them; what else the loss reads stays as it is."""
    judged = {p: images[p] for p in ("fake", "real")}
    if given is None:
        return images | view(judged, ())
    seen = view({**judged, "given": s[given]}, ("given",))
    return images | {p: torch.cat([seen["given"], seen[p]], dim=1) for p in judged}


def _verdict(found: Tensor | Verdict) -> Verdict:
    return found if isinstance(found, Verdict) else Verdict(found, {})


def _evaluate(loss: Loss, function: Callable[..., Any], *critic: Critic, **tensors: Any) -> Any:
    """``function(*critic, **tensors)``, outside autocast and in float32 if the loss must be."""
    if not loss.full_precision:
        return function(*critic, **tensors)
    device = next(t.device.type for t in tensors.values() if isinstance(t, Tensor))
    with torch.autocast(device, enabled=False):
        return function(*critic, **{name: _float32(t) for name, t in tensors.items()})


def _float32(value: Any) -> Any:
    half = isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if half else value


LOSSES: Registry[Loss] = Registry("loss", "darkroom.losses")
