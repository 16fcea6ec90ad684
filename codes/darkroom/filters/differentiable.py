"""Differentiable augmentation: a critic never sees images as they are, neither fake nor real ones.

DiffAugment, Zhao et al. 2020, https://arxiv.org/abs/2006.10738 (``color``, ``translation``, ``cutout``); the other
policies are those that users of super-resolution GANs added to it. What differs: all images of a call share their
random numbers, so that what a critic compares stays aligned, and a condition moves along with what it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

Policy = Literal[
    "color",
    "translation",
    "zoom",
    "flip",
    "rotate",
    "cutout",
    "transl_zoom",
    "offset",
    "offset_h",
    "offset_v",
    "shift",
]
Operation = Callable[[Tensor], Tensor]


class Frame(NamedTuple):
    """What the images of one call have in common: random numbers are drawn for it, not for an image."""

    batch: int
    height: int
    width: int
    device: torch.device

    @property
    def rows(self) -> Tensor:
        """(1, H), from 0."""
        return torch.arange(self.height, device=self.device)[None]

    @property
    def columns(self) -> Tensor:
        """(1, W), from 0."""
        return torch.arange(self.width, device=self.device)[None]

    def uniform(self, low: float = 0, high: float = 1) -> Tensor:
        """A number for each sample, (B, 1, 1, 1)."""
        return low + (high - low) * torch.rand(self.batch, 1, 1, 1, device=self.device)

    def integers(self, low: int, high: int) -> Tensor:
        """One of ``low`` to ``high``, inclusively, for each sample, (B, 1)."""
        return torch.randint(low, high + 1, (self.batch, 1), device=self.device)


class Augment:
    """The policies one after the other, each with random numbers of its own for every sample of the batch.

    ``color``: brightness +-0.5, saturation x 0..2, contrast x 0.5..1.5. ``translation``: up to an eighth of a side,
    black beyond. ``zoom``: in or out, up to twice. ``flip``: left to right. ``rotate``: by a quarter turn either way
    or not at all; needs square images. ``cutout``: a black box of half the side. ``transl_zoom``: one of translation,
    zoom in and zoom out. ``offset``: rolled around by any amount, ``offset_h`` sideways, ``offset_v`` vertically.
    ``shift``: 0 to 7 pixels down and right, the same for the whole batch, mirrored at the border.
    """

    def __init__(self, policies: Iterable[str]) -> None:
        for policy in policies:
            if policy not in _DRAWS:
                raise ValueError(f"expected policies among {', '.join(get_args(Policy))}, found {policy!r}")
        self.policies = tuple(policies)

    def __call__(self, images: Mapping[str, Tensor], only_moved: Collection[str] = ()) -> dict[str, Tensor]:
        """Images (B, *, H, W) in [0, 1], all changed alike, those named ``only_moved`` in geometry only.

        Random numbers come from torch's global generator of the images' device.

        Raises:
            ValueError: the images differ in batch or size, or are not square and a policy turns them.
        """
        frame = _frame(images)
        for policy in self.policies:
            operation = _DRAWS[policy](frame)
            unmoved = only_moved if policy in _COLOURS else ()
            images = {name: x if name in unmoved else operation(x) for name, x in images.items()}
        return dict(images)


def _frame(images: Mapping[str, Tensor]) -> Frame:
    shapes = {name: tuple(x.shape) for name, x in images.items()}
    if len({(len(shape), shape[:1], shape[2:]) for shape in shapes.values()}) != 1:
        raise ValueError(f"expected images of one batch and size, (B, *, H, W), found {shapes}")
    first = next(iter(images.values()))
    batch, _, height, width = first.shape
    return Frame(batch, height, width, first.device)


def _color(frame: Frame) -> Operation:
    brightness, saturation, contrast = frame.uniform(-0.5, 0.5), frame.uniform(0, 2), frame.uniform(0.5, 1.5)

    def change(x: Tensor) -> Tensor:
        x = x + brightness.to(x.dtype)
        grey = x.mean(dim=1, keepdim=True)
        x = grey + (x - grey) * saturation.to(x.dtype)
        mean = x.mean(dim=(1, 2, 3), keepdim=True)
        return mean + (x - mean) * contrast.to(x.dtype)

    return change


def _translation(frame: Frame) -> Operation:
    down, right = (frame.integers(-reach, reach) for reach in (_part(frame.height, 1 / 8), _part(frame.width, 1 / 8)))
    rows, columns = frame.rows - down, frame.columns - right
    outside = ~_box((rows >= 0) & (rows < frame.height), (columns >= 0) & (columns < frame.width))
    roll = _roll(frame, down, right)
    return lambda x: roll(x).masked_fill(outside, 0)


def _zoom(frame: Frame) -> Operation:
    # two products instead of grid_sample, whose gradient adds up in any order on CUDA
    inward = frame.uniform() < 0.5
    extent = torch.where(inward, 1 / frame.uniform(1, 2), frame.uniform(1.1, 2))
    rows, columns = (_weights(side, extent, frame.uniform(-1, 1)) for side in (frame.height, frame.width))

    def change(x: Tensor) -> Tensor:
        dtype = torch.promote_types(x.dtype, torch.float32)
        with torch.autocast(x.device.type, enabled=False):
            return (rows.to(dtype) @ x.to(dtype) @ columns.to(dtype).mT).to(x.dtype)

    return change


def _weights(side: int, extent: Tensor, lean: Tensor) -> Tensor:
    """(B, 1, side, side): linear interpolation at as many points, evenly over ``extent`` times the side.

    ``lean`` from -1 to 1 puts them from one end of the image to the other; beyond the image all weights are 0.
    """
    pixels = torch.arange(side, device=extent.device)
    centre = (side - 1) / 2
    points = centre + lean * (1 - extent) * centre + extent * (pixels - centre)
    return (1 - (points.mT - pixels).abs()).clamp(min=0)


def _flip(frame: Frame) -> Operation:
    mirrored = frame.uniform() < 0.5
    return lambda x: torch.where(mirrored, x.flip(-1), x)


def _rotate(frame: Frame) -> Operation:
    if frame.height != frame.width:
        raise ValueError(f"policy rotate: expected square images, found {frame.height} x {frame.width}")
    quarters = frame.integers(-1, 1)[:, :, None, None]

    def change(x: Tensor) -> Tensor:
        left, right = (torch.rot90(x, turn, (2, 3)) for turn in (1, -1))
        return torch.where(quarters == 0, x, torch.where(quarters > 0, left, right))

    return change


def _cutout(frame: Frame) -> Operation:
    hidden = _box(_half(frame, frame.rows), _half(frame, frame.columns))
    return lambda x: x.masked_fill(hidden, 0)


def _half(frame: Frame, positions: Tensor) -> Tensor:
    """(B, side): of each sample, half of the positions (1, side) around a random one, which may be near an end."""
    side = positions.shape[1]
    length = _part(side, 1 / 2)
    start = frame.integers(0, side - length % 2) - length // 2
    return (positions >= start) & (positions < start + length)


def _transl_zoom(frame: Frame) -> Operation:
    translation, zoom = _translation(frame), _zoom(frame)
    translated = frame.uniform() < 1 / 3
    return lambda x: torch.where(translated, translation(x), zoom(x))


def _offset(frame: Frame) -> Operation:
    return _roll(frame, frame.integers(0, frame.height - 1), frame.integers(0, frame.width - 1))


def _offset_h(frame: Frame) -> Operation:
    return _roll(frame, 0, frame.integers(0, frame.width - 1))


def _offset_v(frame: Frame) -> Operation:
    return _roll(frame, frame.integers(0, frame.height - 1), 0)


def _shift(frame: Frame) -> Operation:
    down, right = (torch.randint(min(8, side), (1, 1), device=frame.device) for side in (frame.height, frame.width))
    rows, columns = (frame.rows - down).abs(), (frame.columns - right).abs()  # the border itself is not repeated
    return lambda x: _taken(x, rows, columns)


def _roll(frame: Frame, down: Tensor | int, right: Tensor | int) -> Operation:
    rows, columns = (frame.rows - down) % frame.height, (frame.columns - right) % frame.width
    return lambda x: _taken(x, rows, columns)


def _taken(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The pixels of each sample at its rows (B, H) and columns (B, W); 1 for B is the same for all."""
    index = (rows[:, :, None] * x.shape[-1] + columns[:, None, :]).flatten(1)
    return x.flatten(2).gather(2, index[:, None].expand(*x.shape[:2], -1)).reshape(x.shape)


def _box(rows: Tensor, columns: Tensor) -> Tensor:
    """(B, 1, H, W) from (B, H) and (B, W)."""
    return rows[:, None, :, None] & columns[:, None, None, :]


def _part(side: int, share: float) -> int:
    return int(side * share + 0.5)


_DRAWS: Mapping[str, Callable[[Frame], Operation]] = {
    "color": _color,
    "translation": _translation,
    "zoom": _zoom,
    "flip": _flip,
    "rotate": _rotate,
    "cutout": _cutout,
    "transl_zoom": _transl_zoom,
    "offset": _offset,
    "offset_h": _offset_h,
    "offset_v": _offset_v,
    "shift": _shift,
}
_COLOURS = ("color",)
"""Policies that leave every pixel where it is."""
