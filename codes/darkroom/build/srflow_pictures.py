"""SRFlow as the latent tools use it: loaded from a file, taking pictures of any size and kind, giving tensors.

An image at the size of the output counts as the pair of itself and a small version, bicubic unless another is given.
Sides that the network cannot take are mirrored up to those that it can, and the result is cropped back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..archs.blocks import pad_to_multiple
from ..archs.srflow import SRFlow
from ..core.errors import DataError, OptionErrors, WeightsError
from ..data.images import Picture
from ..filters.resize import resize_uint8
from ..inference.allocator import keep_large_buffers
from ..inference.folder import Say, to_pixels, to_tensor
from ..inference.latents import Latents
from ..inference.weights import identify, load_weights
from .auto import recognisable
from .device import choose_device
from .testing import input_channels, parse_device

Fit = Literal["crop", "resize"]


@dataclass(frozen=True)
class Low:
    """What the flow enlarges."""

    image: Tensor
    """(1, C, H, W), with sides that the network takes."""
    size: tuple[int, int]
    """Height and width of the result, without what was added."""


@dataclass(frozen=True)
class Pair:
    """What the flow has latents of."""

    low: Low
    high: Tensor
    """(1, C, scale*H, scale*W)."""


@dataclass(eq=False)
class Flow:
    """A loaded SRFlow that takes pictures."""

    network: SRFlow
    device: torch.device
    say: Say = tqdm.write
    replaced: int = 0
    """Images that diverged and were made cooler, so far."""

    def __post_init__(self) -> None:
        """Make the network ready to run."""
        self.network.eval().to(self.device)
        self.channels = input_channels(self.network)

    def low(self, picture: Picture, name: Path) -> Low:
        """A picture to enlarge."""
        scale = self.network.scale
        image = self._padded(picture, self.network.multiple_of, name)
        return Low(image, (picture.size[0] * scale, picture.size[1] * scale))

    def pair(self, picture: Picture, name: Path, small: Picture | None = None) -> Pair:
        """A picture at the size of the output, with its small version, which else is made.

        Raises:
            DataError: the sizes do not fit.
        """
        scale = self.network.scale
        high = self._padded(picture, scale * self.network.multiple_of, name)
        if small is None:  # in whole numbers, so that it is what a file of it would hold
            small = Picture(resize_uint8(to_pixels(high, picture.pixels.dtype), 1 / scale))
        elif (small.size[0] * scale, small.size[1] * scale) != picture.size:
            raise DataError(
                f"{name} is {_size(picture.size)} and its low-res version {_size(small.size)}: expected 1/{scale} of "
                "it; leave --low away to have one made"
            )
        low = pad_to_multiple(self._tensor(small), self.network.multiple_of)
        return Pair(Low(low, picture.size), high)

    def _tensor(self, picture: Picture) -> Tensor:
        return to_tensor(np.ascontiguousarray(picture.as_channels(self.channels)), self.device)

    def _padded(self, picture: Picture, multiple: int, name: Path) -> Tensor:
        image = self._tensor(picture)
        padded = pad_to_multiple(image, multiple)
        if padded.shape != image.shape:
            sizes = _size(picture.size), _size(padded.shape[-2:])
            self.say(f"{name}: {sizes[0]} is mirrored up to {sizes[1]}, and the result cropped back")
        return padded

    def encode(self, pair: Pair) -> tuple[list[Tensor], Tensor]:
        """The latents, and the negative log-likelihood (1,) in bits per pixel."""
        z, logdet = self.network.encode(pair.high, pair.low.image)
        return z, self.network.bits(z, logdet)

    def decode(self, low: Low, latents: Iterable[Latents], name: Path) -> Iterator[Tensor]:
        """(1, C, H, W) of the size of the result, for each of the latents; replacements are said."""
        features = self.network.features(low.image)
        for z in latents:  # one by one, as few fit into memory together
            image, replaced = self.network.decode_safely(low.image, z, features)
            if bool(replaced):
                self.replaced += 1
                self.say(f"{name}: an image diverged and was replaced by one of lower temperature")
            yield image[..., : low.size[0], : low.size[1]]

    def draw(self, low: Low, heat: float, seed: int) -> list[Tensor]:
        """Latents of a temperature, drawn on the CPU: the same on every device, and at every heat but for a factor."""
        return self.network.draw(low.image, heat, torch.Generator().manual_seed(seed))


def open_flow(model: Path, *, device: str | None, blocks: Sequence[int] | None, say: Say = tqdm.write) -> Flow:
    """The SRFlow in a weights file, told by the file.

    ``blocks`` are those of the encoder whose features are stacked, where the network has other ones than usual.

    Raises:
        DarkroomError: the file cannot be read, is not recognised or holds another network.
    """
    keep_large_buffers()
    target = choose_device(parse_device(device), say)
    network, arguments = identify(model, recognisable())
    if not isinstance(network, SRFlow):
        raise WeightsError(
            f"{model} holds a network {type(network).__name__}: expected SRFlow, as only that has latents. "
            "test.py -i IMAGES -m MODEL -o FOLDER runs networks of all kinds"
        )
    if blocks is not None:
        try:
            network = SRFlow(**{**arguments, "blocks": tuple(blocks)})
        except ValueError as error:
            raise OptionErrors([f"--blocks: {error}"]) from None
        load_weights(network, model)
    used = ", ".join(map(str, network.blocks))
    say(f"SRFlow x{network.scale} from {model}, with the features of the blocks {used}, on {target}")
    return Flow(network, target, say)


def fitted(picture: Picture, size: tuple[int, int], fit: Fit | None, name: Path) -> Picture:
    """The picture at ``size``: as it is, or its middle, or (``resize``) its middle once it is just large enough.

    Raises:
        DataError: it has another size and ``fit`` is None, or it is too small for ``crop``.
    """
    if picture.size == size:
        return picture
    if fit is None:
        raise DataError(
            f"{name} is {_size(picture.size)}, the result will be {_size(size)}: expected the same size. "
            "--fit crop takes the middle of it, --fit resize makes it as small or large as needed first"
        )
    pixels = picture.pixels
    if fit == "resize":
        factor = max(size[0] / picture.size[0], size[1] / picture.size[1])
        grown = (max(size[0], round(picture.size[0] * factor)), max(size[1], round(picture.size[1] * factor)))
        pixels = resize_uint8(pixels, size=grown)
    top, left = (pixels.shape[0] - size[0]) // 2, (pixels.shape[1] - size[1]) // 2
    if top < 0 or left < 0:
        raise DataError(f"{name} is {_size(picture.size)}, too small to crop {_size(size)}: use --fit resize")
    return Picture(np.ascontiguousarray(pixels[top : top + size[0], left : left + size[1]]))


def _size(size: Sequence[int]) -> str:
    return f"{size[1]}x{size[0]}"
