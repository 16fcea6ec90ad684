"""Fewer colours: rounded values, palettes that are learned from the image, and flat segments.

T. Kohonen, "The self-organizing map", Proceedings of the IEEE 78(9), 1990; S. Lloyd, "Least squares quantization in
PCM", IEEE Transactions on Information Theory 28(2), 1982; R. Achanta et al., "SLIC superpixels", IEEE TPAMI 34(11),
2012; A. Rosebrock, "Implementing the Max RGB filter in OpenCV", 2015 (pyimagesearch.com). What differs: palettes are
learned from pixels at the places of a golden-ratio sequence, which covers the image evenly, and not from random ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import cv2
import numpy as np

from ...filters.superpixels import Algorithm, Colours, Reduction, check, superpixels
from . import DEGRADATIONS
from .fixed import Fixed
from .operation import Array, Degradation, OnHost, Operation, Ragged, Size

Neighbourhood = Literal["bubble", "gaussian", "mexican_hat", "triangle"]

_GOLDEN = (5**0.5 - 1) / 2
_PIXELS = 4096
"""Means are learned from no more pixels than this, and colours are replaced in as large parts, which stay in cache."""
_ROUNDS = 10
"""Of the means."""
_STEPS = 500
"""Of the map."""
_NEIGHBOURHOODS: Mapping[str, Callable[[Array, float], Array]] = {
    "bubble": lambda distance, sigma: np.float32(distance < sigma),
    "gaussian": lambda distance, sigma: np.exp(-((distance / sigma) ** 2) / 2),
    "mexican_hat": lambda distance, sigma: (1 - (distance / sigma) ** 2) * np.exp(-((distance / sigma) ** 2) / 2),
    "triangle": lambda distance, sigma: np.maximum(1 - distance / sigma, 0),
}
"""How much of a step is taken by what is so far from the winner."""


@DEGRADATIONS.register("simple_quantize")
@dataclass(frozen=True)
class SimpleQuantize(Fixed):
    """Values rounded to multiples of a step; white becomes the highest multiple that there is.

    Raises:
        ValueError: the step is no part of the range.
    """

    rgb_range: float = 50
    """The step, of 255."""

    def __post_init__(self) -> None:
        if not 0 < self.rgb_range <= 255:
            raise ValueError(f"rgb_range: expected more than 0 and at most 255, found {self.rgb_range}")

    def on_host(self, image: Array) -> Array:
        """Rounded, halves to even multiples."""
        step = np.float32(self.rgb_range / 255)
        return np.minimum(np.rint(image / step) * step, 1)

    @staticmethod
    def on_device(operations: Sequence[SimpleQuantize], images: Ragged) -> Ragged:
        """The same to the last bit."""
        step = images.images.new_tensor([operation.rgb_range / 255 for operation in operations]).view(-1, 1, 1, 1)
        return images._replace(images=((images.images / step).round() * step).clamp(max=1))

    def __str__(self) -> str:
        """With the step."""
        return f"quantize {self.rgb_range:g}"


@DEGRADATIONS.register("maxrgb")
@dataclass(frozen=True)
class MaxRGB(Fixed):
    """Of each pixel only the largest channel, or the largest ones; the others are 0."""

    def on_host(self, image: Array) -> Array:
        """Gray images stay as they are."""
        return image * (image == reduce(np.maximum, np.split(image, image.shape[2], axis=2)))

    @staticmethod
    def on_device(operations: Sequence[MaxRGB], images: Ragged) -> Ragged:
        """The same to the last bit."""
        del operations
        return images._replace(images=images.images * (images.images == images.images.amax(1, keepdim=True)))

    def __str__(self) -> str:
        """Its name."""
        return "maxrgb"


@DEGRADATIONS.register("km_quantize")
@dataclass(frozen=True)
class KMeansQuantize(Fixed):
    """A palette of means: k-means, ten rounds from pixels of equally spaced brightness.

    Raises:
        ValueError: there are no colours.
    """

    num_colors: int = 32
    """In the palette."""

    def __post_init__(self) -> None:
        _check_count(self.num_colors)

    def on_host(self, image: Array) -> Array:
        """In the colours of the palette."""
        pixels = image.reshape(-1, image.shape[2])
        few = pixels[spread(_PIXELS, len(pixels))] if len(pixels) > _PIXELS else pixels
        return paint(image, k_means(few, self.num_colors))

    def __str__(self) -> str:
        """With the count of colours."""
        return f"k-means {self.num_colors}"


@DEGRADATIONS.register("som_quantize")
class SOMQuantize(Degradation):
    """A palette that is a self-organising map: a chain of colours that learns from one pixel after another."""

    def __init__(
        self,
        num_colors: int = 32,
        sigma: float = 1.0,
        learning_rate: float = 0.2,
        neighborhood_function: Neighbourhood = "bubble",
    ) -> None:
        """Both numbers below fall to a third of themselves in the course of learning.

        Args:
            num_colors: in the palette.
            sigma: radius of the neighbourhood, in places of the chain; a bubble of 1 is the winner alone.
            learning_rate: how far the winner goes towards a pixel, from 0 to 1.
            neighborhood_function: how much its neighbours go along.

        Raises:
            ValueError: a number is out of its range, or there is no such function.
        """
        _check_count(num_colors)
        if sigma <= 0 or not 0 < learning_rate <= 1:
            raise ValueError(
                f"expected a sigma of more than 0 and a learning_rate of more than 0 and at most 1, found {sigma} and "
                f"{learning_rate}"
            )
        if neighborhood_function not in _NEIGHBOURHOODS:
            raise ValueError(
                f"neighborhood_function: expected one of {', '.join(_NEIGHBOURHOODS)}, found {neighborhood_function!r}"
            )
        self.arguments = num_colors, sigma, learning_rate, neighborhood_function

    def draw(self, rng: np.random.Generator, size: Size, goal: Size) -> Operation:
        """One number, where the sequence of pixels begins."""
        del size, goal
        return OnHost(f"som {self.arguments[0]}", som_quantize, (*self.arguments, rng.random()))


@DEGRADATIONS.register("superpixels")
@dataclass(frozen=True)
class Superpixels(Fixed):
    """Segments of one colour each. The values are rounded to 8 bits.

    Raises:
        ValueError: an option cannot be, or OpenCV lacks the algorithm.
    """

    n_segments: int = 200
    """How many are wished for; a ``reduction`` leaves no more than these."""
    algorithm: Algorithm = "sk_slic"
    """Those that begin with sk_ are scikit-image's, the others those of OpenCV's contributed modules."""
    reduction: Reduction | None = None
    """How segments that are too many become fewer."""
    colours: Colours = "mix"
    """Of a segment: its mean, its median, or, with mix, either or half of each by its contrast."""
    max_size: int | None = None
    """Larger images are cut into segments at this size, and enlarged again."""

    def __post_init__(self) -> None:
        check(self.algorithm, self.n_segments, self.reduction, self.max_size, self.colours)

    def on_host(self, image: Array) -> Array:
        """Segments of a gray image are those of one with three equal channels."""
        pixels = np.rint(image * 255).astype(np.uint8)
        colour = pixels if pixels.shape[2] == 3 else cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
        found = superpixels(colour, self.algorithm, self.n_segments, self.reduction, self.max_size, self.colours)
        return found[:, :, : image.shape[2]] / np.float32(255)

    def __str__(self) -> str:
        """With the count of segments."""
        return f"superpixels {self.n_segments}"


def spread(count: int, total: int, start: float = 0.0) -> Array:
    """(N,): as many places in ``range(total)``, evenly spread however many are taken: a golden-ratio sequence."""
    return ((start + _GOLDEN * np.arange(count)) % 1 * total).astype(np.intp)


def nearest(points: Array, palette: Array) -> Array:
    """(N,): which colour of the ``palette`` (K, C) is nearest to each of the ``points`` (N, C)."""
    half = (palette**2).sum(axis=1) / 2  # |p - c|^2 = |p|^2 - 2 (p c - |c|^2 / 2)
    parts = [points[start : start + _PIXELS] for start in range(0, len(points), _PIXELS)]
    return np.concatenate([(part @ palette.T - half).argmax(axis=1) for part in parts])


def paint(image: Array, palette: Array) -> Array:
    """The image (H, W, C) in the nearest colours of the ``palette`` (K, C)."""
    return palette[nearest(image.reshape(-1, image.shape[2]), palette)].reshape(image.shape)


def k_means(points: Array, count: int) -> Array:
    """(K, C): means of groups of the ``points`` (N, C) by Lloyd's algorithm; a group that is empty keeps its mean."""
    by_brightness = points.sum(axis=1).argsort(kind="stable")
    means = points[by_brightness[((np.arange(count) + 0.5) * len(points) / count).astype(np.intp)]]
    for _ in range(_ROUNDS):
        group = nearest(points, means)
        size = np.bincount(group, minlength=count)[:, None]
        total = np.stack([np.bincount(group, channel, count) for channel in points.T], axis=1)
        means = np.where(size > 0, total / np.maximum(size, 1), means).astype(np.float32)
    return means


