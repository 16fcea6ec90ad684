"""What the framework asks of a network beyond being a module: its facts, and the key layouts of its public files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

State = Mapping[str, Tensor]


class Network(nn.Module):
    """Base of all networks. ``forward`` takes and gives (B, C, H, W); images are in [0, 1] unless the class says other.

    A subclass is final, registers itself in ``ARCHS`` and overrides the class methods where the community's files for
    it have key layouts of their own.
    """

    multiple_of: ClassVar[int] = 1
    """Sides of the input must be multiples of it; tiling and test pad to it."""
    half_precision: ClassVar[bool] = True
    """Whether it may run in fp16."""
    keeps_gray: ClassVar[bool] = True
    """Whether a gray image stays gray, as in restoration; translation may give it colours."""
    signed: bool = False
    """Whether its images are in [-1, 1] instead of [0, 1]."""
    container: ClassVar[str | None] = None
    """Under which key, beside ``iteration``, its published files hold the weights; None if they hold nothing else."""
    image_names: ClassVar[tuple[str, ...]] = ("output",)
    """What the images are that it makes; ``forward`` gives the last one."""
    reads: ClassVar[tuple[str, ...]] = ("input",)
    """What ``forward`` takes, by the names of a model's tensors."""
    condition: ClassVar[tuple[str, ...]] = ()
    """How the names of the modules begin that bring in what it reads besides the image."""
    scale: int = 1
    """Side of the output over side of the input."""
    get_feats: bool = False
    """Whether it returns its feature maps with its scores, as ``[[map, ..., scores], ...]``, one entry per scale."""

    def images(self, x: Tensor, count: int | None = None) -> tuple[Tensor, ...]:
        """The first ``count`` of the images that it makes, see ``image_names``; those after them are not computed."""
        del count
        return (self(x),)

    def sample(self, x: Tensor, heat: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """An image drawn at a temperature, and (B,) which were replaced because they were none.

        Raises:
            ValueError: this network makes one image only.
        """
        del x, heat, generator
        raise ValueError(f"{type(self).__name__} makes one image only, so there is nothing to draw: remove heats")

    def stages(self) -> Sequence[Sequence[str]]:
        """Its layers from the input on, as paths of modules, several where they are side by side.

        They can be frozen one after the other for fine-tuning. None if there is no such order.
        """
        return ()

    @classmethod
    def recognise(cls, state: State) -> dict[str, Any] | None:
        """The constructor arguments of the network whose weights ``state`` holds, or None if it is not of this class.

        ``state`` is unwrapped, in any of the layouts of ``from_public``.
        """
        del state
        return None

    def from_public(self, state: State) -> dict[str, Tensor]:
        """``state``, in whichever public layout it is, under the keys of this network; unknown keys stay."""
        return dict(state)

    def to_public(self, state: State, layout: str | None = None) -> dict[str, Tensor]:
        """A ``state_dict()`` of this network in a public layout; None is the one that most tools load.

        Raises:
            ValueError: this network has no such layout; the message names those that there are.
        """
        if layout is not None:
            raise ValueError(f"{type(self).__name__} has one key layout only, not {layout!r}")
        return dict(state)
