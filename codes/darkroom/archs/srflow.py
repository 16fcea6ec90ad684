"""SRFlow, super-resolution as a normalising flow: Lugmayr et al. 2020, https://arxiv.org/abs/2006.14200.

An invertible network maps the image, given features of its small version, to a latent that is to be normally
distributed; the inverse maps drawn latents to images. It reads and writes the keys of the published files. What differs
from the published code: nf and the number of stacked blocks are free, images of any size go in, several samples share
one computation of the features, and decoding can replace what is not an image.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.network import State
from . import ARCHS
from .blocks import PublicNetwork, Table, pad_to_multiple, parameters_to_buffers
from .flow import Level, log_density, pixels, repeated
from .rrdb import RRDBNet

_ABSURD = 100.0
"""No value of an image in [0, 1] is as large, unless the inverse diverged."""
_F_NC = {True: 96, False: 384}
"""Channels of the published networks' unused layer, with splits and without."""
_COOLER = (0.5, 0.25, 0.0)
"""Factors for the latents of an image that did."""


def sound(image: Tensor) -> Tensor:
    """(B, C, H, W) -> (B,), whether all values are finite and none is absurd; nothing waits for the device."""
    return (image.abs() < _ABSURD).flatten(1).all(1)


def feature_maps(encoder: RRDBNet, low: Tensor, blocks: Sequence[int], largest: int) -> dict[int, Tensor]:
    """Features (B, F, 2**n H, 2**n W) by n, from -1 to ``largest``: the encoder's own, then those of its ``blocks``."""
    x, outputs = encoder.first(low), []
    for block in encoder.trunk:
        x = block(x)
        outputs.append(x)
    x = x + encoder.fuse(x)  # not to the first features as in ESRGAN: published weights are trained so
    own = {-1: F.interpolate(x, scale_factor=0.5, mode="bilinear", recompute_scale_factor=True), 0: x}
    for n, up in enumerate(encoder.tail[:largest], 1):
        own[n] = x = up(x)
    stacked = torch.cat([outputs[block] for block in blocks], 1)
    return {n: torch.cat([x, F.interpolate(stacked, x.shape[-2:])], 1) for n, x in own.items()}


