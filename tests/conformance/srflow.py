"""SRFlow: family ``srflow``."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from darkroom.archs.srflow import SRFlow, feature_maps

from . import Case, adapter
from .networks import construct
from .recipes import entries, inputs, state


def options(config: dict[str, Any]) -> dict[str, Any]:
    """The constructor arguments of a reference under our names."""
    network, flow = config["network_G"], config["network_G"]["flow"]
    coupling = flow.get("CondAffineSeparatedAndCond", {})  # flow.hidden_channels has no effect in the reference
    return {
        "scale": config["scale"],
        **{key: network[key] for key in ("in_nc", "out_nc", "nf", "nb", "gc")},
        "K": flow["K"],
        "L": flow["L"],
        "hidden_channels": coupling.get("hidden_channels", 64),
        "blocks": flow["stackRRDB"]["blocks"],
        "additional": flow.get("additionalFlowNoAffine", 0),
        "split": flow.get("split", {}).get("enable", False),
        "correct_splits": flow.get("split", {}).get("correct_splits", False),
        "quant": config.get("datasets", {}).get("train", {}).get("quant", 255),
    }


@adapter("srflow")
def srflow(case: Case) -> dict[str, Any]:
    with construct(case):
        network = SRFlow(**options(case.data["config"]))
    if case.data.get("keys_only"):
        return {"keys": entries(network.to_public(network.state_dict()))}
    network.load_state_dict(network.from_public(state(case)))
    with torch.no_grad():
        found = outputs(network.eval(), inputs(case), set(case.arrays), dequantised(case))
    return {name: value for name, value in found.items() if name in case.arrays}


def dequantised(case: Case) -> bool:
    """Whether ``add_gt_noise`` was on, which a case says in words only."""
    words = f"{case.path.stem} {re.sub('without noise', '', case.data.get('notes') or '')}"
    return "add_gt_noise False" not in words and re.search("noise|quant", words) is not None


def outputs(network: SRFlow, given: dict[str, Tensor], wanted: set[str], noisy: bool) -> dict[str, Tensor]:
    low = given["lr"]
    if "gt" in given:
        z, logdet = network.encode(given["gt"], low, noisy, torch.zeros(()))
        found = {f"eps{i}": eps for i, eps in enumerate(z[:-1])}
        found |= {"z": z[-1], "nll": network.bits(z, logdet), "logdet": logdet, "logdet_forward": logdet}
        if "sr" in wanted:
            sr = network.decode(low, z)
            found |= {"sr": sr, "logdet_reverse": reverse_logdet(network, sr, low, noisy)}
        return found
    if "sr" not in wanted:
        return maps(network, low)
    zeros = network.origin(low)
    left = [given[name] for name in sorted(given) if name.startswith("eps")] or zeros[:-1]
    sr = network.decode(low, [*left, given.get("z", zeros[-1])])
    return {"sr": sr, "logdet": reverse_logdet(network, sr, low, noisy)}


def reverse_logdet(network: SRFlow, sr: Tensor, low: Tensor, noisy: bool) -> Tensor:
    """By the inverse function theorem."""
    return -network.encode(sr, low, noisy, torch.zeros(()))[1]


def maps(network: SRFlow, low: Tensor) -> dict[str, Tensor]:
    largest = network.scale.bit_length() - 1
    found = feature_maps(network.RRDB, low, network.blocks, largest)
    named = {f"fea_up{2**n if n >= 0 else 0}": x for n, x in found.items()}
    tail = network.RRDB.tail
    own = found[largest][:, : tail.hr.conv.in_channels]
    means = {f"{name}_mean": x.mean((2, 3)) for name, x in named.items()}
    return {**named, **means, "out": tail.last(tail.hr(own))}
