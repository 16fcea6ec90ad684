"""Give an image the colours of another: what the tools and others do to arrays (H, W, 3), RGB in [0, 1], float32.

``rgb``, ``lab``, ``ycbcr``, ``lum``, ``hue``: means and deviations, E. Reinhard et al., "Color transfer between
images", 2001 (in Ruderman's space; here as the names say). ``pdf`` and ``regrain``: F. Pitie, A. Kokaram, R. Dahyot,
"Automated colour grading using colour distribution transfer", CVIU 2007. ``sot``: J. Rabin et al., "Wasserstein
barycenter and its application to texture mixing", 2011. ``histo``: every channel gets the levels of the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

_ROUNDS = 20
_DIRECTIONS = 6
"""Of a round of the sliced transport, whose moves are averaged."""
_BINS = 1024


def transfer(image: Array, reference: Array, algorithm: str, seed: int = 0) -> Array:
    """``image`` in the colours of ``reference``, which may have another size; in [0, 1]. ``seed`` is for pdf and sot.

    Raises:
        ValueError: there is no such algorithm, or an image has not three channels.
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm: expected one of {', '.join(ALGORITHMS)}, found {algorithm!r}")
    if any(x.ndim != 3 or x.shape[2] != 3 for x in (image, reference)):
        raise ValueError(f"expected images (H, W, 3), found {image.shape} and {reference.shape}")
    rng = np.random.default_rng(seed)
    return np.clip(ALGORITHMS[algorithm](image, reference, rng), 0, 1).astype(np.float32)


def moments(image: Array, reference: Array) -> Array:
    """(H, W, C) with the means and deviations of the reference's channels; a flat channel gets the mean only."""
    (mean, deviation), (wanted, spread) = (
        (x.mean((0, 1), dtype=np.float64), x.std((0, 1), dtype=np.float64)) for x in (image, reference)
    )
    gain = np.where(deviation > 1e-7, spread / np.maximum(deviation, 1e-7), 1)
    return ((image - mean) * gain + wanted).astype(np.float32)


def _in_space(there: int, back: int, channels: slice) -> Callable[[Array, Array, np.random.Generator], Array]:
    """``moments`` of some of the channels of another colour space of OpenCV."""

    def change(image: Array, reference: Array, rng: np.random.Generator) -> Array:
        del rng
        own, wanted = (cv2.cvtColor(np.ascontiguousarray(x), there) for x in (image, reference))
        own[..., channels] = moments(own[..., channels], wanted[..., channels])
        return cv2.cvtColor(own, back)

    return change


def _hue(image: Array, reference: Array, rng: np.random.Generator) -> Array:
    """Hues turned and spread as those of the reference, measured on the circle; strong colours count more."""
    del rng
    own, wanted = (cv2.cvtColor(np.ascontiguousarray(x), cv2.COLOR_RGB2HSV) for x in (image, reference))
    (mean, spread), (other, width) = _circular(own), _circular(wanted)
    away = (own[..., 0] - mean + 180) % 360 - 180
    gain = width / spread if spread > 1e-3 else 1.0
    own[..., 0] = (np.clip(away * gain, -180, 180) + other) % 360
    return cv2.cvtColor(own, cv2.COLOR_HSV2RGB)


def _circular(hsv: Array) -> tuple[float, float]:
    """Mean and standard deviation of hues, in degrees, each weighted by saturation times value."""
    weight = hsv[..., 1] * hsv[..., 2]
    total = (weight * np.exp(1j * np.deg2rad(hsv[..., 0]))).sum(dtype=np.complex128)
    length = min(abs(total) / max(weight.sum(dtype=np.float64), 1e-9), 1.0)
    return float(np.rad2deg(np.angle(total))), float(np.rad2deg(np.sqrt(-2 * np.log(max(length, 1e-9)))))


def _matched(values: Array, reference: Array) -> Array:
    """(N,) numbers with the distribution of (M,) others: the increasing function that takes one into the other."""
    low, high = min(values.min(), reference.min()), max(values.max(), reference.max())
    if high - low < 1e-7:
        return values
    edges = np.linspace(low, high, _BINS + 1)
    slope = 1e-9 * np.arange(_BINS + 1)  # empty bins would be steps, which have no inverse
    own, other = (
        np.concatenate([[0], np.histogram(x, edges)[0].cumsum() / x.size]) + slope for x in (values, reference)
    )
    return np.interp(np.interp(values, edges, own), other, edges)


def _points(image: Array) -> Array:
    return image.reshape(-1, 3).astype(np.float32)