@ARCHS.register("srflow_net", "srflow")
class SRFlow(PublicNetwork):
    """(B, in_nc, H, W) -> (B, out_nc, scale*H, scale*W), the image of temperature 0; images in [0, 1].

    ``decode`` makes others of drawn latents, ``encode`` latents of images, ``nll`` is what training lowers.

    Args:
        in_nc: channels of the images, as out_nc; nf, nb, gc are those of the RRDB encoder.
        scale: 4, 8 or 16.
        K: steps with couplings in each level of the flow.
        L: levels of the flow; each halves the sides.
        hidden_channels: width of the networks in the couplings.
        blocks: encoder blocks whose output is among the features, counted from 0; null is four, evenly spread.
        additional: steps without couplings before those with, in each level.
        split: whether half of the channels leave the flow after its inner levels.
        correct_splits: whether they do after the last but one level too; in published files they do not.
        quant: levels of gray in the images, for the noise that makes them continuous.
    """

    multiple_of: ClassVar[int] = 2
    half_precision: ClassVar[bool] = False

    def __init__(
        self,
        in_nc: int = 3,
        out_nc: int = 3,
        nf: int = 64,
        nb: int = 23,
        gc: int = 32,
        scale: int = 4,
        K: int = 16,
        L: int = 3,
        hidden_channels: int = 64,
        blocks: tuple[int, ...] | None = None,
        additional: int = 2,
        split: bool = True,
        correct_splits: bool = False,
        quant: float = 255,
    ) -> None:
        super().__init__()
        self.blocks = _spread(nb, min(4, nb)) if blocks is None else tuple(blocks)
        _check(in_nc, out_nc, nb, scale, L, K, self.blocks, quant)
        self.scale, self.quant, self.layout = scale, quant, "srflow"
        self.RRDB = RRDBNet(in_nc, out_nc, nf, nb, gc=gc, scale=scale, gaussian=False, layout="new")
        feature_nc = nf * (1 + len(self.blocks))
        splits = split * (L - 1 if correct_splits else L - 2)
        levels, channels = list[Level](), out_nc
        for i in range(L):
            levels.append(Level(channels, feature_nc, K, additional, hidden_channels, split=i < splits))
            channels = levels[-1].out_nc
        self.levels = cast("Sequence[Level]", nn.ModuleList(levels))
        self.f = nn.Conv2d(feature_nc, _F_NC[split], 3, padding=1)
        parameters_to_buffers(self.f, *self.RRDB.tail[scale.bit_length() - 2 :])

    def forward(self, low: Tensor) -> Tensor:
        """(B, in_nc, H, W) -> (B, out_nc, scale*H, scale*W), of temperature 0."""
        height, width = (side * self.scale for side in low.shape[-2:])
        return self.decode(pad_to_multiple(low, self.multiple_of))[..., :height, :width]

    def features(self, low: Tensor) -> list[Tensor]:
        """(B, in_nc, H, W) -> what the flow sees of it: (B, F, scale*H/2, scale*W/2) and on, each half of the last.

        Raises:
            ValueError: H or W is odd.
        """
        if any(side % self.multiple_of for side in low.shape[-2:]):
            raise ValueError(f"expected images whose sides are multiples of {self.multiple_of}, found {_size(low)}")
        half = self.scale.bit_length() - 2  # 2**half is half of the scale
        maps = feature_maps(self.RRDB, low, self.blocks, half)
        return [maps[half - i] for i in range(len(self.levels))]

    def encode(
        self,
        image: Tensor,
        low: Tensor,
        add_noise: bool = False,
        noise: Tensor | None = None,
        features: Sequence[Tensor] | None = None,
    ) -> tuple[list[Tensor], Tensor]:
        """(B, out_nc, scale*H, scale*W) and (B, in_nc, H, W) -> latents, see ``shapes``, and (B,).

        The latter is the log-determinant, with the log-density of all latents but the last. With ``add_noise``, the
        image has uniform noise of one gray level added, or ``noise``, and counts as a density of gray levels.

        Raises:
            ValueError: the sizes do not fit.
        """
        if [side * self.scale for side in low.shape[-2:]] != list(image.shape[-2:]):
            raise ValueError(f"expected an image {self.scale} times as large as {_size(low)}, found {_size(image)}")
        features = self.features(low) if features is None else features
        logdet = image.new_zeros(image.shape[0])
        z, latents = image, list[Tensor]()
        if add_noise:
            z = z + ((torch.rand_like(z) - 0.5) / self.quant if noise is None else noise)
            logdet = logdet - math.log(self.quant) * pixels(image)
        with torch.autocast(z.device.type, enabled=False):
            for level, seen in zip(self.levels, features, strict=True):
                z, eps, more = level(z, seen.to(z.dtype))
                logdet = logdet + more
                latents += [] if eps is None else [eps]
        return [*latents, z], logdet

    def nll(
        self,
        image: Tensor,
        low: Tensor,
        add_noise: bool = False,
        noise: Tensor | None = None,
        features: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """As ``encode`` -> (B,), the negative log-likelihood in bits per pixel (equation 2)."""
        return self.bits(*self.encode(image, low, add_noise, noise, features))

    def bits(self, z: Sequence[Tensor], logdet: Tensor) -> Tensor:
        """The negative log-likelihood (B,) in bits per pixel, of what ``encode`` gives."""
        count = pixels(z[-1]) * 4 ** len(self.levels)
        return -(logdet + log_density(z[-1])) / (math.log(2) * count)

    def shapes(self, low: Tensor) -> list[tuple[int, int, int]]:
        """(C, H, W) of the latents of an image enlarged from ``low``: one from each split, and the last."""
        height, width = (side * self.scale for side in low.shape[-2:])
        shapes = [(level.out_nc, height >> n, width >> n) for n, level in enumerate(self.levels, 1)]
        left = [level.split is not None for level in self.levels[:-1]]
        return [shape for shape, leaves in zip(shapes, [*left, True], strict=True) if leaves]

    def origin(self, low: Tensor) -> list[Tensor]:
        """The latents of temperature 0 for every image of ``low`` (B, in_nc, H, W)."""
        return [low.new_zeros(len(low), *shape) for shape in self.shapes(low)]

    def draw(
        self, low: Tensor, heat: float | Sequence[float] | Tensor, generator: torch.Generator | None = None
    ) -> list[Tensor]:
        """Latents for ``decode`` from a normal distribution of standard deviation ``heat``.

        One ``heat`` draws for every image of ``low`` (B, in_nc, H, W); n*B of them draw n times for all of them.

        Raises:
            ValueError: there is another number of heats.
        """
        heats = torch.as_tensor(heat, dtype=low.dtype, device=low.device).reshape(-1, 1, 1, 1)
        count = max(len(heats), len(low))
        if count % len(low) or len(heats) not in (1, count):
            raise ValueError(f"expected one heat or a multiple of {len(low)}, for as many images, found {len(heats)}")
        device = low.device if generator is None else generator.device
        return [
            torch.randn(count, *shape, generator=generator, device=device).to(heats) * heats
            for shape in self.shapes(low)
        ]

    def decode(
        self, low: Tensor, z: Sequence[Tensor] | None = None, features: Sequence[Tensor] | None = None
    ) -> Tensor:
        """(B, in_nc, H, W) and latents of n*B images (none: temperature 0) -> (n*B, out_nc, scale*H, scale*W)."""
        features = self.features(low) if features is None else features
        *left, x = self.origin(low) if z is None else z
        with torch.autocast(x.device.type, enabled=False):
            for level, seen in zip(reversed(self.levels), reversed(features), strict=True):
                x = level.inverse(x, None if level.split is None else left.pop(), seen.to(x.dtype))
        return x

    @torch.no_grad()
    def decode_safely(
        self, low: Tensor, z: Sequence[Tensor] | None = None, features: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """As ``decode``, for no training -> the images, and which were replaced (n*B,).

        Where the result is no image, latents of lower temperature make one; in the end, bicubic enlargement does.
        """
        features = self.features(low) if features is None else features
        z = self.origin(low) if z is None else z
        image = self.decode(low, z, features)
        replaced = ~sound(image)
        for factor in _COOLER:
            at = (~sound(image)).nonzero()[:, 0]
            if not len(at):
                return image, replaced
            of = at % len(low)
            cooler = [(part[at] * factor).nan_to_num(0, 0, 0) for part in z]
            image[at] = self.decode(low[of], cooler, [seen[of] for seen in features])
        simple = F.interpolate(low, scale_factor=self.scale, mode="bicubic", align_corners=False).to(image.dtype)
        fine = sound(image)[:, None, None, None]
        return torch.where(fine, image, repeated(simple, len(image))), replaced

    def sample(self, x: Tensor, heat: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(B, in_nc, H, W) of any size -> (B, out_nc, scale*H, scale*W), and (B,) which were replaced."""
        height, width = (side * self.scale for side in x.shape[-2:])
        x = pad_to_multiple(x, self.multiple_of)
        image, replaced = self.decode_safely(x, self.draw(x, [heat] * len(x), generator))
        return image[..., :height, :width], replaced

    def layouts(self) -> dict[str, Table]:
        """``srflow`` only: the encoder in ESRGAN's ``new`` layout, the flow's layers numbered through."""
        table = {f"RRDB.{ours}": f"RRDB.{theirs}" for ours, theirs in self.RRDB.layouts()["new"].items()}
        return {"srflow": {**table, **_numbered(self.levels), "f": "flowUpsamplerNet.f.0"}}

    @classmethod
    def recognise(cls, state: State) -> dict[str, Any] | None:
        """The options of the network in ``state``; which blocks are stacked, and ``quant``, no file tells."""
        if "RRDB.conv_first.weight" not in state or "flowUpsamplerNet.f.0.weight" not in state:
            return None
        return _recognise(state)


def _recognise(state: State) -> dict[str, Any] | None:
    encoder = RRDBNet.recognise({k.removeprefix("RRDB."): t for k, t in state.items() if k.startswith("RRDB.")})
    parts: dict[int, set[str]] = {}
    for key in state:
        if found := re.match(r"flowUpsamplerNet\.layers\.(\d+)\.(\w+)", key):
            parts.setdefault(int(found[1]), set()).add(found[2])
    if encoder is None or not parts:
        return None
    L = max(parts) + 1 - len(parts)  # the pixel unshuffles have a number and no parameters
    couplings, splits = (sum(kind in part for part in parts.values()) for kind in ("affine", "conv"))
    unused = state["flowUpsamplerNet.f.0.weight"]
    return {
        **{name: encoder[name] for name in ("in_nc", "out_nc", "nf", "nb", "gc", "scale")},
        "K": couplings // L,
        "L": L,
        "hidden_channels": next(t.shape[0] for k, t in state.items() if k.endswith("fAffine.0.weight")),
        "blocks": _spread(encoder["nb"], unused.shape[1] // encoder["nf"] - 1),
        "additional": (len(parts) - couplings - splits) // L,
        "split": unused.shape[0] == _F_NC[True],
        "correct_splits": splits == L - 1 > 0,
    }


def _numbered(levels: Sequence[Level]) -> Table:
    """The public files number all layers through, also the pixel unshuffle at the start of a level."""
    table, first = Table(), 1
    for i, level in enumerate(levels):
        layers = level.layers()
        for number, (path, layer) in enumerate(layers, first):
            inner = [name for name, _ in layer.named_modules() if name]
            table |= {f"levels.{i}.{path}.{name}": f"flowUpsamplerNet.layers.{number}.{name}" for name in inner}
        first += len(layers) + 1
    return table


def _spread(nb: int, count: int) -> tuple[int, ...]:
    """``count`` of ``nb`` blocks up to the last, from the second on if there are enough: 1, 8, 15, 22 of 23."""
    start = min(1, nb - count)
    return tuple(start + i * (nb - 1 - start) // max(1, count - 1) for i in range(count))


def _check(in_nc: int, out_nc: int, nb: int, scale: int, L: int, K: int, blocks: Sequence[int], quant: float) -> None:
    if out_nc != in_nc:
        raise ValueError(f"expected out_nc to be in_nc, {in_nc}, found {out_nc}")
    if scale not in (4, 8, 16):
        raise ValueError(f"expected SRFlow's scale to be 4, 8 or 16, found {scale}")
    most = scale.bit_length()
    if not 1 <= L <= most:
        raise ValueError(f"expected L, the levels of a flow that enlarges {scale} times, in 1 to {most}, found {L}")
    if K < 1 or quant <= 0:
        raise ValueError(f"expected K of 1 or more and quant above 0, found {K} and {quant}")
    if not blocks or any(not 0 <= block < nb for block in blocks):
        raise ValueError(f"expected blocks, numbers from 0 to {nb - 1} as there are {nb}, found {list(blocks)}")


def _size(image: Tensor) -> str:
    return " x ".join(map(str, image.shape[-2:]))
