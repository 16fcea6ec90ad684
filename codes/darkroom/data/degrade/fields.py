"""Random numbers for every pixel, the same on every device: windows of two tables that are made once in a process.

A sample draws only where its window begins. Windows that begin at different places may overlap and are uncorrelated all
the same, as the numbers of a table are independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from .operation import Array, Ragged

LENGTH = 1 << 21
"""Of the tables. A window that reaches their end goes on at their beginning."""
_STEPS = 1 << 16
"""Of the uniform numbers."""
_SEED = 7
Table = Literal["uniform", "normal"]


def draw_offset(rng: np.random.Generator) -> int:
    """Where the window of a sample begins; one number."""
    return int(rng.random() * LENGTH)


def uniform(offset: int, shape: tuple[int, int, int]) -> Array:
    """float32 of the ``shape`` (h, w, c), uniform in [0, 1) in steps of 2^-16; to be read only."""
    return _window(_table("uniform"), offset, shape)


def normal(offset: int, shape: tuple[int, int, int]) -> Array:
    """The same places as quantiles of the standard normal distribution; none is beyond 4.4."""
    return _window(_table("normal"), offset, shape)


def uniform_on(offsets: Sequence[int], channels: Sequence[int], images: Ragged) -> Tensor:
    """(B, C, H, W) on the images' device, for each image what ``uniform`` gives with its size and its ``channels``.

    These are 1 or C; with 1, all channels of the image get the same.
    """
    return _windows("uniform", offsets, channels, images)


def normal_on(offsets: Sequence[int], channels: Sequence[int], images: Ragged) -> Tensor:
    """As ``uniform_on``, for ``normal``."""
    return _windows("normal", offsets, channels, images)


@cache
def _table(name: Table) -> Array:
    steps = np.random.default_rng(_SEED).integers(_STEPS, size=LENGTH, dtype=np.uint16)
    places = torch.arange(_STEPS, dtype=torch.float64)
    values = places / _STEPS if name == "uniform" else torch.special.ndtri((places + 0.5) / _STEPS)
    table = values.float().numpy()[steps]
    table.flags.writeable = False
    return table


@cache
def _table_on(name: Table, device: torch.device) -> Tensor:
    return torch.tensor(_table(name), device=device)


def _window(table: Array, offset: int, shape: tuple[int, int, int]) -> Array:
    end = offset + shape[0] * shape[1] * shape[2]
    values = table[offset:end] if end <= LENGTH else table.take(np.arange(offset, end), mode="wrap")
    return values.reshape(shape)


def _windows(name: Table, offsets: Sequence[int], channels: Sequence[int], images: Ragged) -> Tensor:
    device, shape = images.images.device, images.images.shape
    starts = [
        (offset, int(count > 1), width * count, count)
        for offset, count, (_, width) in zip(offsets, channels, images.sizes, strict=True)
    ]
    start, through, down, right = torch.tensor(starts, device=device).view(-1, 4, 1, 1, 1).unbind(1)
    channel, row, column = (torch.arange(length, device=device) for length in shape[1:])
    places = start + through * channel[:, None, None] + down * row[:, None] + right * column
    return _table_on(name, device).index_select(0, places.bitwise_and_(LENGTH - 1).flatten()).view(shape)
