"""Blurs with random parameters: those of traiNNer's presets, of BSRGAN and of Real-ESRGAN.

K. Zhang et al., BSRGAN, ICCV 2021, https://arxiv.org/abs/2103.14006; X. Wang et al., Real-ESRGAN, ICCVW 2021,
https://arxiv.org/abs/2107.10833. The ranges are traiNNer's base preset, those of beta Real-ESRGAN's. What differs: a
box blur and an average blur are the same thing here, as they are there, and motion leaves the image where it is.

``kernel_size`` is a range of sides in pixels, of which an odd one is drawn; ``sigma`` are deviations in pixels;
``angle`` in degrees; ``noise`` n multiplies every entry of the kernel by a number in [1 - n, 1 + n], and the kernel is
divided by its sum again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ...filters import blur_kernels as kernels
from . import DEGRADATIONS
from .blurring import Blur
from .operation import Array, Degradation, OnHost, Size

_LIMITS = {
    "kernel_size": (1, math.inf),
    "sigma": (0.001, math.inf),
    "sigma_x": (0.001, math.inf),
    "sigma_y": (0.001, math.inf),
    "sigma_color": (0, math.inf),
    "sigma_space": (0, math.inf),
    "angle": (-math.inf, math.inf),
    "beta": (0.01, math.inf),
    "cutoff": (0.01, math.pi),
    "noise": (0, 1),
    "size": (1, math.inf),
    "complexity": (0, 1),
}
"""Least and most of every parameter that is a number or a range."""


class _Checked(Degradation):
    """A blur whose parameters are within their limits, or it is not made."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is None:
                continue
            low, high = value if isinstance(value, tuple) else (value, value)
            least, most = _LIMITS[name]
            if not least <= low <= high <= most:
                raise ValueError(f"{name}: expected {least:g} to {most:g}, in order, found {value}")
            if name == "kernel_size" and low | 1 > high:
                raise ValueError(f"{name}: expected an odd number in the range, found {value}")


@DEGRADATIONS.register("average_blur", "box_blur")
@dataclass(frozen=True)
class AverageBlur(_Checked):
    """The mean of a square."""

    kernel_size: tuple[int, int] = (3, 11)

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> Blur:
        """Draws the side."""
        side = _odd(rng, self.kernel_size)
        return _blur(kernels.box(side), f"average {side}")


@DEGRADATIONS.register("gaussian_blur")
@dataclass(frozen=True)
class GaussianBlur(_Checked):
    """A round Gaussian, cut off at the side of the kernel."""

    kernel_size: tuple[int, int] = (3, 11)
    sigma: tuple[float, float] = (0.1, 2.8)

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> Blur:
        """Draws the side, the deviation."""
        side, sigma = _odd(rng, self.kernel_size), rng.uniform(*self.sigma)
        return _blur(kernels.generalized_gaussian(side, (sigma, sigma)), f"gaussian {side} {sigma:.2f}")


@DEGRADATIONS.register("median_blur")
@dataclass(frozen=True)
class MedianBlur(_Checked):
    """The median of a square; from a side of 7 on, of the image in 8 bits."""

    kernel_size: tuple[int, int] = (3, 11)

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> OnHost:
        """Draws the side."""
        side = _odd(rng, self.kernel_size)
        return OnHost(f"median {side}", median, (side,))


@DEGRADATIONS.register("bilateral_blur")
@dataclass(frozen=True)
class BilateralBlur(_Checked):
    """The mean of what is near and alike; ``sigma_color`` is in levels of 8 bits."""

    kernel_size: tuple[int, int] = (3, 11)
    sigma_color: tuple[float, float] = (0.0, 200.0)
    sigma_space: tuple[float, float] = (0.0, 200.0)

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> OnHost:
        """Draws the diameter, the deviation of colours, that in space."""
        side = _odd(rng, self.kernel_size)
        color, space = rng.uniform(*self.sigma_color), rng.uniform(*self.sigma_space)
        return OnHost(f"bilateral {side} {color:.0f} {space:.0f}", bilateral, (side, color / 255, space))


@DEGRADATIONS.register("motion_blur")
@dataclass(frozen=True)
class MotionBlur(_Checked):
    """A straight move, from one side of the kernel to the other when it is along x or y."""

    kernel_size: tuple[int, int] = (3, 7)
    angle: tuple[float, float] = (0.0, 180.0)

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> Blur:
        """Draws the side, the angle."""
        side, angle = _odd(rng, self.kernel_size), rng.uniform(*self.angle)
        return _blur(kernels.along(kernels.straight_path(side - 1, angle)), f"motion {side} at {angle:.0f}")


