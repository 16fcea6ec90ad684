"""Feature networks: families ``features`` and ``lpips``."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from darkroom.archs.lpips import LPIPSDistance, published_weights
from darkroom.archs.vgg import VGGFeatures

from . import Case, Missing, adapter
from .recipes import inputs, state


@adapter("features")
def vgg(case: Case) -> dict[str, Any]:
    config = dict(case.data["config"])
    net, layers, znorm = config.pop("net"), config.pop("listen_list"), config.pop("z_norm", False)
    if not net.startswith("vgg"):
        raise Missing(net)
    network = VGGFeatures(net, layers, znorm=znorm, **config)
    weights = {}
    for key, value in state(case).items():
        _, layer, rest = key.split(".")
        weights[f"features.{network.index[layer]}.{rest}"] = value
    network.load_state_dict(weights)
    with torch.no_grad():
        maps = network(inputs(case)["x"])
    named = {name: maps[re.sub(r"^([a-z]+)_(?=\d)", r"\1", name)] for name in case.data["outputs"]}
    return {name: _as_stored(value, case.arrays[name].shape) for name, value in named.items()}


def _as_stored(value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Large maps are stored as spatial means."""
    if tuple(value.shape) == tuple(shape):
        return value
    return value.mean(dim=(2, 3)).reshape(shape)


@adapter("lpips")
def lpips(case: Case) -> dict[str, Any]:
    """Without ``spatial`` the original returns the first image of the batch only, so that is compared."""
    config = case.data["config"]
    if config.get("version", "0.1") != "0.1":
        raise Missing(f"LPIPS {config['version']}")
    network = LPIPSDistance(config["pnet_type"], linear=config["lpips"])
    recipe = state(case)
    if "weights_file_sums" in case.data:
        recipe |= published_weights(f"lpips_models/{config['pnet_type']}.pth")
    network.load_state_dict({_own(key): value for key, value in recipe.items()})
    given = inputs(case)
    x, y = given["x"], given["y"]
    with torch.no_grad():
        layers, whole = network.layers(x, y), network.spatial(x, y)
        pair = network(x, y)
    if config["spatial"]:
        up = [torch.nn.functional.interpolate(m, size=x.shape[-2:], mode="bilinear") for m in layers]
        found = {f"layer{n}": m.mean(dim=(2, 3)) for n, m in enumerate(up)}
        found |= {"value": whole, "mean": whole.mean()}
    else:
        found = {f"layer{n}": m[0].mean() for n, m in enumerate(layers)}
        found |= {"value": pair[0], "mean": pair[0]}
    return {name: value for name, value in found.items() if name in case.data["outputs"]}


def _own(key: str) -> str:
    """``net.slice2.3.weight`` -> ``backbone.features.3.weight``, ``lin0.model.1.weight`` -> ``heads.0``."""
    if head := re.fullmatch(r"lin(\d)\.model\.1\.weight", key):
        return f"heads.{head[1]}"
    return re.sub(r"^net\.slice\d+\.", "backbone.features.", key)
