"""The light networks: PAN, A2N, ABPN, A-SRResNet."""

from __future__ import annotations

from typing import Any

from darkroom.archs.a2n import A2N
from darkroom.archs.abpn import ABPN
from darkroom.archs.asrresnet import ASRResNet
from darkroom.archs.pan import PAN

from . import Case, adapter
from .networks import construct, run

OURS = {"input_dim": "in_nc", "scale_factor": "scale"}
NETWORKS = {"pan": PAN, "a2n": A2N, "abpn": ABPN, "asrresnet": ASRResNet}


@adapter(*NETWORKS)
def light(case: Case) -> dict[str, Any]:
    config = {OURS.get(name, name): value for name, value in case.data["config"].items()}
    with construct(case):
        network = NETWORKS[case.data["family"]](**config)
    return run(case, network)
