"""Weights and inputs of the reference vectors as torch tensors, for the adapters beside this file.

An adapter reads ``state(case)``, ``inputs(case)`` and ``case.data["config"]``, and returns what it computed. It may
return ``Part(value, where)`` to be compared with ``reference[where]`` only, where the vector records a fault elsewhere.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from . import IMAGES, Case


class Absent(Exception):
    """What a case needs cannot be had: a file of another machine, or a right answer."""


@dataclass(frozen=True)
class Part:
    """``value`` is what ``reference[where]`` should be."""

    value: Any
    where: Any


def state(
    case: Case, prefix: str = "", entries: Sequence[Sequence[Any]] | None = None, g: float | None = None
) -> dict[str, Tensor]:
    """The weights that the recipe gives, without those that it says to keep from the constructor.

    ``prefix`` selects a network of a training step (``"G_A."``) and is taken off the keys. ``entries``
    ([key, shape, dtype] without prefix, see ``entries_of``) are for vectors that do not list them.
    """
    data = case.data
    if entries is not None:
        listed = [[prefix + key, shape, dtype] for key, shape, dtype in entries]
    elif prefix:
        network = next(n for n in data["networks"].values() if n["prefix"] == prefix)
        listed, g = network["state_dict"], network.get("g")
    else:
        listed = data["state_dict"]
    recipe = case.recipe
    if "make_weights" in vars(recipe):
        filled = recipe.make_weights({**data, "state_dict": listed})
    else:
        norm = (data.get("weights_ext") or {}).get("spectral_norm", {})
        filled = recipe.fill(
            listed,
            g=g or data.get("g") or 0.7,
            aliases=data.get("aliases") or _shared_first_conv(prefix, listed),
            sn_iters=norm.get("power_iterations", 2),
            sn_transposed=norm.get("transposed", ()),
        )
    return {key.removeprefix(prefix): torch.from_numpy(np.array(value)) for key, value in filled.items()}


def entries_of(network: nn.Module) -> list[list[Any]]:
    """``[[key, shape, dtype], ...]`` of a network, as the vectors list them."""
    return entries(network.state_dict())


def entries(state: dict[str, Tensor]) -> list[list[Any]]:
    return [[key, list(t.shape), str(t.dtype).removeprefix("torch.")] for key, t in state.items()]


def fill(case: Case, listed: Sequence[Sequence[Any]], g: float) -> dict[str, Tensor]:
    """Weights by the recipe of the case's folder under the very keys of ``listed``, with gain ``g``."""
    recipe = case.recipe
    if "make_weights" in vars(recipe):
        filled = recipe.make_weights({"state_dict": listed, "weights_g": g})
    else:
        filled = recipe.fill(listed, g=g)
    return {key: torch.from_numpy(np.array(value)) for key, value in filled.items()}


def inputs(case: Case) -> dict[str, Tensor]:
    """The inputs of the case; pictures stay as they are stored (HWC, and BGR where the vector says so).

    An input that the vector describes in words only is left out.

    Raises:
        Absent: an image file is not on this machine.
    """
    given: dict[str, Tensor] = {}
    for name, spec in (case.data.get("inputs") or {}).items():
        if not isinstance(spec, dict) or not {"npz", "file", "shape"} & set(spec):
            continue
        if "npz" in spec:
            array = case.arrays[spec["npz"]]
        elif "file" in spec:
            array = _picture(spec)
        else:
            array = case.recipe.make_input(spec)
            if "make_weights" not in vars(case.recipe):
                array = _POST[spec.get("post")](array)
        given[name] = torch.from_numpy(np.ascontiguousarray(array))
    return given


_POST = {None: lambda x: x, "x*2-1": lambda x: x * np.float32(2) - np.float32(1), "relu": lambda x: np.maximum(x, 0)}


def _shared_first_conv(prefix: str, listed: Sequence[Sequence[Any]]) -> dict[str, str]:
    """EdgeConnect's discriminators hold their first convolution twice; a step's vector says so in words."""
    known = {key for key, _, _ in listed}
    shared = {key: key.replace("features.0.", "conv1.0.") for key in known if key.startswith(f"{prefix}features.0.")}
    return shared if set(shared.values()) <= known else {}


def _picture(spec: dict[str, Any]) -> np.ndarray:
    import cv2

    file = IMAGES.joinpath(*spec["file"].split("/")[-2:])
    if not file.exists():
        raise Absent(f"image {file} absent")
    if "sha256" in spec:
        assert hashlib.sha256(file.read_bytes()).hexdigest() == spec["sha256"], f"{file} is another image"
    image = cv2.imread(str(file))
    if "crop" in spec:
        top, bottom, left, right = map(int, re.findall(r"\d+", spec["crop"]))
        image = image[top:bottom, left:right]
    return np.float32(image) / np.float32(255) if "float32" in spec.get("layout", "") else image
