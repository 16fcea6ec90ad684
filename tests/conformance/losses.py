"""Losses between images, and colour spaces: family ``loss``. A module with further losses adds itself to ``PARTS``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from darkroom.filters import color
from darkroom.losses import perceptual, pixel

from . import Adapter, Case, Missing, adapter
from .recipes import inputs

PARTS: dict[str, Adapter] = {}
"""Beginning of a case's name -> what runs it."""


def part(*beginnings: str) -> Callable[[Adapter], Adapter]:
    def decorate(function: Adapter) -> Adapter:
        for beginning in beginnings:
            assert beginning not in PARTS, f"two adapters for {beginning}"
            PARTS[beginning] = function
        return function

    return decorate


@adapter("loss")
def run(case: Case) -> dict[str, Any]:
    name = case.path.stem
    found = max((beginning for beginning in PARTS if name.startswith(beginning)), key=len, default=None)
    if found is None:
        raise Missing(name)
    return dict(PARTS[found](case))


def value_and_gradient(case: Case, function: Callable[[Tensor, Tensor], Tensor]) -> dict[str, Any]:
    """``loss`` and ``grad_x`` as most cases have them."""
    given = inputs(case)
    x = given["x"].requires_grad_()
    loss = function(x, given["y"])
    (gradient,) = torch.autograd.grad(loss, x)
    return {"loss": loss, "grad_x": gradient}


_CLASSES = {
    "L1Loss": ("l1", {}),
    "MSELoss": ("l2", {}),
    "CharbonnierLoss": ("cb", {"eps": "eps"}),
    "ElasticLoss": ("elastic", {"a": "a"}),
    "RelativeL1": ("relativel1", {"eps": "eps"}),
    "L1CosineSim": ("l1cosinesim", {"loss_lambda": "cosine_weight"}),
    "ClipL1": ("clipl1", {"clip_min": "clip_min", "clip_max": "clip_max"}),
    "FrobeniusNormLoss": ("fro", {}),
    "MultiscalePixelLoss": ("multiscale", {}),
}
_OWN_NORM = {"cb": "bci", "fro": "c"}


@part("loss_pix")
def pixels(case: Case) -> dict[str, Any]:
    from darkroom.core.terms import LOSSES

    data = case.data
    name = data["option"].get("pixel_criterion") or _CLASSES[data["reference"].split(".")[-1].split()[-1]][0]
    config = dict(data["config"])
    out_norm = config.pop("out_norm", None)
    if name.startswith("multiscale-"):
        function = LOSSES["multiscale"](criterion=name.removeprefix("multiscale-").lower())
    else:
        renamed = next(names for own, names in _CLASSES.values() if own == name.lower()) if config else {}
        if set(config) - set(renamed):
            raise Missing(f"{name} with {config}")
        function = LOSSES[name.lower()](**{renamed[key]: value for key, value in config.items()})
    found = value_and_gradient(case, function)
    return {key: value * _other_norm(case, name, out_norm) for key, value in found.items()}


def _other_norm(case: Case, name: str, out_norm: str | None) -> float:
    """What a loss divided by b(atch), c(hannels), i(mage) is multiplied with to be divided by others instead."""
    if out_norm is None:
        return 1.0
    b, c, h, w = case.data["inputs"]["x"]["shape"]
    sizes = {"b": b, "c": c, "i": h * w}
    return math.prod(sizes[n] for n in _OWN_NORM[name]) / math.prod(sizes[n] for n in out_norm)


@part("util_colors")
def colors(case: Case) -> dict[str, Any]:
    """Not ``rgb_to_ycbcr``: the original returns YUV there (see ``notes``). ``back_*`` invert the input as it is."""
    x = inputs(case)["x"]
    yuv = color.rgb_to_yuv(x)
    found = {f"yuv_{name}": color.rgb_to_yuv(x, name) for name in ("yuv", "ycbcr", "BT709", "yuvK")}
    backs = {"back_yuv": color.yuv_to_rgb(x, "ycbcr"), "back_yuvK": color.yuv_to_rgb(x, "yuvK")}
    return {**found, **backs, "yuv_y": yuv[:, 0], "yuv_uv": yuv[:, 1:], "gray": color.rgb_to_gray(x)}


@adapter("edgeconnect_style_perceptual")
def edgeconnect_features(case: Case) -> dict[str, Any]:
    given = inputs(case)
    x, y = ({n[2:]: t for n, t in given.items() if n.startswith(side)} for side in ("x_", "y_"))
    grams = [{layer: perceptual.gram_matrix(f) for layer, f in maps.items()} for maps in (x, y)]
    style = dict.fromkeys([n for n in ("relu2_2", "relu3_4", "relu4_4", "relu5_2") if n in x], 1.0)
    content = dict.fromkeys([n for n in x if n.endswith("_1")], 1.0)
    names = [name for name in case.arrays if name.startswith("gram_x_")]
    return {
        "style": perceptual.weighted_distance(*grams, style, pixel.l1),
        "perceptual": perceptual.weighted_distance(x, y, content, pixel.l1),
        **{name: grams[0][name.removeprefix("gram_x_")] for name in names},
    }
