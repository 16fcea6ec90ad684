"""Perceptual hashes: 64 bits that stay nearly the same when an image is resized, recompressed or brightened.

The signs of low frequencies of the cosine transform, as in C. Zauner, "Implementation and Benchmarking of Perceptual
Image Hash Functions", 2010. What differs: the 64 lowest frequencies in zigzag order, without the mean.

Near hashes are found by multi-index hashing, M. Norouzi et al., "Fast Search in Hamming Space with Multi-Index
Hashing", CVPR 2012: of hashes that differ in at most d of 64 bits, one of 4 parts differs in at most d // 4 of its 16.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import cv2
import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

BITS = 64
_SIDE = 32
_PARTS = 4
_WIDTH = BITS // _PARTS
_AT_ONCE = 1 << 22
"""Candidates that are compared together, to bound the memory."""


def _zigzag() -> tuple[Array, Array]:
    """Row and column of the 64 lowest frequencies without the mean."""
    order = sorted(np.ndindex(_SIDE, _SIDE), key=lambda f: (f[0] + f[1], f[0]))
    rows, columns = np.array(order[1 : BITS + 1]).T
    return rows, columns


_LOW = _zigzag()


def perceptual_hash(levels: Array) -> int:
    """The hash of (H, W) uint8."""
    small = cv2.resize(levels, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    waves = cv2.dct(small)[_LOW]
    bits = waves > np.median(waves)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def check_distance(distance: int) -> None:
    """Refuse a number of bits that is none.

    Raises:
        ValueError: it is not in 0..31.
    """
    if not 0 <= distance < BITS // 2:
        raise ValueError(f"distance: expected 0 to {BITS // 2 - 1} bits, found {distance}")


def near_pairs(hashes: Array, distance: int) -> Iterator[tuple[Array, Array, Array]]:
    """All i < j whose hashes, (N,) uint64, differ in at most ``distance`` bits: indices and distances, in parts.

    A pair may come more than once.

    Raises:
        ValueError: the distance is not in 0..31.
    """
    check_distance(distance)
    for part in range(_PARTS):
        keys = _part(hashes, part)
        order = np.argsort(keys, kind="stable")
        for mask in _masks(distance // _PARTS):
            yield from _matches(hashes, keys, order, mask, distance)


def _part(hashes: Array, part: int) -> Array:
    """Every fourth bit, so that no part has low frequencies only, in which images differ least."""
    found = np.zeros(len(hashes), np.uint32)
    for bit in range(_WIDTH):
        found |= ((hashes >> np.uint64(part + _PARTS * bit)) & np.uint64(1)).astype(np.uint32) << np.uint32(bit)
    return found


def _masks(radius: int) -> Iterator[int]:
    for count in range(radius + 1):
        for bits in combinations(range(_WIDTH), count):
            yield sum(1 << bit for bit in bits)


def _matches(
    hashes: Array, keys: Array, order: Array, mask: int, distance: int
) -> Iterator[tuple[Array, Array, Array]]:
    """Pairs whose keys differ by ``mask``, if their hashes are near."""
    ordered = keys[order]
    wanted = keys ^ np.uint32(mask)
    first, last = np.searchsorted(ordered, wanted, "left"), np.searchsorted(ordered, wanted, "right")
    ends = np.cumsum(last - first)
    start = 0
    while start < len(hashes):
        offset = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, offset + _AT_ONCE, "right")), start + 1)
        count = (last - first)[start:stop]
        left = np.repeat(np.arange(start, stop), count)
        within = np.arange(len(left)) - np.repeat(ends[start:stop] - count - offset, count)
        right = order[np.repeat(first[start:stop], count) + within]
        far = popcount(hashes[left] ^ hashes[right])
        near = (left < right) & (far <= distance)
        yield left[near], right[near], far[near]
        start = stop


def popcount(numbers: Array) -> Array:
    """How many bits are set in each of (N,) uint64."""
    bits: Array = np.unpackbits(numbers.view(np.uint8).reshape(-1, 8), axis=1).sum(axis=1, dtype=np.uint8)
    return bits
