"""Contextual loss: Mechrez et al. 2018, https://arxiv.org/abs/1803.02077, of feature maps that need not be aligned.

The bilateral form also compares positions, after Zhang et al. 2019 (CoBi), https://arxiv.org/abs/1905.05169; the
symmetric form is the mean of both directions. What differs: b of eq. 3 is absent, as it cancels in eq. 4; a vector too
short to have a direction has no exploding gradient; float32 whatever surrounds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from ..archs.vgg import VGGFeatures, canonical, layer_names, load_backbone
from ..core.terms import LOSSES, Loss
from .pixel import pair

DistanceType = Literal["cosine", "l1", "l2"]
CalcType = Literal["regular", "bilateral", "symetric"]
_LAYERS = {"conv3_2": 1.0, "conv4_2": 1.0}
_LARGEST = 2**28
"""Elements of the (B, rows, N, C) that the gradient of L1 distances takes on CUDA."""
_SPATIAL = 0.1
"""Share of the positions in the bilateral form."""


def distances(x: Tensor, y: Tensor, kind: DistanceType) -> Tensor:
    """d_ij from position i of ``x`` to position j of ``y``, both (B, C, N): (B, N, N), at least 0.

    cosine: (1 - cos) / 2 of what is left without the mean of ``y``, Mechrez et al. 2018, section 3; l2 is squared.
    """
    if kind == "l1":
        rows = max(1, _LARGEST // y.numel())
        return torch.cat([torch.cdist(some, y.mT, p=1) for some in x.mT.split(rows, dim=1)], dim=1)
    if kind == "l2":
        lengths = x.square().sum(dim=1)[:, :, None] + y.square().sum(dim=1)[:, None]
        return torch.baddbmm(lengths, x.mT, y, alpha=-2).clamp(min=0)
    centre = y.mean(dim=(0, 2), keepdim=True)
    x, y = (F.normalize(features - centre, dim=1, eps=1e-3) for features in (x, y))
    return ((1 - x.mT @ y) / 2).clamp(min=0)


def similarities(d: Tensor, band_width: float) -> Tensor:
    """CX_ij: how near j is to i, relative to all other j, as a share of 1. Mechrez et al. 2018, eq. 2 to 4.

    d~_ij = d_ij / (min_k d_ik + 1e-5), w_ij = exp((b - d~_ij) / h), CX_ij = w_ij / sum_k w_ik.
    """
    return torch.softmax(d / (d.amin(dim=2, keepdim=True) + 1e-5).mul(-band_width), dim=2)


def contextual(
    x: Tensor, y: Tensor, distance_type: DistanceType, calc_type: CalcType, band_width: float, max_1d_size: int
) -> Tensor:
    """-log mean_j max_i CX_ij, mean over the batch, of feature maps (B, C, H, W); a scalar. Eq. 1 and 5.

    Of maps with more than ``max_1d_size`` squared places, so many random ones are compared.
    """
    with torch.autocast(x.device.type, enabled=False):
        x, y = pair(x, y)
        x, y, where = _drawn(x, y, _grid(x), size=max_1d_size)
        if calc_type == "bilateral":
            return _bilateral(x, y, where, distance_type, band_width)
        directions = ((x, y), (y, x)) if calc_type == "symetric" else ((x, y),)
        return torch.stack([_directed(a, b, distance_type, band_width) for a, b in directions]).mean()


def _directed(x: Tensor, y: Tensor, distance_type: DistanceType, band_width: float) -> Tensor:
    near = similarities(distances(x.flatten(2), y.flatten(2), distance_type), band_width)
    return -near.amax(dim=1).mean(dim=1).log().mean()


def _bilateral(x: Tensor, y: Tensor, where: Tensor, distance_type: DistanceType, band_width: float) -> Tensor:
    """As traiNNer has it: for each j, -log of the mean over the rows of ``x`` of the maximum in that row."""
    alike = similarities(distances(x.flatten(2), y.flatten(2), distance_type), band_width)
    close = similarities(distances(where.flatten(2), where.flatten(2), "l2"), band_width)
    best = torch.lerp(alike, close, _SPATIAL).unflatten(1, x.shape[-2:]).amax(dim=2)
    return -(best.mean(dim=1) + 1e-5).log().mean()


def _grid(maps: Tensor) -> Tensor:
    """The position of each place, below 1: (1, 2, H, W)."""
    axes = (torch.arange(n, device=maps.device, dtype=maps.dtype) / (n + 1) for n in maps.shape[-2:])
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


def _drawn(*maps: Tensor, size: int) -> tuple[Tensor, ...]:
    """``size`` x ``size`` places of maps (..., H, W), drawn at random, the same of all; all if there are no more."""
    height, width = maps[0].shape[-2:]
    if height * width <= size**2:
        return maps
    places = torch.randperm(height * width, device=maps[0].device)[: size**2]
    return tuple(m.flatten(-2)[..., places].unflatten(-1, (size, size)) for m in maps)


@LOSSES.register("contextual")
class Contextual(Loss):
    """sum_l a_l CX(F_l(x), F_l(y)), F_l: maps of VGG19. Its memory grows with the fourth power of ``max_1d_size``."""

    unit_range: ClassVar[bool] = True

    def __init__(
        self,
        layers: Mapping[str, float] = _LAYERS,
        distance_type: DistanceType = "cosine",
        calc_type: CalcType = "regular",
        band_width: float = 0.5,
        max_1d_size: int = 64,
        use_input_norm: bool = True,
        znorm: bool = False,
        weights: str = "imagenet",
    ) -> None:
        """``layers`` are a_l; of maps larger than ``max_1d_size`` squared, so many random places are compared.

        ``band_width`` is h: the smaller, the more only the nearest counts. ``weights`` is ``imagenet`` or a file in
        torchvision's layout, see ``load_backbone``. ``znorm`` says that images are in [-1, 1].

        Raises:
            ValueError: an unknown layer or form, nothing to compare, or a size or width that is not positive.
            WeightsError: the weights of the network cannot be had.
        """
        super().__init__()
        for name, value, known in (
            ("distance_type", distance_type, get_args(DistanceType)), ("calc_type", calc_type, get_args(CalcType)),
        ):  # fmt: skip
            if value not in known:
                raise ValueError(f"{name}: expected one of {', '.join(known)}, found {value!r}")
        if band_width <= 0 or max_1d_size < 1:
            raise ValueError(
                f"expected band_width above 0 and max_1d_size of 1 or more, found {band_width}, {max_1d_size}"
            )
        names = layer_names("vgg19")
        self.layers = {canonical(layer, names): weight for layer, weight in layers.items()}
        if not any(self.layers.values()) or len(self.layers) < len(layers):
            raise ValueError(
                f"layers: expected layers, each once, with weights that are not all 0; found {dict(layers)}"
            )
        self.distance_type, self.calc_type = distance_type, calc_type
        self.band_width, self.max_1d_size = band_width, max_1d_size
        self.features = VGGFeatures("vgg19", self.layers, use_input_norm=use_input_norm, znorm=znorm)
        load_backbone(self.features, self.features.file, weights)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """A scalar, of (B, 3, H, W) or (B, 1, H, W); no gradient reaches the target."""
        with torch.no_grad():
            goal = self.features(target)
        seen = self.features(prediction)
        how = self.distance_type, self.calc_type, self.band_width, self.max_1d_size
        return torch.stack([w * contextual(seen[layer], goal[layer], *how) for layer, w in self.layers.items()]).sum()
