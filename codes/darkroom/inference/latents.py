"""Arithmetic on the latents of a flow: their statistics, normalising, mixing, and how far they are from normal.

The tools are those of SRFlow (Lugmayr et al. 2020, https://arxiv.org/abs/2006.14200) and of the recipe in
DL-Art-School. Latents are what ``SRFlow.encode`` gives: tensors (B, C, H, W), one from each split of the flow and the
last, the largest first. They count as one long vector for each image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

Latents = Sequence[Tensor]

_EPS = 1e-6
"""Deviations below it are of a latent that does not vary: it becomes 0, not noise."""


class Statistics(NamedTuple):
    """Of all latents of each image, (B,)."""

    mean: Tensor
    std: Tensor


def statistics(latents: Latents) -> Statistics:
    """Their moments: a standard normal distribution has 0 and 1."""
    values = torch.cat([z.flatten(1) for z in latents], 1)
    return Statistics(values.mean(1), values.std(1, correction=0))


def scaled(latents: Latents, heat: float) -> list[Tensor]:
    """The latents at another temperature."""
    return [z * heat for z in latents]


def normalised(latents: Latents) -> list[Tensor]:
    """With mean 0 and standard deviation 1 in each channel of each image, over all positions."""
    return [_standardised(z, z.mean((2, 3), keepdim=True), z.var((2, 3), correction=0, keepdim=True)) for z in latents]


def normalised_locally(latents: Latents, region: float) -> list[Tensor]:
    """With mean and standard deviation of each channel taken from the surroundings of each position.

    These are a square with a side of ``region`` times the height of the latents, or what of it lies inside. From a
    region of 2 on (and of 2 W/H) it is ``normalised``.

    Raises:
        ValueError: ``region`` is not positive.
    """
    if not region > 0:
        raise ValueError(f"expected a region above 0, found {region}")
    out = []
    for z in latents:
        side = max(3, 2 * round(region * z.shape[-2] / 2) + 1)
        centred = z - z.mean((2, 3), keepdim=True)  # lest the difference of squares cancels
        mean = _box(centred, side)
        out.append(_standardised(centred, mean, (_box(centred.square(), side) - mean.square()).clamp_min(0)))
    return out


def _standardised(z: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return (z - mean) / variance.sqrt().clamp_min(_EPS)


def _box(z: Tensor, side: int) -> Tensor:
    """The mean over the part of a square of an odd side that lies inside, around each position."""
    for axis in (0, 1):
        half = min(side // 2, z.shape[2 + axis] - 1)  # what is beyond the image does not count
        size, pad = [1, 1], [0, 0]
        size[axis], pad[axis] = 2 * half + 1, half
        z = F.avg_pool2d(z, size, 1, pad, count_include_pad=False)
    return z


def linear(a: Latents, b: Latents, t: float) -> list[Tensor]:
    """From ``a`` at t=0 straight to ``b`` at t=1. Halfway between two draws, it is cooler than they are."""
    return [x + (y - x) * t for x, y in zip(a, b, strict=True)]


def spherical(a: Latents, b: Latents, t: float) -> list[Tensor]:
    """From ``a`` at t=0 to ``b`` at t=1 on an arc, which keeps the temperature.

    White 2016, "Sampling generative networks", https://arxiv.org/abs/1609.04468, section 2.1. Where there is no arc, as
    one of them is 0 or they are parallel, it is ``linear``.
    """
    dot, aa, bb = (_dot(x, y) for x, y in ((a, b), (a, a), (b, b)))
    cosine = (dot / (aa * bb).sqrt().clamp_min(torch.finfo(dot.dtype).tiny)).clamp(-1, 1)
    omega = cosine.acos()
    sine = omega.sin()
    flat = (sine < 1e-4) | (aa == 0) | (bb == 0)
    safe = torch.where(flat, torch.ones_like(sine), sine)
    of_a = torch.where(flat, 1 - t, ((1 - t) * omega).sin() / safe)
    of_b = torch.where(flat, t, (t * omega).sin() / safe)
    return [(x * of_a.view(-1, 1, 1, 1) + y * of_b.view(-1, 1, 1, 1)).to(x) for x, y in zip(a, b, strict=True)]


def _dot(a: Latents, b: Latents) -> Tensor:
    """(B,) in float64: millions of products."""
    parts = [(x.double() * y.double()).sum((1, 2, 3)) for x, y in zip(a, b, strict=True)]
    return torch.stack(parts).sum(0)


def distances(latents: Latents) -> list[Tensor]:
    """How far the latents at each place are from a standard normal distribution: (B, C, H, W) -> (B, 1, H, W).

    It is the distance of their mean square from 1. 0 is a perfect fit; C numbers that are really drawn from that
    distribution have about 0.8 (2/C)^(1/2), as the mean square of so few numbers varies.
    """
    return [(z.square().mean(1, keepdim=True) - 1).abs() for z in latents]


def score(latents: Latents) -> Tensor:
    """The recipe's latent score (B,): the mean of ``distances`` over all places. The lower, the better images fit."""
    return torch.cat([d.flatten(1) for d in distances(latents)], 1).mean(1)


def score_map(latents: Latents) -> Tensor:
    """Where images fit badly: the mean of ``distances`` over the latents, (B, 1, H, W) of the largest of them."""
    size = latents[0].shape[-2:]
    return torch.stack([F.interpolate(d, size) for d in distances(latents)]).mean(0)
