"""EdgeConnect: its networks, losses and what it logs."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn

from darkroom.archs.blocks import SpectralConv2d
from darkroom.archs.edgeconnect import EdgeGenerator, InpaintGenerator, SpectralConvTranspose2d
from darkroom.archs.edgeconnect_discriminator import EdgeConnectDiscriminator
from darkroom.core.network import Network
from darkroom.filters.edges import edge_accuracy, logged_mae, logged_psnr
from darkroom.losses.edgeconnect import Fooled, Judged

from . import Case, adapter
from .networks import construct
from .recipes import entries, inputs, state

OURS = {"in_channels": "in_nc", "use_spectral_norm": "spectral_norm"}


def options(case: Case) -> dict[str, Any]:
    without = ("use_sigmoid", "init_weights")
    return {OURS.get(key, key): value for key, value in case.data["config"].items() if key not in without}


def loaded(case: Case, network: Network) -> Network:
    """With the weights of the vector, in its mode."""
    network.load_state_dict(network.from_public(_weights(case)))
    return network.train(case.data.get("mode") == "train")


def _weights(case: Case) -> dict[str, torch.Tensor]:
    """In files of torch 0.4, ``weight`` is W / u^T W v, of the recipe's u and v; the latter is not in them."""
    filled, norm = state(case), case.data.get("weights_ext", {}).get("spectral_norm", {})
    for path in [key.removesuffix("_orig") for key in filled if key.removesuffix("_orig") in filled.keys() - {key}]:
        weight, transposed = filled[f"{path}_orig"], path.removesuffix("weight") in norm["transposed"]
        named = case.data.get("aliases", {}).get(f"{path}_u", f"{path}_u")
        u, v = case.recipe.spectral_uv(named, weight.numpy(), norm["power_iterations"], transposed)
        matrix = weight.transpose(0, int(transposed)).flatten(1)
        filled[path] = weight / (torch.from_numpy(u) @ matrix @ torch.from_numpy(v))
    return filled


@adapter("edge_generator", "keys_edge_generator")
def edge_generator(case: Case) -> dict[str, Any]:
    return _generator(case, EdgeGenerator)


@adapter("inpaint_generator", "keys_inpaint_generator")
def inpaint_generator(case: Case) -> dict[str, Any]:
    return _generator(case, InpaintGenerator)


def _generator(case: Case, cls: type[Network]) -> dict[str, Any]:
    with construct(case):
        network = cls(**options(case))
    if case.data.get("keys_only"):
        return {"keys": entries(network.to_public(network.state_dict()))}
    with torch.no_grad():
        return {"out": loaded(case, network)(inputs(case)["x"])}


@adapter("edge_discriminator", "inpaint_discriminator", "keys_edge_discriminator", "keys_inpaint_discriminator")
def discriminator(case: Case) -> dict[str, Any]:
    """``feat5`` and ``conv5`` are logits, ``out`` are probabilities where the vector has a sigmoid."""
    with construct(case):
        network = EdgeConnectDiscriminator(**options(case))
    if case.data.get("keys_only"):
        return {"keys": entries(network.to_public(network.state_dict()))}
    x = inputs(case)["x"]
    with torch.no_grad():
        (maps,) = loaded(case, network)(x)
        found = {f"feat{n}": each for n, each in enumerate(maps, 1)} | {"conv5": maps[-1]}
        found["out"] = maps[-1].sigmoid() if case.data["config"].get("use_sigmoid", True) else maps[-1]
        if "conv5_train_mode" in case.arrays:
            found["conv5_train_mode"] = network.train()(x)[0][-1]
    return {name: value for name, value in found.items() if name in case.arrays}


@adapter("spectral_norm_transposed")
def spectral_norm(case: Case) -> dict[str, Any]:
    """The vector describes its layers in words, the same in all: in, out, kernel, and whether there is a bias."""
    layers = nn.Sequential(*(_layer(text) for _, text in sorted(case.data["config"].items())))
    layers.load_state_dict(state(case))
    x = inputs(case)["x"]
    with torch.no_grad():
        found = {"eval": layers.eval()(x)}
        layers.train()
        for name in sorted(n for n in case.arrays if n.startswith("train_call")):
            found[name] = layers(x)
    for name in case.arrays:
        if after := re.fullmatch(r"([uv])(\d)_after", name):
            found[name] = layers.get_buffer(f"{after[2]}.weight_{after[1]}")
    return found


def _layer(text: str) -> nn.Module:
    made, numbers = re.fullmatch(r"(\w+)\((.+)\)", text).groups()
    sizes = list(map(int, re.findall(r"(?<![\w ])\d+", numbers)))
    named = {name: int(value) for name, value in re.findall(r"(stride|padding) (\d+)", numbers)}
    kind = SpectralConvTranspose2d if made == "ConvTranspose2d" else SpectralConv2d
    return kind(*sizes, **{"padding": 0, **named}, bias="no bias" not in numbers)


@adapter("edgeconnect_adversarial_loss")
def adversarial(case: Case) -> dict[str, Any]:
    """Not compared: the generator's side for real images, which only the original's hinge has sense for."""
    logits = inputs(case)["logits"]
    found: dict[str, Any] = {}
    for mode in case.data["values"]:
        figures = Judged(mode)([[logits]], [[logits]]).figures
        found |= {f"{mode}/disc_real": figures["l_d_real"], f"{mode}/disc_fake": figures["l_d_fake"]}
        found[f"{mode}/gen_real"] = Fooled(mode)([[logits]])
    return found


@adapter("edgeconnect_metrics")
def metrics(case: Case) -> dict[str, Any]:
    given, threshold = inputs(case), case.data["config"]["EDGE_THRESHOLD"]
    truth, made, mask, image = (given[name] for name in ("truth", "pred", "mask", "image"))
    nothing = torch.zeros_like(truth)
    pairs = {
        "masked": (truth * mask, made * mask),
        "perfect": (truth, truth),
        "empty_both": (nothing, nothing),
        "empty_truth": (nothing, made),
    }
    full = (image + 0.1 * given["noise"]).clamp(0, 1)
    merged = full * mask + image * (1 - mask)
    found = {name: torch.stack(edge_accuracy(*pair, threshold)) for name, pair in pairs.items()}
    return found | {
        "psnr_merged": logged_psnr(image, merged),
        "psnr_full": logged_psnr(image, full),
        "psnr_identical": logged_psnr(image, image),
        "mae_merged": logged_mae(image, merged),
    }
