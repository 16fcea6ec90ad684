"""Merging of the segments of an image that are alike, until there are few neighbours: selective search.

Uijlings et al., "Selective Search for Object Recognition", IJCV 2013, section 3, as in white-box cartoonization (Wang
and Yu, CVPR 2020) and traiNNer. What differs from Uijlings: texture is described by local binary patterns (Ojala et
al., IEEE TPAMI 2002), histograms span a segment's own range, and all segments count as large as the second one: a slip
in the authors' code that their results rest on.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Labels = NDArray[np.int64]
Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

COLOUR_BINS = 25
TEXTURE_BINS = 10


def merge_alike(image: Image, labels: Labels, segments: int) -> Labels:
    """``labels`` (H, W), 0 to S - 1, with alike neighbours in ``image`` (H, W, 3) merged, numbered from 0 again.

    Again and again the most similar two become one, until there are at most ``segments`` pairs of neighbours; if there
    are more than twice as many to begin with, 0.8 sqrt(H W) pairs.
    """
    pairs = _neighbouring(labels)
    target = segments if len(pairs) <= 2 * segments else int(0.8 * labels.size**0.5)
    regions = _Regions(image, labels)
    neighbours: dict[int, set[int]] = {region: set() for region in range(regions.count)}
    for i, j in pairs.tolist():
        neighbours[i].add(j)
        neighbours[j].add(i)
    queue = _Queue()
    queue.add(regions.similarity(pairs[:, 0], pairs[:, 1]), pairs.tolist())
    left = len(pairs)
    parents = list(range(regions.count))
    while left > target:
        i, j = queue.most_similar(neighbours)
        new = regions.join(i, j)
        parents[i] = parents[j] = new
        parents.append(new)
        left -= len(neighbours[i]) + len(neighbours[j]) - 1
        around = sorted((neighbours.pop(i) | neighbours.pop(j)) - {i, j})
        for k in around:
            neighbours[k] -= {i, j}
            neighbours[k].add(new)
        neighbours[new] = set(around)
        left += len(around)
        queue.add(regions.similarity(np.array(around, np.int64), new), [(k, new) for k in around])
    return _numbered(parents)[labels]


def level_counts(image: Image, labels: Labels) -> Counts:
    """(C, S, 256): how many pixels of each segment have each value, of ``image`` (H, W, C) and ``labels`` (H, W)."""
    channels, count = image.shape[2], int(labels.max()) + 1
    places = (np.arange(channels) * count + labels[..., None]) * 256 + image
    return np.bincount(places.ravel(), minlength=channels * count * 256).reshape(channels, count, 256)


class _Regions:
    """What is known of each region: the segments first, then those that they are joined to."""

    def __init__(self, image: Image, labels: Labels) -> None:
        self.count = int(labels.max()) + 1
        self.pixels = image.size  # as the originals: with the channels
        texture = histograms(level_counts(_patterns(image), labels), TEXTURE_BINS)
        colour = histograms(level_counts(image, labels), COLOUR_BINS)
        self.colour, self.texture, self.box = (_roomy(a) for a in (colour, texture, _boxes(labels)))
        self.size = np.full(2 * self.count, np.count_nonzero(labels == 1))

    def similarity(self, i: Labels, j: Labels | int) -> Floats:
        """Of each region ``i`` to ``j``: Uijlings' eq. 1 to 5, the sum of colour, texture, size and fill.

        Histograms are summed up bin by bin, so that rounding orders equals as the originals do.
        """
        colour, texture = (np.minimum(h[i], h[j]).cumsum(axis=1)[:, -1] for h in (self.colour, self.texture))
        both = self.size[i] + self.size[j]
        top, left, bottom, right = np.maximum(self.box[i], self.box[j]).T
        size = 1 - both / self.pixels
        fill = 1 - ((bottom + top) * (right + left) - self.size[i] - self.size[j]) / self.pixels
        return colour + texture + size + fill

    def join(self, i: int, j: int) -> int:
        """The number of the region that ``i`` and ``j`` make; histograms are averaged by size."""
        new, self.count = self.count, self.count + 1
        self.size[new] = self.size[i] + self.size[j]
        self.box[new] = np.maximum(self.box[i], self.box[j])
        for h in (self.colour, self.texture):
            h[new] = (h[i] * self.size[i] + h[j] * self.size[j]) / self.size[new]
        return new


class _Queue:
    """Pairs of regions, the most similar first; of those equally similar, the one added last."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, int, int]] = []
        self._added = 0

    def add(self, similarities: Floats, pairs: Sequence[Sequence[int]]) -> None:
        for similarity, (i, j) in zip(similarities.tolist(), pairs, strict=True):
            self._added += 1
            heapq.heappush(self._heap, (-similarity, -self._added, i, j))

    def most_similar(self, alive: dict[int, set[int]]) -> tuple[int, int]:
        """The first pair of regions that still exist; it leaves the queue with all before it."""
        while True:
            _, _, i, j = heapq.heappop(self._heap)
            if i in alive and j in alive:
                return i, j