def som_quantize(
    image: Array, count: int, sigma: float, rate: float, neighbourhood: Neighbourhood, start: float
) -> Array:
    """The image (H, W, C) in the colours of a map that learned from it."""
    pixels = image.reshape(-1, image.shape[2])
    learned = pixels[spread(count + _STEPS, len(pixels), start)]
    chain = self_organised(learned[:count], learned[count:], sigma, rate, _NEIGHBOURHOODS[neighbourhood])
    return paint(image, chain.clip(0, 1))


def self_organised(
    chain: Array, points: Array, sigma: float, rate: float, neighbourhood: Callable[[Array, float], Array]
) -> Array:
    """(K, C): the ``chain`` (K, C) after it learned from the ``points`` (N, C), one by one.

    With the winner c, the nearest to a point x, each colour takes the step m_i += rate h(|i - c|) (x - m_i); rate and
    sigma fall as 1 / (1 + 2 t / N).
    """
    chain = chain.copy()
    places = np.arange(len(chain), dtype=np.float32)
    for step, point in enumerate(points):
        still = 1 / (1 + 2 * step / len(points))
        away = point - chain
        winner = np.einsum("ij,ij->i", away, away).argmin()
        chain += (rate * still * neighbourhood(np.abs(places - winner), sigma * still))[:, None] * away
    return chain


def _check_count(colours: int) -> None:
    if colours < 1:
        raise ValueError(f"num_colors: expected 1 or more, found {colours}")