@DEGRADATIONS.register("complex_motion_blur")
@dataclass(frozen=True)
class ComplexMotionBlur(_Checked):
    """A camera held by hand, during some part of a way of ``size`` pixels, or of half the image if that is less.

    Its ``complexity`` is 0 for a straight way to 1.
    """

    size: int = 100
    complexity: float = 1.0

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> Blur:
        """Draws the part, the angle, three habits of the hand, then the steps: always as many numbers."""
        part, angle, *habits = rng.random(5).tolist()
        wander = rng.standard_normal((2, kernels.PATH_STEPS))
        jerks = rng.random((2, kernels.PATH_STEPS))
        length = min(self.size, min(size) / 2)
        path = kernels.shaken_path(
            length, 360 * angle, self.complexity, tuple(habits), wander[0] + 1j * wander[1], jerks
        )
        seen = path[: 1 + math.ceil(part * kernels.PATH_STEPS)]
        return _blur(kernels.along(seen), f"complex motion {part * length:.0f}")


@DEGRADATIONS.register("sinc")
@dataclass(frozen=True)
class Sinc(_Checked):
    """What leaves ringing, as sharpening and JPEG do.

    ``cutoff`` in radians a pixel; None: up to pi, from pi / 3 for a side below 13, else from pi / 5.
    """

    kernel_size: tuple[int, int] = (7, 21)
    cutoff: tuple[float, float] | None = None

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> Blur:
        """Draws the side, the cutoff."""
        side = _odd(rng, self.kernel_size)
        cutoff = rng.uniform(*(self.cutoff or (math.pi / (3 if side < 13 else 5), math.pi)))
        return _blur(kernels.sinc(side, cutoff), f"sinc {side} {cutoff:.2f}")


@DEGRADATIONS.register("iso")
@dataclass(frozen=True)
class Iso(_Checked):
    """A round Gaussian with noise."""

    kernel_size: tuple[int, int] = (7, 21)
    sigma: tuple[float, float] = (0.1, 2.8)
    noise: float = 0.25

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> Blur:
        """Draws as ``_bell`` does."""
        return _bell("iso", kernels.generalized_gaussian, rng, self.kernel_size, (self.sigma,), self.noise)


@DEGRADATIONS.register("aniso")
@dataclass(frozen=True)
class Aniso(_Checked):
    """A long Gaussian with noise, turned by an angle."""

    kernel_size: tuple[int, int] = (7, 21)
    sigma_x: tuple[float, float] = (0.1, 2.8)
    sigma_y: tuple[float, float] = (0.1, 2.8)
    angle: tuple[float, float] = (0.0, 180.0)
    noise: float = 0.5

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> Blur:
        """Draws as ``_bell`` does."""
        sigmas = self.sigma_x, self.sigma_y
        return _bell("aniso", kernels.generalized_gaussian, rng, self.kernel_size, sigmas, self.noise, self.angle)


@DEGRADATIONS.register("generalized_iso")
@dataclass(frozen=True)
class GeneralizedIso(_Checked):
    """A round bell, peaked or flat."""

    kernel_size: tuple[int, int] = (7, 21)
    sigma: tuple[float, float] = (0.1, 2.8)
    beta: tuple[float, float] = (0.5, 4.0)
    noise: float = 0.0

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> Blur:
        """Draws as ``_bell`` does."""
        formula, name = kernels.generalized_gaussian, "generalized iso"
        return _bell(name, formula, rng, self.kernel_size, (self.sigma,), self.noise, beta=self.beta)


@DEGRADATIONS.register("generalized_aniso")
@dataclass(frozen=True)
class GeneralizedAniso(_Checked):
    """A long bell, peaked or flat, turned by an angle."""

    kernel_size: tuple[int, int] = (7, 21)
    sigma_x: tuple[float, float] = (0.1, 2.8)
    sigma_y: tuple[float, float] = (0.1, 2.8)
    angle: tuple[float, float] = (0.0, 180.0)
    beta: tuple[float, float] = (0.5, 4.0)
    noise: float = 0.0

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> Blur:
        """Draws as ``_bell`` does."""
        formula, name, sigmas = kernels.generalized_gaussian, "generalized aniso", (self.sigma_x, self.sigma_y)
        return _bell(name, formula, rng, self.kernel_size, sigmas, self.noise, self.angle, self.beta)


