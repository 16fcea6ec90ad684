"""The tensors of one micro-batch: what the dataset gave, and what the networks make of it, on demand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor


class Sample:
    """A mapping from names to tensors in which a model's outputs are computed on first use and then kept.

    So nothing is computed that no loss of the current phase asks for, and nothing is computed twice:
    the discriminator's turn sees the very tensor of the generator's turn.
    """

    def __init__(
        self,
        batch: Mapping[str, Any],
        rules: Mapping[str, Callable[[Sample], Any]],
        aliases: Mapping[str, str],
    ) -> None:
        """``rules`` compute the outputs by name; ``aliases`` are names that stand for another tensor."""
        self._batch = dict(batch)
        self._rules = rules
        self._aliases = aliases
        self._outputs: dict[str, Any] = {}
        self._detached: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Any:  # a Tensor, but for the intermediate results of a model's own
        """The tensor of that name, with its graph if it is an output.

        Raises:
            KeyError: the name is neither in the batch nor an output; the message lists what there is.
        """
        name = self.meaning(name)
        if name in self._batch:
            return self._batch[name]
        if name not in self._outputs:
            if name not in self._rules:
                known = sorted({*self._batch, *self._rules})
                raise KeyError(f"{name!r} is neither in the batch nor an output: there are {known}")
            self._outputs[name] = self._rules[name](self)
        return self._outputs[name]

    def __contains__(self, name: str) -> bool:
        """Whether ``self[name]`` would give a tensor."""
        name = self.meaning(name)
        return name in self._batch or name in self._rules

    def meaning(self, name: str) -> str:
        """The tensor that a name stands for."""
        return self._aliases.get(name, name)

    def detached(self, name: str) -> Tensor:
        """The tensor of that name without its graph; never a second forward pass where one was made before."""
        name = self.meaning(name)
        if name not in self._detached:
            self._detached[name] = self[name].detach()
        return self._detached[name]

    def release(self) -> None:
        """Let the graphs go; what was computed stays available through ``detached``."""
        for name, value in self._outputs.items():
            if isinstance(value, Tensor) and name not in self._detached:
                self._detached[name] = value.detach()
        self._outputs = {}
