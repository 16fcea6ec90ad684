"""Images in tiles: what does not fit into memory at once, without seams.

Neighbouring tiles share ``overlap`` pixels and a short ramp more. Of the overlap each tile throws away its half, where
the network looked over the tile's edge, and inside the ramp the two are blended with weights that sum to one. So
wherever the overlap is at least twice the radius of the network's receptive field, the tiled result is the untiled one
to rounding. At the image's own borders nothing is thrown away and no weight is below one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from ..core.errors import DarkroomError

_LOG = logging.getLogger(__name__)

Function = Callable[[Tensor], Tensor]
Gather = Literal["auto", "device", "cpu"]

_RAMP = 8
"""Input pixels over which neighbours are blended. More would cost computing time in every tile."""
_SMALLEST = 32
"""Below it a tile is all border; the memory is then missing for other reasons."""


@dataclass(frozen=True, slots=True)
class _Strip:
    """A tile along one axis, in input pixels: what the network sees, and which part of that counts."""

    start: int
    stop: int
    low: int
    high: int
    rise: int
    """Pixels from ``low`` on that are blended with the strip before; the strip after blends the last ``fall``."""
    fall: int


def padded(image: Tensor, multiple_of: int) -> Tensor:
    """``image`` (B, C, H, W), reflected at the right and bottom until its sides are multiples of ``multiple_of``."""
    for axis in (-2, -1):
        side = image.shape[axis]
        if missing := -side % multiple_of:
            # Indices, not F.pad: a side may be shorter than what it lacks, so the reflection goes back and forth.
            period = max(2 * (side - 1), 1)
            index = torch.arange(side + missing, device=image.device) % period
            image = image.index_select(axis, torch.where(index < side, index, period - index))
    return image


def whole(network: Function, image: Tensor, scale: int, multiple_of: int = 1) -> Tensor:
    """``network(image)`` at once: (B, C, H, W) to (B, C', scale H, scale W), for any size of the image.

    Raises:
        ValueError: the network's scale is not ``scale``.
    """
    height, width = image.shape[-2:]
    ready = padded(image, multiple_of)
    return _checked(network(ready), ready, scale)[..., : height * scale, : width * scale]


def tiled(
    network: Function,
    image: Tensor,
    tile: int,
    overlap: int,
    scale: int,
    multiple_of: int = 1,
    gather: torch.device | str | None = None,
) -> Tensor:
    """``whole(...)`` computed in tiles of at most ``tile`` x ``tile`` input pixels, all of one size.

    Args:
        network: (B, C, h, w) to (B, C', scale h, scale w).
        image: (B, C, H, W).
        tile: upper bound of a tile's side; the tiles are made smaller where as many of them still cover the image.
        overlap: twice the border of a tile that is not used; exact from twice the receptive field's radius on.
        scale: side of the output over side of the input.
        multiple_of: sides and places of the tiles are multiples of it.
        gather: where the output is put together. Default: where the image is.

    Raises:
        ValueError: the overlap leaves nothing of a tile, or the network's scale is not ``scale``.
    """
    _check(tile, overlap, multiple_of)
    height, width = image.shape[-2:]
    ready = padded(image, multiple_of)
    rows, columns = (_strips(side, tile, overlap, multiple_of) for side in ready.shape[-2:])
    out: Tensor | None = None
    for row in rows:
        for column in columns:
            view = ready[..., row.start : row.stop, column.start : column.stop]
            piece = _checked(network(view), view, scale)
            if out is None:
                shape = (*piece.shape[:2], ready.shape[-2] * scale, ready.shape[-1] * scale)
                out = piece.new_zeros(shape, device=gather or piece.device)
            _add(out, piece, row, column, scale)
    assert out is not None  # an image has at least one tile
    return out[..., : height * scale, : width * scale]


def _check(tile: int, overlap: int, unit: int) -> None:
    if overlap < 0 or tile // unit - -(-overlap // unit) < 1:
        raise ValueError(
            f"tiles of {tile} pixels cannot overlap by {overlap}: expected 0 <= overlap"
            + (" < tile" if unit == 1 else f" <= tile - {unit}, as this network works in steps of {unit} pixels")
        )


def _checked(result: Tensor, image: Tensor, scale: int) -> Tensor:
    expected = (image.shape[-2] * scale, image.shape[-1] * scale)
    if tuple(result.shape[-2:]) != expected:
        raise ValueError(
            f"a network of scale {scale} makes {expected[0]} x {expected[1]} of {image.shape[-2]} x {image.shape[-1]} "
            f"pixels, but this one made {result.shape[-2]} x {result.shape[-1]}: give the scale that it has"
        )
    return result


def _strips(length: int, tile: int, overlap: int, unit: int) -> list[_Strip]:
    """The tiles along an axis of ``length``: as few as ``tile`` allows, then as small as that number allows."""
    total, largest = length // unit, tile // unit
    if largest >= total:
        return [_Strip(0, length, 0, length, 0, 0)]
    ramp = min(_RAMP, overlap // 2, (tile - overlap) // 2)
    shared = min(-(-(overlap + ramp) // unit), largest - 1)
    steps = -(-(total - largest) // (largest - shared))
    size = next(s for s in range(shared + 1, largest + 1) if -(-(total - s) // steps) <= s - shared)
    starts = [unit * (i * (total - size) // steps) for i in range(steps + 1)]
    common = [a + size * unit - b for a, b in pairwise(starts)]
    ramp = min(ramp, min(common) - overlap, size * unit - max(common))
    lows = [0, *(start + (both - ramp) // 2 for start, both in zip(starts[1:], common, strict=True))]
    highs = [*(low + ramp for low in lows[1:]), length]
    return [
        _Strip(start, start + size * unit, low, high, ramp if low else 0, ramp if high < length else 0)
        for start, low, high in zip(starts, lows, highs, strict=True)
    ]


def _add(out: Tensor, piece: Tensor, row: _Strip, column: _Strip, scale: int) -> None:
    """Add what counts of ``piece`` to ``out``. The rest is cut off, not multiplied by 0: it may be anything."""
    rows = slice((row.low - row.start) * scale, (row.high - row.start) * scale)
    columns = slice((column.low - column.start) * scale, (column.high - column.start) * scale)
    part = piece[..., rows, columns].to(out.device)
    weight = _weight(row, scale, out)[:, None] * _weight(column, scale, out)
    target = out[..., row.low * scale : row.high * scale, column.low * scale : column.high * scale]
    target.addcmul_(part, weight)


def _weight(strip: _Strip, scale: int, like: Tensor) -> Tensor:
    """(pixels,): 1, but for the linear ramps, of which the neighbour has the complement."""
    weight = like.new_ones((strip.high - strip.low) * scale)
    if rise := strip.rise * scale:
        weight[:rise] = _slope(rise, like)
    if fall := strip.fall * scale:
        weight[-fall:] = 1 - _slope(fall, like)
    return weight


def _slope(pixels: int, like: Tensor) -> Tensor:
    return (torch.arange(pixels, device=like.device, dtype=like.dtype) + 0.5) / pixels


class Tiler:
    """Runs networks on images of any size, and finds out how large a tile the memory has room for.

    Without ``tile`` an image is computed whole if it fits. When memory runs out, the tile is halved until it fits;
    the following images start from there.
    """

    def __init__(
        self,
        scale: int,
        multiple_of: int = 1,
        tile: int | None = None,
        overlap: int = 32,
        gather: Gather = "auto",
        say: Callable[[str], None] = _LOG.info,
    ) -> None:
        """Take the network's ``scale`` and ``multiple_of``, and the first ``tile`` to try.

        Args:
            scale: side of the output over side of the input.
            multiple_of: what the network wants the sides of its input to be multiples of.
            tile: side of a tile in input pixels; None is the whole image.
            overlap: of neighbouring tiles, see ``tiled``; less when memory forces smaller tiles.
            gather: where the output of tiles is put together: on the device, in main memory, or (auto) in main memory
                when it would take more than a quarter of the device's free memory.
            say: is told about smaller tiles.

        Raises:
            ValueError: the overlap leaves nothing of a tile.
        """
        if tile is not None:
            _check(tile, overlap, multiple_of)
        self.tile = tile
        self.overlap = overlap
        self._scale = scale
        self._unit = multiple_of
        self._gather = gather
        self._say = say

    def __call__(self, network: Function, image: Tensor) -> Tensor:
        """``network`` over ``image`` (B, C, H, W): (B, C', scale H, scale W).

        Raises:
            DarkroomError: the memory has no room even for the smallest tile.
            ValueError: the network's scale is not the one given.
        """
        before = self.tile
        while True:
            try:
                result = self._once(network, image)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                reason = str(error)
            else:
                break
            # Here and not in the handler: there the error still holds the tensors of the failed attempt.
            _free_cache(image.device)
            self._shrink(image, reason)
        if self.tile != before:
            self._say(f"out of memory: working in tiles of {self.tile} pixels that overlap by {self.overlap} from here")
        return result

    def _once(self, network: Function, image: Tensor) -> Tensor:
        if self.tile is None or max(image.shape[-2:]) <= self.tile:
            return whole(network, image, self._scale, self._unit)
        gather = self._place(image)
        return tiled(network, image, self.tile, self.overlap, self._scale, self._unit, gather)

    def _shrink(self, image: Tensor, reason: str) -> None:
        longer = max(image.shape[-2:])
        now = longer if self.tile is None else min(self.tile, longer)
        unit = self._unit
        smallest = -(-_SMALLEST // unit) * unit
        if now <= smallest:
            raise DarkroomError(
                f"out of memory even in tiles of {now} pixels, for an output of {longer * self._scale} pixels on the "
                f"longer side. Close what else uses the memory, cut the image into parts, or, if this is a GPU, run on "
                f"the CPU. The device said: {reason.splitlines()[0] if reason else 'nothing'}"
            )
        self.tile = max(now // 2 // unit * unit, smallest)
        self.overlap = min(self.overlap, self.tile // 2 // unit * unit)

    def _place(self, image: Tensor) -> torch.device:
        if self._gather == "device" or image.device.type != "cuda":
            return image.device
        free, _ = torch.cuda.mem_get_info(image.device)
        # The network may have more channels at its end than at its start; 3 is what images have.
        needed = image.numel() // image.shape[1] * 3 * self._scale**2 * image.element_size()
        return torch.device("cpu") if self._gather == "cpu" or needed > free // 4 else image.device


def out_of_memory(error: BaseException) -> bool:
    """Whether memory was missing. Only CUDA's allocator has a type for it; the others say it in words."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    words = ("out of memory", "can't allocate memory", "not enough memory", "CUDNN_STATUS_ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(w in str(error) for w in words)


def _free_cache(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