@DEGRADATIONS.register("plateau_iso")
@dataclass(frozen=True)
class PlateauIso(_Checked):
    """A round plateau."""

    kernel_size: tuple[int, int] = (7, 21)
    sigma: tuple[float, float] = (0.1, 2.8)
    beta: tuple[float, float] = (1.0, 2.0)
    noise: float = 0.0

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> Blur:
        """Draws as ``_bell`` does."""
        return _bell("plateau iso", kernels.plateau, rng, self.kernel_size, (self.sigma,), self.noise, beta=self.beta)


@DEGRADATIONS.register("plateau_aniso")
@dataclass(frozen=True)
class PlateauAniso(_Checked):
    """A long plateau, turned by an angle."""

    kernel_size: tuple[int, int] = (7, 21)
    sigma_x: tuple[float, float] = (0.1, 2.8)
    sigma_y: tuple[float, float] = (0.1, 2.8)
    angle: tuple[float, float] = (0.0, 180.0)
    beta: tuple[float, float] = (1.0, 2.0)
    noise: float = 0.0

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> Blur:
        """Draws as ``_bell`` does."""
        formula, name, sigmas = kernels.plateau, "plateau aniso", (self.sigma_x, self.sigma_y)
        return _bell(name, formula, rng, self.kernel_size, sigmas, self.noise, self.angle, self.beta)


def median(image: Array, side: int) -> Array:
    """Of (H, W, C) in [0, 1]; OpenCV has it for float up to a side of 5."""
    if side <= 5:
        return cv2.medianBlur(image, side).reshape(image.shape)
    levels = cv2.medianBlur(cv2.convertScaleAbs(image, alpha=255), side)
    return levels.reshape(image.shape).astype(np.float32) / 255


def bilateral(image: Array, diameter: int, sigma_color: float, sigma_space: float) -> Array:
    """Of (H, W, C) in [0, 1], as ``sigma_color`` is; C. Tomasi and R. Manduchi, ICCV 1998."""
    color, space = max(sigma_color, 1e-5), max(sigma_space, 1e-5)  # OpenCV takes 0 for 1
    done = cv2.bilateralFilter(image, diameter, color, space, borderType=cv2.BORDER_REFLECT_101)
    return np.clip(done.reshape(image.shape), 0, 1)


def _bell(
    name: str,
    formula: Callable[[int, tuple[float, float], float, float], kernels.Kernel],
    rng: np.random.Generator,
    kernel_size: tuple[int, int],
    sigmas: Sequence[tuple[float, float]],
    noise: float,
    angle: tuple[float, float] | None = None,
    beta: tuple[float, float] | None = None,
) -> Blur:
    """Draws the side, one deviation for each of ``sigmas``, the angle, beta, then the noise: of these, what there is.

    One deviation is that of both axes. Beta is as often below 1 as above it, as in Real-ESRGAN's code, if it can be.
    """
    side = _odd(rng, kernel_size)
    drawn = [rng.uniform(*sigma) for sigma in sigmas]
    turn = 0.0 if angle is None else rng.uniform(*angle)
    shape = 1.0 if beta is None else _shape(rng, beta)
    kernel = formula(side, (drawn[0], drawn[-1]), turn, shape)
    if noise:
        kernel = kernels.normalized(kernel * rng.uniform(1 - noise, 1 + noise, kernel.shape))
    numbers = [f"{sigma:.2f}" for sigma in drawn]
    numbers += [f"at {turn:.0f}"] if angle else []
    numbers += [f"beta {shape:.2f}"] if beta else []
    return _blur(kernel, " ".join([name, str(side), *numbers]))


def _shape(rng: np.random.Generator, beta: tuple[float, float]) -> float:
    low, high = beta
    middle = 1.0 if low < 1 < high else (low + high) / 2
    return float(np.interp(rng.random(), (0, 0.5, 1), (low, middle, high)))


def _odd(rng: np.random.Generator, sides: tuple[int, int]) -> int:
    """One of the odd numbers from the first of ``sides`` to the last."""
    first = sides[0] | 1
    return first + 2 * int(rng.integers((sides[1] - first) // 2 + 1))


def _blur(kernel: kernels.Kernel, label: str) -> Blur:
    return Blur(kernels.trimmed(kernel).astype(np.float32), label)
