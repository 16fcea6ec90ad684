"""Degradations that leave nothing to chance."""

from __future__ import annotations

import numpy as np

from .operation import Degradation, Operation, Size


class Fixed(Degradation, Operation):
    """Does the same to every sample, so it is its own operation: a frozen dataclass, whose fields are the options."""

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> Operation:
        """Itself; nothing is drawn."""
        del rng, size, goal
        return self
