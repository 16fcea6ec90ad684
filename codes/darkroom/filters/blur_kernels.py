"""Kernels that blur: what super-resolution trains against, as formulas without random numbers.

Generalised Gaussians and plateaus (Y. Liu et al., "Estimating Generalized Gaussian Blur Kernels for Out-of-Focus Image
Deblurring", IEEE TCSVT 2020) and sinc filters as in X. Wang et al., "Real-ESRGAN", ICCVW 2021,
https://arxiv.org/abs/2107.10833, sections 3.2 and 3.4; paths of a shaken camera as in G. Boracchi and A. Foi, "Modeling
the Performance of Image Restoration from Motion Blur", IEEE TIP 2012. What differs: a path is centred on its mean, so
that the image stays where it is, and has 500 steps, for which the numbers of the authors' 2000 are converted.

All kernels are (side, side), float64, of an odd side, and sum to 1. x points to the right, y down; angles are in
degrees, from x towards y.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

Kernel = NDArray[np.float64]
Path = NDArray[np.complex128]
"""(N,) places, x + i y, in pixels."""

PATH_STEPS = 500
_AUTHORS_STEPS = 2000
_MOST_ANXIETY = 0.01
"""At complexity 1: the largest with which DeblurGAN (https://arxiv.org/abs/1711.07064) makes its paths."""


def box(side: int) -> Kernel:
    """All entries alike."""
    return np.full((side, side), side**-2.0)


def generalized_gaussian(side: int, sigma: tuple[float, float], angle: float = 0.0, beta: float = 1.0) -> Kernel:
    """exp(-(p^T S^-1 p)^beta / 2), Real-ESRGAN's eq. 4; the Gaussian at beta 1, more peaked below it, flatter above.

    ``sigma`` is the root of the covariance S along two axes, the first of which is turned by ``angle`` from x.
    """
    return normalized(np.exp(-0.5 * _distance(side, sigma, angle) ** beta))


def plateau(side: int, sigma: tuple[float, float], angle: float = 0.0, beta: float = 1.0) -> Kernel:
    """1 / (1 + (p^T S^-1 p)^beta): flat in the middle for a large beta. The same parameters."""
    return normalized(1 / (1 + _distance(side, sigma, angle) ** beta))


def sinc(side: int, cutoff: float) -> Kernel:
    """w / (2 pi r) J1(w r), Real-ESRGAN's eq. 6: what is above ``cutoff`` radians a pixel is gone, and edges ring."""
    from scipy.special import j1  # type: ignore[import-untyped]

    radii, places = _radii(side)
    r = radii[1:]
    middle = cutoff**2 / (4 * math.pi)  # the formula's limit
    values = np.concatenate([[middle], cutoff / (2 * math.pi * r) * j1(cutoff * r)])
    return normalized(values[places])


def along(path: Path) -> Kernel:
    """What a point leaves that is at the places of ``path`` for equally long: as small a kernel as holds it.

    The centre is the mean of the path. What falls between pixels is shared by the four around it.
    """
    path = np.round(path - path.mean(), 9)  # what is on a pixel but for rounding is on it
    radius = math.ceil(max(np.abs(path.real).max(), np.abs(path.imag).max()))
    side = 2 * radius + 1
    kernel = np.zeros((side + 1) ** 2)  # a place on the last pixel has neighbours beyond it, with weights of 0
    left, top = (np.floor(part).astype(np.int64) for part in (path.real, path.imag))
    x, y = path.real - left, path.imag - top
    corner = (top + radius) * (side + 1) + left + radius
    for weight, offset in (((1 - y) * (1 - x), 0), ((1 - y) * x, 1), (y * (1 - x), side + 1), (y * x, side + 2)):
        kernel += np.bincount(corner + offset, weight, kernel.size)
    return normalized(kernel.reshape(side + 1, side + 1)[:side, :side])


def straight_path(length: float, angle: float) -> Path:
    """At one speed along a line, four places a pixel."""
    places = np.linspace(-length / 2, length / 2, math.ceil(4 * length) + 1)
    path: Path = places * np.exp(1j * math.radians(angle))
    return path


def shaken_path(
    length: float,
    angle: float,
    complexity: float,
    habits: tuple[float, float, float],
    wander: Path,
    jerks: NDArray[np.float64],
) -> Path:
    """The way of a camera that is held by hand, of ``length`` pixels, which sets out at ``angle``.

    Args:
        length: Of the whole way; its speed is always the same.
        angle: In degrees.
        complexity: 0 for a straight line, 1 for the most restless hand.
        habits: How strongly it is drawn back to the start, how often it jerks, how much it trembles; 0 to 1 each.
        wander: (500,), complex normal numbers, the tremble of each step.
        jerks: (2, 500), uniform in [0, 1): whether a step turns back, and which way.
    """
    anxiety, steps = _MOST_ANXIETY * complexity, _AUTHORS_STEPS / PATH_STEPS
    pull, often, tremble = habits
    drawn = 0.7 * pull * anxiety * steps
    pushed = (10 * tremble * anxiety * math.sqrt(steps) * wander).tolist()
    turned = 1 + 2 * np.exp(1j * (math.pi + jerks[1] - 0.5))
    turns = np.where(jerks[0] < 0.2 * often * anxiety * steps, turned, 1).tolist()
    at, heading, step = 0j, complex(np.exp(1j * math.radians(angle))), length / PATH_STEPS
    path = [at]
    for turn, push in zip(turns, pushed, strict=True):
        heading = heading * turn + push - drawn * at
        heading /= abs(heading)
        at += step * heading
        path.append(at)
    return np.array(path)


def normalized(kernel: Kernel) -> Kernel:
    """Divided by its sum."""
    return kernel / kernel.sum()


def trimmed(kernel: Kernel, weight: float = 1e-6) -> Kernel:
    """Without the outermost entries on all sides that together weigh no more than ``weight``: smaller is faster."""
    if abs(kernel[0, len(kernel) // 2]) > weight:  # most often, this entry alone tells that nothing is cut
        return kernel
    beyond = np.cumsum(np.bincount(_rings(len(kernel)), np.abs(kernel).ravel())[::-1])
    cut = int(np.searchsorted(beyond, weight, side="right"))
    return normalized(kernel[cut : len(kernel) - cut, cut : len(kernel) - cut]) if cut else kernel


@cache  # what depends on the side alone took half of the time that a kernel took
def _grid(side: int) -> tuple[Kernel, Kernel]:
    """x (1, side) and y (side, 1) of the entries, 0 in the middle; to be read only."""
    at = np.arange(side, dtype=np.float64) - side // 2
    at.flags.writeable = False
    return at[None], at[:, None]


@cache
def _rings(side: int) -> NDArray[np.int64]:
    """(side^2,): of each entry how many entries it is from the middle, along rows or columns."""
    x, y = _grid(side)
    return np.maximum(np.abs(x), np.abs(y)).astype(np.int64).ravel()


@cache
def _radii(side: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """All distances from the middle that there are, 0 first, and which of them each of (side, side) entries has."""
    radii, places = np.unique(np.hypot(*_grid(side)), return_inverse=True)
    return radii, places.reshape(side, side)


def _distance(side: int, sigma: tuple[float, float], angle: float) -> Kernel:
    """(side, side): p^T S^-1 p with S = R diag(sigma^2) R^T."""
    x, y = _grid(side)
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    u, v = (cos / sigma[0]) * x + (sin / sigma[0]) * y, (cos / sigma[1]) * y - (sin / sigma[1]) * x
    return u * u + v * v
