"""Networks of image-to-image translation: ResNet and U-Net generators, white-box cartoonization."""

from __future__ import annotations

from typing import Any

import torch

from darkroom.archs.resnet import ResNetGenerator
from darkroom.archs.unet import UNetGenerator
from darkroom.archs.wbc import WBCUNet
from darkroom.archs.wbc_discriminator import WBCDiscriminator
from darkroom.core.network import Network

from . import Case, Missing, adapter
from .networks import construct
from .recipes import Absent, entries, inputs, state

OURS = {"input_nc": "in_nc", "output_nc": "out_nc", "ngf": "nf"}


def options(case: Case) -> dict[str, Any]:
    return {OURS.get(key, key): value for key, value in case.data["config"].items()}


def run(case: Case, network: Network) -> dict[str, Any]:
    """Keys, or the output in the case's mode."""
    if case.data.get("keys_only"):
        return {"keys": entries(network.to_public(network.state_dict()))}
    network.load_state_dict(network.from_public(state(case)))
    with torch.no_grad():
        return {"out": network.train(case.data.get("mode") == "train")(inputs(case)["x"])}


@adapter("cyclegan_resnet", "resnet", "keys_resnet")
def resnet(case: Case) -> dict[str, Any]:
    with construct(case):
        network = ResNetGenerator(**options(case))
    return run(case, network)


@adapter("pix2pix_unet", "unet", "keys_unet")
def unet(case: Case) -> dict[str, Any]:
    with construct(case):
        network = UNetGenerator(**options(case))
    return run(case, network)


@adapter("wbc_unet", "keys_wbcunet")
def wbc_unet(case: Case) -> dict[str, Any]:
    config = case.data["config"]
    if config.get("slope", 0.2) != 0.2:
        raise Missing(f"a slope of {config['slope']}")
    tensorflow = config["mode"] == "tf"
    with construct(case):
        network = WBCUNet(nf=config["nf"], mode=config["mode"], corners=2 if tensorflow else 4)
    found = run(case, network)
    if "out_tensorflow" in case.arrays:  # the reference proper; "out" is traiNNer's, which forgets two corners
        network.corners = 4
        found |= {"out_tensorflow": run(case, network)["out"]}
    return found


@adapter("wbc_tf_disc")
def wbc_discriminator(case: Case) -> dict[str, Any]:
    """``u`` of the vector has shape (1, out), kernels are (height, width, in, out)."""
    config = case.data["config"]
    if not config.get("patch", True):
        raise Missing("one logit for an image")
    network = WBCDiscriminator(config["in_channels"], config["channel"])
    own, theirs = network.state_dict(), state(case)
    scope = next(iter(theirs)).split("/")[0]
    places = {f"conv{i}_{n}": f"{name}.{i}" for i in range(3) for n, name in ((1, "smaller"), (2, "same"))}
    places["conv_out"] = "last"
    for layer, path in places.items():
        own[f"{path}.weight_orig"] = theirs[f"{scope}/{layer}/kernel"].permute(3, 2, 0, 1)
        own[f"{path}.bias"] = theirs[f"{scope}/{layer}/bias"]
        own[f"{path}.weight_u"] = theirs[f"{scope}/{layer}/u"][0]
    network.load_state_dict(own)
    x = inputs(case)["x"]
    with torch.no_grad():
        found = {name: network.train()(x) for name in sorted(case.arrays) if name.startswith("call")}
    for layer, path in places.items():
        name = f"u_{layer}_after_call{len(found)}"
        if name in case.arrays:
            found[name] = network.get_submodule(path).weight_u[None]
    return found


@adapter("i2i_templates_values")
def templates(case: Case) -> dict[str, Any]:
    """Options, not arrays."""
    raise Absent(f"{', '.join(case.data['templates'])}: options, which test_dialect_translation_runs.py translates")
