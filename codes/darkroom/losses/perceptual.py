"""Distances between what a network trained for recognition sees in two images.

Johnson et al. 2016, https://arxiv.org/abs/1603.08155: content (eq. 2) and style (eq. 3, 4); by default one layer before
its activation, as in ESRGAN, https://arxiv.org/abs/1809.00219. What differs: any pixel criterion instead of the squared
distance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor

from ..archs.vgg import VGGFeatures, VGGName, canonical, layer_names, load_backbone
from ..core.terms import LOSSES, Loss
from .pixel import Criterion, criterion_of

Distance = Callable[[Tensor, Tensor], Tensor]
_LAST = {"conv5_4": 1.0}


def gram_matrix(features: Tensor) -> Tensor:
    """F F^T / (C H W) of (B, C, H, W), as (B, C, C). Johnson et al. 2016, eq. 3.

    In float32 whatever surrounds it: sums of squares leave the range of half precision.
    """
    with torch.autocast(features.device.type, enabled=False):
        flat = features.flatten(2)
        flat = flat.float() if flat.dtype in (torch.float16, torch.bfloat16) else flat
        return flat @ flat.mT / flat[0].numel()


def weighted_distance(
    prediction: Mapping[str, Tensor], target: Mapping[str, Tensor], weights: Mapping[str, float], distance: Distance
) -> Tensor:
    """sum_l w_l distance(prediction_l, target_l) over the layers of ``weights``; a scalar."""
    return torch.stack([weight * distance(prediction[layer], target[layer]) for layer, weight in weights.items()]).sum()


@LOSSES.register("perceptual", "feature")
class Perceptual(Loss):
    """w_f sum_l a_l X(F_l(x), F_l(y)) + w_s sum_l b_l X(G_l(x), G_l(y)); F_l: maps of VGG, G_l: their Gram matrices."""

    unit_range: ClassVar[bool] = True

    def __init__(
        self,
        criterion: Criterion = "l1",
        network: VGGName = "vgg19",
        layers: Mapping[str, float] = _LAST,
        style_layers: Mapping[str, float] = {},
        feature_weight: float = 1.0,
        style_weight: float = 0.0,
        use_input_norm: bool = True,
        remove_pooling: bool = False,
        change_padding: bool = False,
        znorm: bool = False,
        weights: str = "imagenet",
    ) -> None:
        """``layers`` are a_l; ``style_layers`` are b_l, by default the same.

        ``weights`` is ``imagenet`` or a file in torchvision's layout, see ``load_backbone``. ``znorm`` says that images
        are in [-1, 1].

        Raises:
            ValueError: an unknown network, layer or criterion, or nothing to compare.
            WeightsError: the weights of the network cannot be had.
        """
        super().__init__()
        names = layer_names(network)
        self.distance = criterion_of(criterion)
        self.content = _scaled(layers, feature_weight, names)
        self.style = _scaled(style_layers or layers, style_weight, names)
        if not self.content and not self.style:
            raise ValueError("a perceptual loss needs layers, and a feature_weight or a style_weight that is not 0")
        self.features = VGGFeatures(
            network,
            {*self.content, *self.style},
            use_input_norm=use_input_norm,
            znorm=znorm,
            remove_pooling=remove_pooling,
            change_padding=change_padding,
        )
        load_backbone(self.features, self.features.file, weights)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """A scalar, of (B, 3, H, W) or (B, 1, H, W); no gradient reaches the target."""
        with torch.no_grad():
            goal = self.features(target)
        seen = self.features(prediction)
        total = [weighted_distance(seen, goal, self.content, self.distance)] if self.content else []
        if self.style:
            seen, goal = ({layer: gram_matrix(maps[layer]) for layer in self.style} for maps in (seen, goal))
            total.append(weighted_distance(seen, goal, self.style, self.distance))
        return torch.stack(total).sum()


def _scaled(layers: Mapping[str, float], factor: float, names: list[str]) -> dict[str, float]:
    """Layer -> weight, without those that count for nothing."""
    found: dict[str, float] = {}
    for layer, weight in layers.items():
        name = canonical(layer, names)
        if name in found:
            raise ValueError(f"layer {name!r} is named twice: {', '.join(layers)}")
        found[name] = factor * weight
    return {name: weight for name, weight in found.items() if weight}