def _pdf(image: Array, reference: Array, rng: np.random.Generator) -> Array:
    """Match the marginals along three axes, turn the axes at random, and again."""
    points, wanted = _points(image), _points(reference)
    for number in range(_ROUNDS):
        axes: Array = np.linalg.qr(rng.normal(size=(3, 3)))[0] if number else np.eye(3)
        axes = axes.astype(np.float32)
        own, other = points @ axes, wanted @ axes
        moved = np.stack([_matched(own[:, n], other[:, n]) for n in range(3)], axis=1)
        points = points + (moved - own).astype(np.float32) @ axes.T
    return points.reshape(image.shape)


def _sliced(image: Array, reference: Array, rng: np.random.Generator) -> Array:
    """Move all colours along several directions at random towards the reference, by the mean of these moves."""
    points, wanted = _points(image), _points(reference)
    for _ in range(_ROUNDS):
        directions = rng.normal(size=(_DIRECTIONS, 3)).astype(np.float32)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        moves = np.zeros_like(points)
        for way in directions:
            own = points @ way
            moves += (_matched(own, wanted @ way) - own).astype(np.float32)[:, None] * way
        points = points + moves / _DIRECTIONS
    return points.reshape(image.shape)


def regrain(image: Array, result: Array, rounds: tuple[int, ...] = (4, 16, 32, 64, 64, 64)) -> Array:
    """``result`` of a transfer with the gradients of ``image``, which a transfer steepens until noise shows; in [0, 1].

    The J that minimises phi |grad J - grad image|^2 + psi |J - result|^2, by Jacobi's method from coarse to
    fine with so many ``rounds``, the finest first. What differs: J - image is looked for, which is smooth.
    """
    return np.clip(image + _regrained(image, result - image, rounds, 1.0), 0, 1).astype(np.float32)


def _regrained(image: Array, difference: Array, rounds: tuple[int, ...], scale: float) -> Array:
    """Of a ``difference`` to the image, what is left where gradients count."""
    height, width = image.shape[:2]
    found = difference
    if len(rounds) > 1 and min(height, width) > 40:
        half = (-(-width // 2), -(-height // 2))
        small = [cv2.resize(x, half, interpolation=cv2.INTER_AREA) for x in (image, difference)]
        coarse = _regrained(small[0], small[1], rounds[1:], scale / 2)
        found = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    psi, phi = weights(image, scale)
    ways = [(way, (phi + _neighbour(phi, *way)) / 2) for way in ((0, 1), (0, -1), (1, 1), (1, -1))]
    total = psi + sum(share for _, share in ways)
    for _ in range(rounds[0]):
        mean = (psi * difference + sum(share * _neighbour(found, *way) for way, share in ways)) / total
        found = 0.2 * found + 0.8 * mean  # damped, or pixels like those of a chessboard would swing
    return found


def weights(image: Array, scale: float = 1.0) -> tuple[Array, Array]:
    """How much colours, psi, and gradients, phi, count at each place, (H, W, 1): flat places keep their gradients."""
    steps = [(_neighbour(image, axis, 1) - _neighbour(image, axis, -1)) / 2 for axis in (0, 1)]
    slope = np.sqrt(sum((step**2).sum(axis=2, keepdims=True) for step in steps))
    return np.minimum(256 / 5 * slope, 1), 30 * scale / (1 + 10 * slope)


def _neighbour(image: Array, axis: int, step: int) -> Array:
    """Of each pixel, the one after (1) or before (-1) it along an axis; at the border the pixel itself."""
    index = np.clip(np.arange(image.shape[axis]) + step, 0, image.shape[axis] - 1)
    return image.take(index, axis=axis)


def histograms(image: Array, reference: Array) -> Array:
    """Each channel with the levels of the reference's: the classic matching of cumulative histograms, without bins."""
    channels = []
    for n in range(image.shape[2]):
        _, place, counts = np.unique(image[..., n].ravel(), return_inverse=True, return_counts=True)
        others, shares = np.unique(reference[..., n].ravel(), return_counts=True)
        found = np.interp(counts.cumsum() / image[..., n].size, shares.cumsum() / shares.sum(), others)
        channels.append(found[place].reshape(image.shape[:2]))
    return np.stack(channels, axis=2).astype(np.float32)


Algorithm = Callable[[Array, Array, np.random.Generator], Array]

ALGORITHMS: Mapping[str, Algorithm] = {
    "rgb": lambda image, reference, rng: moments(image, reference),
    "lab": _in_space(cv2.COLOR_RGB2LAB, cv2.COLOR_LAB2RGB, np.s_[0:3]),
    "ycbcr": _in_space(cv2.COLOR_RGB2YCrCb, cv2.COLOR_YCrCb2RGB, np.s_[1:3]),
    "lum": _in_space(cv2.COLOR_RGB2YCrCb, cv2.COLOR_YCrCb2RGB, np.s_[0:1]),
    "hue": _hue,
    "pdf": _pdf,
    "sot": _sliced,
    "histo": lambda image, reference, rng: histograms(image, reference),
}
"""What can be transferred: ``ycbcr`` is the chroma without the brightness, ``lum`` the brightness alone."""
