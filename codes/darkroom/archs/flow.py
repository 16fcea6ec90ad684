"""Invertible layers of a conditional flow, each with the logarithm of its Jacobian determinant.

Glow: Kingma and Dhariwal, https://arxiv.org/abs/1807.03039 (table 1: actnorm, invertible 1x1 convolution, split).
SRFlow: Lugmayr et al., https://arxiv.org/abs/2006.14200 (section 3.3: couplings that see features of an image).

Every layer has ``forward`` (image towards latent, with the log-determinant per image or for all) and ``inverse``. The
log-determinant of an inverse is minus that of ``forward`` at its result. What differs from the published code: actnorm
takes the first batches of all processes together, and sets no scale by what does not vary in them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.collective import processes, sum_over_processes

_LEAST_STD = 0.01
"""What varies less says nothing about scales: a batch of one may be a black crop, or at the last level one pixel."""
_LEAST_SCALE = 1e-4


def pixels(x: Tensor) -> int:
    """H*W of (B, C, H, W)."""
    return x.shape[-2] * x.shape[-1]


def log_density(z: Tensor) -> Tensor:
    """Of a standard normal distribution: (B, C, H, W) -> (B,)."""
    return -0.5 * (z.square() + math.log(2 * math.pi)).sum((1, 2, 3))


def repeated(x: Tensor, batch: int) -> Tensor:
    """(B, ...) again and again up to (batch, ...): several samples share the features of an image."""
    return x if x.shape[0] == batch else x.repeat(batch // x.shape[0], 1, 1, 1)


class ActNorm(nn.Module):
    """``(x + bias) * exp(logs)``, with mean 0 and variance 1 on the first batch that it is trained on (Glow, 3.1).

    That batch is known by a bias of 0, so weights from a file are left alone. Channels that do not vary in it keep the
    scale 1: 1/std of them would blow up all images to come.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.logs = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self._settled = False

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        if self.training and not self._settled:
            self._settle(x)
        return (x + self.bias) * self.logs.exp()

    def inverse(self, y: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return y * (-self.logs).exp() - self.bias

    @torch.no_grad()
    def _settle(self, x: Tensor) -> None:
        self._settled = True
        if self.bias.any():
            return
        mean = sum_over_processes(x.mean((0, 2, 3), keepdim=True)) / processes()
        variance = sum_over_processes((x - mean).square().mean((0, 2, 3), keepdim=True)) / processes()
        self.bias.copy_(-mean)
        std = variance.sqrt()
        self.logs.copy_(torch.where(std < _LEAST_STD, 0, -(std + 1e-6).log()))


class InvertibleConv(nn.Module):
    """1x1 convolution with a square matrix, at the start a random rotation (Glow, 3.2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.orthogonal_(torch.empty(channels, channels)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return _mixed(x, _double(self.weight))

    def inverse(self, y: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape. Nothing waits to see whether the matrix is singular: the image will tell."""
        return _mixed(y, torch.linalg.inv_ex(_double(self.weight)).inverse)

    def logdet(self) -> Tensor:
        """``log |det W|``, for one pixel."""
        return torch.linalg.slogdet(self.weight).logabsdet


def _double(x: Tensor) -> Tensor:
    """In float64, which MPS does not have."""
    return x if x.device.type == "mps" else x.double()


def _mixed(x: Tensor, matrix: Tensor) -> Tensor:
    """In double precision: the thousandths that TF32 loses at every step would be lost once more by the inverse."""
    return torch.matmul(matrix, _double(x).flatten(2)).reshape(x.shape).to(x.dtype)


class NormConv(nn.Conv2d):
    """Convolution followed by actnorm."""

    def __init__(self, in_nc: int, out_nc: int, kernel: int) -> None:
        super().__init__(in_nc, out_nc, kernel, padding=kernel // 2, bias=False)
        self.actnorm = ActNorm(out_nc)
        nn.init.normal_(self.weight, std=0.05)

    def forward(self, *parts: Tensor) -> Tensor:
        """Parts (B, C_i, H, W) -> (B, out_nc, H, W), as if they were concatenated.

        They are not, because every step of a level would keep a copy of the same features for its backward. The first
        part may have a larger batch, see ``repeated``.
        """
        weights = self.weight.split([part.shape[1] for part in parts], 1)
        maps = [F.conv2d(part, w, padding=self.padding) for part, w in zip(parts, weights, strict=True)]
        total = maps[0]
        for other in maps[1:]:
            total = total + repeated(other, total.shape[0])
        return self.actnorm(total)


class ZeroConv(nn.Conv2d):
    """3x3 convolution times ``exp(3 logs)``, 0 at the start (Glow, 3.3)."""

    def __init__(self, in_nc: int, out_nc: int) -> None:
        super().__init__(in_nc, out_nc, 3, padding=1)
        self.logs = nn.Parameter(torch.zeros(out_nc, 1, 1))
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_nc, H, W) -> (B, out_nc, H, W)."""
        return super().forward(x) * (3 * self.logs).exp()


class Affine(nn.Sequential):
    """Shift and scale of ``out_nc`` channels from what is given; a sigmoid keeps the scale between 1e-4 and 1.0001."""

    def __init__(self, in_nc: int, out_nc: int, hidden: int) -> None:
        super().__init__(
            NormConv(in_nc, hidden, 3),
            nn.ReLU(),
            NormConv(hidden, hidden, 1),
            nn.ReLU(),
            ZeroConv(hidden, 2 * out_nc),
        )

    def forward(self, *parts: Tensor) -> tuple[Tensor, Tensor]:
        """Parts (B, C_i, H, W) -> shift and scale, (B, out_nc, H, W) each, which alternate in the channels."""
        first, *others = self
        h = first(*parts)
        for layer in others:
            h = layer(h)
        return h[:, 0::2], torch.sigmoid(h[:, 1::2] + 2) + _LEAST_SCALE


class Coupling(nn.Module):
    """All channels are moved and scaled as the features say, then half of them as the others and the features say.

    SRFlow, section 3.3, "affine injector" and "conditional affine coupling" (equations 5 and 4).
    """

    def __init__(self, channels: int, feature_nc: int, hidden: int) -> None:
        super().__init__()
        self.kept = channels // 2
        self.fAffine = Affine(self.kept + feature_nc, channels - self.kept, hidden)
        self.fFeatures = Affine(feature_nc, channels, hidden)

    def forward(self, z: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) and features (B, F, H, W) -> the same shape and (B,)."""
        shift, scale = self.fFeatures(features)
        z1, z2 = ((z + shift) * scale).split([self.kept, z.shape[1] - self.kept], 1)
        shift2, scale2 = self.fAffine(z1, features)
        logdet = scale.log().sum((1, 2, 3)) + scale2.log().sum((1, 2, 3))
        return torch.cat([z1, (z2 + shift2) * scale2], 1), logdet

    def inverse(self, y: Tensor, features: Tensor) -> Tensor:
        """(n*B, C, H, W) and features (B, F, H, W) -> (n*B, C, H, W)."""
        z1, y2 = y.split([self.kept, y.shape[1] - self.kept], 1)
        shift2, scale2 = self.fAffine(z1, features)
        shift, scale = (repeated(x, y.shape[0]) for x in self.fFeatures(features))
        return torch.cat([z1, y2 / scale2 - shift2], 1) / scale - shift


class FlowStep(nn.Module):
    """Actnorm, 1x1 convolution and, unless there is no ``hidden`` width, a coupling."""

    def __init__(self, channels: int, feature_nc: int, hidden: int | None) -> None:
        super().__init__()
        self.actnorm = ActNorm(channels)
        self.invconv = InvertibleConv(channels)
        self.affine = None if hidden is None else Coupling(channels, feature_nc, hidden)

    def forward(self, x: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) and features (B, F, H, W) -> the same shape and the log-determinant, (B,) or ()."""
        z = self.invconv(self.actnorm(x))
        logdet = (self.actnorm.logs.sum() + self.invconv.logdet()) * pixels(x)
        if self.affine is None:
            return z, logdet
        z, conditional = self.affine(z, features)
        return z, logdet + conditional

    def inverse(self, z: Tensor, features: Tensor) -> Tensor:
        """The ``x`` that ``forward`` maps to ``z``."""
        if self.affine is not None:
            z = self.affine.inverse(z, features)
        x: Tensor = self.actnorm.inverse(self.invconv.inverse(z))
        return x


class Split(nn.Module):
    """Half of the channels leave the flow, normalised by what the other half says of them (Glow, 3.6)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = ZeroConv(channels // 2, channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, C, H, W) -> what stays and what leaves, (B, C/2, H, W) each, and log p(leaving | staying) (B,)."""
        z1, z2 = x.chunk(2, 1)
        mean, logs = self._prior(z1)
        eps = (z2 - mean) * (-logs).exp()
        return z1, eps, log_density(eps) - logs.sum((1, 2, 3))

    def inverse(self, z1: Tensor, eps: Tensor) -> Tensor:
        """What stays and what left, (B, C/2, H, W) each -> (B, C, H, W)."""
        mean, logs = self._prior(z1)
        return torch.cat([z1, mean + logs.exp() * eps], 1)

    def _prior(self, z1: Tensor) -> tuple[Tensor, Tensor]:
        h = self.conv(z1)
        return h[:, 0::2], h[:, 1::2]


class Level(nn.Module):
    """Four pixels become channels, then ``plain`` steps without and ``K`` steps with a coupling, and maybe a split."""

    def __init__(self, in_nc: int, feature_nc: int, K: int, plain: int, hidden: int, split: bool) -> None:
        super().__init__()
        channels = 4 * in_nc
        widths = [None] * plain + [hidden] * K
        steps = nn.ModuleList(FlowStep(channels, feature_nc, width) for width in widths)
        self.steps = cast("Sequence[FlowStep]", steps)
        self.split = Split(channels) if split else None
        self.out_nc = channels // 2 if split else channels

    def layers(self) -> list[tuple[str, nn.Module]]:
        """Its steps and its split by path, in order."""
        steps: list[tuple[str, nn.Module]] = [(f"steps.{k}", step) for k, step in enumerate(self.steps)]
        return steps if self.split is None else [*steps, ("split", self.split)]

    def forward(self, x: Tensor, features: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """(B, in_nc, 2H, 2W), features (B, F, H, W) -> (B, out_nc, H, W), what left if there is a split, and (B,)."""
        z = F.pixel_unshuffle(x, 2)
        logdet = x.new_zeros(x.shape[0])
        for step in self.steps:
            z, more = step(z, features)
            logdet = logdet + more
        if self.split is None:
            return z, None, logdet
        z, eps, more = self.split(z)
        return z, eps, logdet + more

    def inverse(self, z: Tensor, eps: Tensor | None, features: Tensor) -> Tensor:
        """(B, out_nc, H, W) and what left -> (B, in_nc, 2H, 2W)."""
        if self.split is not None and eps is not None:
            z = self.split.inverse(z, eps)
        for step in reversed(self.steps):
            z = step.inverse(z, features)
        return F.pixel_shuffle(z, 2)