def histograms(counts: Counts, bins: int) -> Floats:
    """(S, C * ``bins``) of ``level_counts``: for each channel over a segment's own range, all together with sum 1.

    The bins are those of ``numpy.histogram``: the upper end belongs to the last, a single value is in the middle.
    """
    occurs = counts > 0
    low = occurs.argmax(axis=2).astype(np.float64)
    high = 255 - occurs[..., ::-1].argmax(axis=2).astype(np.float64)
    margin = np.where(low == high, 0.5, 0)
    low, high = low - margin, high + margin
    edges = np.arange(bins) * ((high - low) / bins)[..., None] + low[..., None]
    below = np.pad(counts.cumsum(axis=2), ((0, 0), (0, 0), (1, 0)))  # how many values are below each level, up to 256
    at = np.pad(np.ceil(edges).astype(np.int64), ((0, 0), (0, 0), (0, 1)), constant_values=256)
    found = np.diff(np.take_along_axis(below, at, axis=2), axis=2)
    joined = found.transpose(1, 0, 2).reshape(counts.shape[1], -1)
    return joined / joined.sum(axis=1, keepdims=True)


def _patterns(image: Image) -> Image:
    """(H, W, C): which of the 8 neighbours of each pixel are not below it, as a number of 8 bits."""
    from skimage.feature import local_binary_pattern

    channels = (np.ascontiguousarray(image[..., c]) for c in range(image.shape[2]))
    return np.stack([local_binary_pattern(channel, 8, 1) for channel in channels], axis=-1).astype(np.uint8)


def _boxes(labels: Labels) -> NDArray[np.int64]:
    """(S, 4): minus the first row and column of each segment, then the ends of both: a union has the larger of each."""
    count = int(labels.max()) + 1
    found = []
    for length, line in zip(labels.shape, np.ogrid[: labels.shape[0], : labels.shape[1]], strict=True):
        occurs = np.bincount((labels * length + line).ravel(), minlength=count * length).reshape(count, length) > 0
        found.append((-occurs.argmax(axis=1), length - occurs[:, ::-1].argmax(axis=1)))
    (top, bottom), (left, right) = found
    return np.stack([top, left, bottom, right], axis=1)


def _neighbouring(labels: Labels) -> Labels:
    """(P, 2): the pairs of segments that share an edge of a pixel, each once, the lower number first, sorted."""
    beside = np.stack([labels[:, :-1].ravel(), labels[:, 1:].ravel()])
    below = np.stack([labels[:-1].ravel(), labels[1:].ravel()])
    both = np.sort(np.concatenate([beside, below], axis=1), axis=0)
    low, high = both[:, both[0] != both[1]]
    count = int(labels.max()) + 1
    return np.stack(np.divmod(np.unique(low * count + high), count), axis=1)


def _roomy(rows: NDArray[np.generic]) -> NDArray[np.generic]:
    """Room for as many rows again: so many regions can come of joining two at a time."""
    return np.concatenate([rows, np.zeros_like(rows)])


def _numbered(parents: Sequence[int]) -> Labels:
    """What each region ended in, numbered from 0 in the order of the regions."""
    last = np.array(parents)
    for region in reversed(range(len(last))):  # what a region was joined to comes after it
        last[region] = last[last[region]]
    return np.unique(last, return_inverse=True)[1]
