"""Super-resolution networks: RRDBNet, SRResNet, MSRResNet, SRVGGNetCompact, ESPCN; activations and shuffles."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from darkroom.archs.blocks import make_act
from darkroom.archs.compact import SRVGGNetCompact
from darkroom.archs.espcn import ESPCN
from darkroom.archs.rrdb import RRDBNet
from darkroom.archs.srresnet import MSRResNet, SRResNet
from darkroom.core.network import Network

from . import Case, Missing, adapter
from .recipes import entries, inputs, state

OURS = {
    "num_in_ch": "in_nc",
    "num_out_ch": "out_nc",
    "num_feat": "nf",
    "num_block": "nb",
    "num_grow_ch": "gc",
    "upscale": "scale",
    "gaussian_noise": "gaussian",
}


def options(config: dict[str, Any]) -> dict[str, Any]:
    """The constructor arguments of a reference under our names."""
    return {OURS.get(key, key): value for key, value in config.items()}


def construct(case: Case):
    """Where to build the network of the case: without memory if only its keys are asked for."""
    return torch.device("meta") if case.data.get("keys_only") else contextlib.nullcontext()


def run(case: Case, network: Network, layout: str | None = None) -> dict[str, Any]:
    """The keys of a ``keys_only`` case, else the output for the vector's weights and ``x``."""
    if case.data.get("keys_only"):
        return {"keys": entries(network.to_public(network.state_dict(), layout))}
    network.load_state_dict(network.from_public(state(case)))
    with torch.no_grad():
        return {"out": network.eval()(inputs(case)["x"])}


def channels(case: Case) -> int | None:
    return None if case.data.get("keys_only") else case.data["inputs"]["x"]["shape"][1]


@adapter("rrdb")
def rrdb(case: Case) -> dict[str, Any]:
    config = options(case.data["config"])
    if case.path.stem.startswith("block_"):
        return activation(case)
    layout = "old"
    if "BasicSR" in case.data["reference"]:
        layout = "realesrgan"
        config["unshuffle"] = {1: 4, 2: 2}.get(config["scale"], 1)
    elif "MRRDBNet" in case.data["reference"]:
        layout = "new"
    else:
        config["gc"] = 32  # the reference ignores the option
        given = channels(case) or config["in_nc"]
        factor = math.isqrt(config["in_nc"] // given)  # a pixel unshuffle before the network
        config |= {"in_nc": given, "unshuffle": factor, "scale": config["scale"] // factor}
    with construct(case):
        network = RRDBNet(**{"gaussian": False, **config})
    found = run(case, network, layout)
    if "out" not in case.arrays and "keys" not in found:
        found = {}
        for outm in set(case.arrays) & {"tanh", "scaltanh", "sigmoid", "clamp"}:
            network.outm = outm
            with torch.no_grad():
                found[outm] = network(inputs(case)["x"])
    return found


def activation(case: Case) -> dict[str, Any]:
    config = case.data["config"]
    if set(config) - {"act_type", "beta"}:
        raise Missing(case.path.stem)
    act = make_act(config["act_type"], inplace=False)
    if "beta" in config:
        act.load_state_dict({"beta": torch.tensor(config["beta"])})
    with torch.no_grad():
        y = act(inputs(case)["x"])
    # in place, the reference's swish is c*x^2: a fault
    return {name: y for name in case.arrays if config["act_type"] != "swish" or name == "inplace_false"}


@adapter("srresnet")
def srresnet(case: Case) -> dict[str, Any]:
    with construct(case):
        network = SRResNet(**options(case.data["config"]))
    return run(case, network)


@adapter("msrresnet")
def msrresnet(case: Case) -> dict[str, Any]:
    with construct(case):
        network = MSRResNet(**options(case.data["config"]))
    return run(case, network, "basicsr" if "BasicSR" in case.data["reference"] else "new")


@adapter("srvgg")
def srvgg(case: Case) -> dict[str, Any]:
    with construct(case):
        network = SRVGGNetCompact(**options(case.data["config"]))
    return run(case, network)


@adapter("espcn")
def espcn(case: Case) -> dict[str, Any]:
    config = options(case.data["config"])
    with construct(case):
        network = ESPCN(nf=config.pop("channels"), **config)
    return run(case, network)


@adapter("util_shuffle")
def shuffle(case: Case) -> dict[str, Tensor]:
    given, factor = inputs(case), case.data["config"]["block_size"]
    # the order of channels that our networks' pixel shuffles have; the TensorFlow order is used nowhere
    return {
        "depth_to_space": F.pixel_shuffle(given["x"], factor),
        "space_to_depth": F.pixel_unshuffle(given["img"], factor),
    }
