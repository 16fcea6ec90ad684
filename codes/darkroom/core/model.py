"""What a training method is: networks, players, and how each named tensor follows from the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from torch import Tensor, nn

from .phases import Phase
from .registry import Registry
from .sample import Sample

F = TypeVar("F", bound=Callable[..., Any])


def network(*, optional: bool = False) -> Any:
    """A field of a model that the option file's section ``network_<field>`` fills."""
    metadata = {"network": True}
    return dataclasses.field(default=None, metadata=metadata) if optional else dataclasses.field(metadata=metadata)


def rule(method: F) -> F:
    """Mark a method ``(self, s: Sample) -> Tensor`` as the rule that computes the tensor of its name."""
    method.is_rule = True  # type: ignore[attr-defined]
    return method


@dataclasses.dataclass(eq=False, kw_only=True)
class Model:
    """Base of all training methods. A subclass is a dataclass: its ``network()`` fields are networks, the rest options.

    It knows nothing of loops, devices, optimizers, files or option files.
    """

    players: ClassVar[Mapping[str, tuple[str, ...]]]
    """Who takes turns in an iteration, in order, and which networks each one trains."""
    reads: ClassVar[tuple[str, ...]]
    """The tensors that the dataset must give."""
    images: ClassVar[tuple[str, ...]] = ("input", "target")
    """Those of the batch's tensors that are images."""
    sheet: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """The rows of images, given and made, that are shown together."""
    leads: ClassVar[str] = "G"
    """The player whose learning rate the log shows."""
    critics: ClassVar[tuple[str, ...]] = ()
    """Networks that judge, beside those that adversarial losses name."""
    simultaneous: ClassVar[bool] = False
    """Whether all players learn before any of them steps; else each plays against those that have just stepped."""
    tiles: ClassVar[str | None] = None
    """The image that may be cut into tiles when memory is short; all images of ``infer`` then have one size."""
    aliases: ClassVar[Mapping[str, str]] = {}
    """Names that stand for another tensor unless a phase binds them anew."""
    rules: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Collect the rules of the class."""
        super().__init_subclass__(**kwargs)
        found = {n: n for n, m in vars(cls).items() if getattr(m, "is_rule", False)}
        cls.rules = {**cls.rules, **found}

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The networks that there are, by field name."""
        names = (f.name for f in dataclasses.fields(self) if f.metadata.get("network"))
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @property
    def learners(self) -> dict[str, nn.Module]:
        """Those of them that a player trains; the others stay as they are."""
        owned = {name for names in self.players.values() for name in names}
        return {name: network for name, network in self.networks.items() if name in owned}

    @property
    def is_signed(self) -> bool:
        """Whether its networks and losses see images in [-1, 1]; those of a batch are always in [0, 1]."""
        return False

    def sample(self, batch: Mapping[str, Any], bind: Mapping[str, str] | None = None) -> Sample:
        """The tensors of ``batch`` and, on demand, this model's outputs."""
        rules = {name: getattr(self, method) for name, method in self.rules.items()}
        if self.is_signed:
            batch = {**batch, **{name: batch[name] * 2 - 1 for name in self.images if name in batch}}
        return Sample(batch, rules, {**self.aliases, **(bind or {})})

    def phases(self, iterations: int, losses: Mapping[str, bool]) -> Sequence[Phase]:
        """The phases of a run of ``iterations``, derived from this model's options; none means one ordinary phase.

        ``losses`` are the names of all losses, and whether they are adversarial.

        Raises:
            ValueError: the options name a loss that is not there.
        """
        del iterations, losses
        return ()

    def infer(self, sample: Sample) -> dict[str, Tensor]:
        """Images to show and to measure at validation, each (B, C, H, W) as the networks make them."""
        return {"output": sample["output"]}

    def shown(self, sample: Sample) -> dict[str, Tensor]:
        """Those of ``infer`` in [0, 1], before clipping."""
        images = self.infer(sample)
        return {name: (image + 1) / 2 for name, image in images.items()} if self.is_signed else images

    def figures(self, sample: Sample) -> dict[str, Tensor]:
        """What to measure at validation besides metrics of images, each a scalar; where all that it reads is there."""
        del sample
        return {}

    def watch(self, sample: Sample) -> dict[str, Tensor]:
        """What the log shows of a training sample beside its losses, each a scalar on the device."""
        del sample
        return {}

    def remarks(self) -> list[str]:
        """What to tell the user of the images since the last time."""
        return []

    def module(self, path: str) -> nn.Module:
        """``"G"`` or ``"G.trunk.3"``.

        Raises:
            KeyError: there is no such network.
            AttributeError: the network has no such module.
        """
        name, _, inner = path.partition(".")
        return self.networks[name].get_submodule(inner)

    def train_only(self, paths: Collection[str], but: Collection[str] = ()) -> None:
        """Freeze all parameters but those of the modules named; ``but`` are parts of them that are frozen too."""
        trained, frozen = ({p for path in some for p in self.module(path).parameters()} for some in (paths, but))
        for network in self.networks.values():
            for parameter in network.parameters():
                parameter.requires_grad_(parameter in trained and parameter not in frozen)


MODELS: Registry[Model] = Registry("model", "darkroom.models")
