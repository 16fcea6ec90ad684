"""The network of DISTS: Ding et al. 2020, https://arxiv.org/abs/2004.07728.

VGG16 with smooth pooling, and the similarity of what its channels have on average (texture) and of how they vary
together (structure), weighed as people judged. The backbone has torchvision's weights and keys (``features.N.*``); the
weights of the channels are those that come with the package torchmetrics. What differs: covariances are those of
centred maps, so that float32 serves. It is no architecture to train, hence not in ``ARCHS``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .lpips import published_weights
from .vgg import VGGFeatures, load_backbone

_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
_WIDTHS = (3, 64, 128, 256, 512, 512)
_EPS = 1e-6


class _L2Pool(nn.Module):
    """sqrt(g * x^2) at every second place; g: a Hann window. Unlike maxima it has no aliasing."""

    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        bell = torch.tensor([0.25, 0.5, 0.25])
        self.register_buffer("window", torch.outer(bell, bell)[None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        window = self.window.expand(x.shape[1], -1, -1, -1)
        return (F.conv2d(x.square(), window, stride=2, padding=1, groups=x.shape[1]) + 1e-12).sqrt()


class DISTSDistance(nn.Module):
    """The distance of RGB images (B, 3, H, W) in [0, 1]. Frozen; its weights are undefined until loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = VGGFeatures("vgg16", _LAYERS)
        for index, layer in self.backbone.features.named_children():
            if isinstance(layer, nn.MaxPool2d):
                self.backbone.features.add_module(index, _L2Pool())
        self.alpha = nn.Parameter(torch.ones(1, sum(_WIDTHS), 1, 1), requires_grad=False)
        self.beta = nn.Parameter(torch.ones(1, sum(_WIDTHS), 1, 1), requires_grad=False)

    def load(self, weights: str) -> None:
        """Read VGG16 from ``weights`` (see ``archs.vgg.load_backbone``) and the published weights of the channels.

        Raises:
            WeightsError: one of them cannot be had.
        """
        load_backbone(self.backbone, self.backbone.file, weights)
        published = published_weights("dists_models/weights.pt")
        self.alpha.copy_(published["alpha"])
        self.beta.copy_(published["beta"])

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The distance of each pair: (B,). The image itself is the first of its maps."""
        seen = [prediction, *self.backbone(prediction).values()]
        goal = [target, *self.backbone(target).values()]
        texture, structure = zip(*map(_similarities, seen, goal), strict=True)
        total = (self.alpha * torch.cat(texture, dim=1) + self.beta * torch.cat(structure, dim=1)).sum(dim=(1, 2, 3))
        return 1 - total / (self.alpha.sum() + self.beta.sum())


def _similarities(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Of the means, and of the deviations from them, channel by channel: (B, C, 1, 1)."""
    mx, my = (maps.mean(dim=(2, 3), keepdim=True) for maps in (x, y))
    dx, dy = x - mx, y - my
    vx, vy, covariance = ((a * b).mean(dim=(2, 3), keepdim=True) for a, b in ((dx, dx), (dy, dy), (dx, dy)))
    return (2 * mx * my + _EPS) / (mx.square() + my.square() + _EPS), (2 * covariance + _EPS) / (vx + vy + _EPS)
