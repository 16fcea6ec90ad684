"""The network of LPIPS: Zhang et al. 2018, https://arxiv.org/abs/1801.03924, eq. 1, version 0.1 of its linear weights.

The backbones have torchvision's weights and keys (``features.N.*``); the linear weights are those that come with the
package torchmetrics. What differs: the mean over a batch is one, and equal images have a finite gradient.
It is no architecture to train, hence not in ``ARCHS``: a metric and a loss measure with it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import WeightsError
from .vgg import VGGFeatures, load_backbone

Backbone = Literal["alex", "vgg", "squeeze"]
_VGG_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
_WIDTHS = {
    "alex": (64, 192, 384, 256, 256),
    "vgg": (64, 128, 256, 512, 512),
    "squeeze": (64, 128, 256, 384, 384, 512, 512),
}
_FILES = {"alex": "alexnet-owt-7be5be79.pth", "squeeze": "squeezenet1_1-b8a52dc0.pth"}


def _conv(inputs: int, outputs: int, size: int, stride: int = 1, padding: int = 0) -> nn.Module:
    return nn.utils.skip_init(nn.Conv2d, inputs, outputs, size, stride=stride, padding=padding)


class _Fire(nn.Module):
    """Iandola et al. 2016 (SqueezeNet), https://arxiv.org/abs/1602.07360, figure 2."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = _conv(inputs, squeezed, 1)
        self.expand1x1 = _conv(squeezed, expanded, 1)
        self.expand3x3 = _conv(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return F.relu(torch.cat([self.expand1x1(x), self.expand3x3(x)], dim=1))


class _Tapped(nn.Module):
    """A sequence of layers and the indices of those whose outputs are compared."""

    def __init__(self, layers: Sequence[nn.Module], taps: Sequence[int], file: str) -> None:
        super().__init__()
        self.features = nn.Sequential(*layers)
        self.taps = tuple(taps)
        self.file = file

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = {}
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.taps:
                maps[str(index)] = x
        return maps


def _alex() -> _Tapped:
    """Krizhevsky 2014, https://arxiv.org/abs/1404.5997."""
    layers: list[nn.Module] = [
        _conv(3, 64, 11, 4, 2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        _conv(64, 192, 5, 1, 2),
        nn.ReLU(),
    ]
    layers += [nn.MaxPool2d(3, 2), _conv(192, 384, 3, 1, 1), nn.ReLU(), _conv(384, 256, 3, 1, 1), nn.ReLU()]
    layers += [_conv(256, 256, 3, 1, 1), nn.ReLU()]
    return _Tapped(layers, (1, 4, 7, 9, 11), _FILES["alex"])


def _squeeze() -> _Tapped:
    """SqueezeNet 1.1."""
    layers: list[nn.Module] = [_conv(3, 64, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True)]
    layers += [_Fire(64, 16, 64), _Fire(128, 16, 64), nn.MaxPool2d(3, 2, ceil_mode=True)]
    layers += [_Fire(128, 32, 128), _Fire(256, 32, 128), nn.MaxPool2d(3, 2, ceil_mode=True)]
    layers += [_Fire(256, 48, 192), _Fire(384, 48, 192), _Fire(384, 64, 256), _Fire(512, 64, 256)]
    return _Tapped(layers, (1, 4, 7, 9, 10, 11, 12), _FILES["squeeze"])


class LPIPSDistance(nn.Module):
    """The learned distance of RGB images (B, 3, H, W) in [0, 1]. Frozen; its weights are undefined until loaded."""

    shift: Tensor
    scale: Tensor

    def __init__(self, net: Backbone = "squeeze", linear: bool = True) -> None:
        """Without ``linear`` all channels count alike.

        Raises:
            ValueError: there is no such network.
        """
        super().__init__()
        if net not in _WIDTHS:
            raise ValueError(f"net: expected one of {', '.join(_WIDTHS)}, found {net!r}")
        self.net_name = net
        self.backbone: VGGFeatures | _Tapped
        if net == "vgg":
            self.backbone = VGGFeatures("vgg16", _VGG_LAYERS, use_input_norm=False)
        else:
            self.backbone = _alex() if net == "alex" else _squeeze()
        self.heads = nn.ParameterList([torch.ones(1, width, 1, 1) for width in _WIDTHS[net]] if linear else [])
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).reshape(3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).reshape(3, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.eval()

    def load(self, weights: str) -> None:
        """Read the backbone from ``weights`` (see ``archs.vgg.load_backbone``) and the published linear weights.

        Raises:
            WeightsError: one of them cannot be had.
        """
        load_backbone(self.backbone, self.backbone.file, weights)
        if len(self.heads):
            published = published_weights(f"lpips_models/{self.net_name}.pth")
            for n, head in enumerate(self.heads):
                head.copy_(published[f"lin{n}.model.1.weight"])

    def layers(self, prediction: Tensor, target: Tensor) -> list[Tensor]:
        """What each layer contributes, place by place: maps (B, 1, H', W')."""
        shifted = ((2 * image - 1 - self.shift) / self.scale for image in (prediction, target))
        seen, goal = (self.backbone(image).values() for image in shifted)
        differences = [(_unit(a) - _unit(b)).square() for a, b in zip(seen, goal, strict=True)]
        if not len(self.heads):
            return [d.sum(dim=1, keepdim=True) for d in differences]
        return [(d * head).sum(dim=1, keepdim=True) for d, head in zip(differences, self.heads, strict=True)]

    def spatial(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The distance place by place: (B, 1, H, W)."""
        size = prediction.shape[-2:]
        maps = self.layers(prediction, target)
        return torch.stack([F.interpolate(m, size=size, mode="bilinear", align_corners=False) for m in maps]).sum(dim=0)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The distance of each pair: (B,)."""
        return torch.stack([m.mean(dim=(1, 2, 3)) for m in self.layers(prediction, target)]).sum(dim=0)


def _unit(features: Tensor) -> Tensor:
    x = features.float() if features.dtype in (torch.float16, torch.bfloat16) else features
    return x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + 1e-10)


def published_weights(name: str) -> dict[str, Tensor]:
    """The tensors of a file that comes with the package torchmetrics, such as ``lpips_models/vgg.pth``.

    Raises:
        WeightsError: the package is not there, or too old to have that file.
    """
    package = importlib.util.find_spec("torchmetrics")
    if package is None or package.origin is None:
        raise WeightsError(f"the weights {name} come with the package torchmetrics: pip install torchmetrics")
    file = Path(package.origin).parent / "functional" / "image" / name
    if not file.is_file():
        raise WeightsError(f"the weights {file} are absent; a newer torchmetrics has them: pip install -U torchmetrics")
    state: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return state
