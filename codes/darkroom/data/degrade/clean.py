"""No degradation: a choice for stages that are to leave some images as they are."""

from __future__ import annotations

import numpy as np

from . import DEGRADATIONS
from .operation import Degradation, Operation, Size


@DEGRADATIONS.register("clean")
class Clean(Degradation):
    """Does nothing."""

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> Operation | None:
        """None; nothing is drawn."""
        del rng, size, goal
        return None
