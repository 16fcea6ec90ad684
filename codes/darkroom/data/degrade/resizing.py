"""Random resizes, as BSRGAN and Real-ESRGAN have them.

K. Zhang et al., "Designing a Practical Degradation Model for Deep Blind Image Super-Resolution", ICCV 2021, section
3.2 (``nearest_aligned``, ``down_up``); X. Wang et al., "Real-ESRGAN: Training Real-World Blind Super-Resolution with
Pure Synthetic Data", ICCVW 2021, section 3.1 (up, down or keep).

What goes on from here, ``s``, is how many times as large as its goal an image still is. An image within 4 pixels of the
goal has been made small already, so with ``adaptive`` it loses only half as much: a factor f < 1 becomes (1 + f) / 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...filters.resize_taps import kernel_name
from ..augment import chosen
from . import DEGRADATIONS
from .operation import Degradation, Operation, Size
from .resizes import DownUp, Resize

CLOSE = 4
"""So many pixels more or less than its goal count as none."""
_LEAST = 4
_WHOLE = ("nearest", "nearest_aligned", "box")
"""Kernels that shrink by whole numbers."""
_COMMON = ("area", "linear", "cubic")


@dataclass(frozen=True)
class Kernels:
    """Some kernels to choose from, each as often as its share says; without shares all alike."""

    names: Sequence[str]
    shares: Sequence[float] | None = None

    def __post_init__(self) -> None:
        """Refuse names that there are not, and shares that are none."""
        for name in self.names:
            kernel_name(name)
        if not self.names:
            raise ValueError("kernels: expected at least one, found none")
        if self.shares is not None and (
            len(self.shares) != len(self.names) or min(self.shares) < 0 or sum(self.shares) <= 0
        ):
            raise ValueError(
                f"shares: expected one for each of {len(self.names)} kernels, not all 0, found {self.shares}"
            )

    def at(self, place: float) -> str:
        """The kernel at a ``place`` in [0, 1)."""
        return kernel_name(self.names[chosen(self.shares or (1,) * len(self.names), place)])


def is_close(size: Size, goal: Size) -> bool:
    """Whether both sides are within 4 pixels of the goal."""
    return all(abs(side - end) <= CLOSE for side, end in zip(size, goal, strict=True))


def scaled(size: Size, factor: float) -> Size:
    """Both sides times ``factor``, rounded, and no less than 4 unless they are less already."""
    height, width = (max(round(side * factor), min(side, _LEAST)) for side in size)
    return Size(height, width)


def _excess(size: Size, goal: Size) -> float:
    """The s of this module."""
    return math.sqrt(size.height * size.width / (goal.height * goal.width))


def _whole(size: Size, goal: Size, place: float) -> int:
    """One of s / 2, rounded up, and s, rounded."""
    s = max(1, round(_excess(size, goal)))
    return (s + 1) // 2 if place < 0.5 else s


def _within(limits: tuple[float, float], place: float) -> float:
    return limits[0] + (limits[1] - limits[0]) * place


def _checked(name: str, limits: tuple[float, float]) -> tuple[float, float]:
    if not 0 < limits[0] <= limits[1]:
        raise ValueError(f"{name}: expected two positive numbers in order, found {limits}")
    return limits


@DEGRADATIONS.register("resize")
class RandomResize(Degradation):
    """Resizes up, down or not at all, by a random factor and one of several kernels.

    ``nearest``, ``nearest_aligned`` and ``box`` always shrink, by s or by half of it, both made whole.
    """

    def __init__(
        self,
        kernels: tuple[str, ...] = _COMMON,
        shares: tuple[float, ...] | None = None,
        up: float = 0.0,
        down: float = 1.0,
        keep: float = 0.0,
        up_range: tuple[float, float] = (1.0, 1.5),
        down_range: tuple[float, float] | None = (0.15, 1.0),
        of: Literal["current", "goal"] = "current",
        adaptive: bool = True,
    ) -> None:
        """``up``, ``down`` and ``keep`` say how often each is taken, relative to the others.

        The ranges are those of factors ``of`` the size that the image has by now, or of its goal. Without
        ``down_range`` it shrinks to 1/s to 2/s of its present size: to something between its goal and twice that.

        Raises:
            ValueError: a kernel that there is not, or numbers out of order.
        """
        self._kernels = Kernels(kernels, shares)
        self._directions = (up, down, keep)
        if min(self._directions) < 0 or sum(self._directions) <= 0:
            raise ValueError(f"up: expected up, down and keep from 0 on, and not all 0, found {up}, {down} and {keep}")
        self._up = _checked("up_range", up_range)
        self._down = down_range and _checked("down_range", down_range)
        self._of = of
        self._adaptive = adaptive

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> Operation | None:
        """The kernel, the direction and the factor are drawn, always all three."""
        chosen, direction, amount = rng.random(3)
        kernel = self._kernels.at(chosen)
        if kernel in _WHOLE:
            end = scaled(size, 1 / _whole(size, goal, amount))
        else:
            end = self._end(direction, amount, size, goal)
        return None if end == size else Resize(kernel, end)

    def _end(self, direction: float, amount: float, size: Size, goal: Size) -> Size:
        place = direction * sum(self._directions)
        base = size if self._of == "current" else goal
        if place >= self._directions[0] + self._directions[1]:
            return base
        if place < self._directions[0]:
            factor = _within(self._up, amount)
        elif self._down is not None:
            factor = _within(self._down, amount)
        else:
            s = _excess(size, goal)
            base, factor = size, min(_within((1 / s, 2 / s), amount), 1)
        if factor < 1 and self._adaptive and is_close(size, goal):
            factor = (1 + factor) / 2
        return scaled(base, factor)


@DEGRADATIONS.register("nearest_aligned")
class NearestAligned(Degradation):
    """Takes every k-th pixel of the image, blurred by a Gaussian that keeps the pixels where they belong.

    k is s or half of it, both made whole.
    """

    def __init__(self, sigma: tuple[float, float] = (0.1, 0.6)) -> None:
        """The Gaussian has a ``sigma`` from the first number to k times the second, in pixels.

        Raises:
            ValueError: the numbers are not positive, or not in order.
        """
        self._sigma = _checked("sigma", sigma)

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> Operation | None:
        """The factor and sigma are drawn."""
        amount, width = rng.random(2)
        k = _whole(size, goal, amount)
        end = scaled(size, 1 / k)
        return (
            None
            if end == size
            else Resize("nearest_aligned", end, _within((self._sigma[0], self._sigma[1] * k), width))
        )


@DEGRADATIONS.register("down_up")
class RandomDownUp(Degradation):
    """Resizes down and up again, so that the image ends s1 times smaller: s1 from s / 2, rounded up, to s.

    In between it has a times the size that it will have in the end, a from ``least`` to s1, as in BSRGAN's D_down-up.
    """

    def __init__(
        self,
        kernels: tuple[str, ...] = ("linear", "cubic"),
        shares: tuple[float, ...] | None = None,
        least: float = 0.5,
        adaptive: bool = True,
    ) -> None:
        """Each of both resizes has a kernel of its own.

        Raises:
            ValueError: a kernel that there is not, shares that do not fit, or ``least`` not in (0, 1].
        """
        self._kernels = Kernels(kernels, shares)
        if not 0 < least <= 1:
            raise ValueError(f"least: expected more than 0 and at most 1, found {least}")
        self._least = least
        self._adaptive = adaptive

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> Operation:
        """Both kernels, s1 and a are drawn."""
        first, second, place, middle = rng.random(4)
        s = max(1.0, _excess(size, goal))
        s1 = _within((min(s, (round(s) + 1) // 2), s), place)
        a = _within((self._least, s1), middle)
        if a < 1 and self._adaptive and is_close(size, goal):
            a = (1 + a) / 2
        sizes = scaled(size, a / s1), scaled(size, 1 / s1)
        return DownUp(Resize(self._kernels.at(first), sizes[0]), Resize(self._kernels.at(second), sizes[1]))


@DEGRADATIONS.register("final_scale")
class FinalScale(Degradation):
    """Resizes to exactly the goal."""

    def __init__(self, kernels: tuple[str, ...] = _COMMON, shares: tuple[float, ...] | None = None) -> None:
        """One of the ``kernels`` is taken.

        Raises:
            ValueError: a kernel that there is not, or shares that do not fit.
        """
        self._kernels = Kernels(kernels, shares)

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> Operation | None:
        """The kernel is drawn, though it is not needed where the image has that size."""
        kernel = self._kernels.at(rng.random())
        return None if size == goal else Resize(kernel, goal)
