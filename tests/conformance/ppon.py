"""PPON, and the networks of its training stages, which are parts of it."""

from __future__ import annotations

from typing import Any

import torch

from darkroom.archs.ppon import PPON

from . import Case, adapter
from .networks import construct, options
from .recipes import entries, inputs, state

IMAGES = {"content": 1, "structure": 2, "perceptual": 3}
"""How many images a stage network computes to give its last one."""


@adapter("ppon")
def ppon(case: Case) -> dict[str, Any]:
    with construct(case):
        network = PPON(**options(case.data["config"]))
    stage = case.data["reference"].rpartition("PPON_")[2]
    parts = {f"{letter}{what}" for letter in "CSP"[: IMAGES.get(stage, 3)] for what in ("FEM", "RM")}
    ours = {key: t for key, t in network.state_dict().items() if key.partition(".")[0] in parts}
    if case.data.get("keys_only"):
        return {"keys": entries(ours)}
    theirs = network.from_public(state(case))
    assert theirs.keys() == ours.keys()
    network.load_state_dict(theirs, strict=False)
    with torch.no_grad():
        images = network.eval().images(inputs(case)["x"], IMAGES.get(stage, 3))
    return {"out": images[-1]} if stage in IMAGES else dict(zip(("out_c", "out_s", "out_p"), images, strict=True))
