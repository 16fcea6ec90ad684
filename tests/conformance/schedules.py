"""Learning-rate schedules: family ``sched`` (sr) and ``lr_linear`` (i2i).

A vector holds the rate after k steps of the original's scheduler, which is that of iteration k, counted from 0. Where
the original restarts one step late, or rises again after its end, only the rest is compared, the lateness allowed for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np

from darkroom.optim.schedules import SCHEDULES, FlatCosine, Linear

from . import Case, Missing, adapter
from .recipes import Part

Option = Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """Our schedule, and for each step of the vector the step of ours that it equals (None: a fault of the original)."""

    name: str
    arguments: Mapping[str, Any]
    ours: Callable[[int], int | None] = field(default=lambda step: step)


@adapter("sched")
def sched(case: Case) -> dict[str, Any]:
    scheme = case.data["option"].get("lr_scheme") or case.data["reference"].split()[-1]
    if scheme not in _PLANS:
        raise Missing(scheme)
    rate = case.data["config"]["lr"]
    plan = _PLANS[scheme]({**case.data["option"], "lr": rate})
    schedule = SCHEDULES[plan.name](**plan.arguments)
    ours = {step: plan.ours(step) for step in range(len(case.arrays["lr"]))}
    compared = [step for step, own in ours.items() if own is not None]
    return {"lr": Part(np.array([schedule(ours[step], rate) for step in compared]), compared)}


def _iterations(option: Option, key: str) -> tuple[int, ...]:
    """``key``, or ``key_rel`` in shares of ``niter``."""
    if option.get(f"{key}_rel") is not None:
        return tuple(int(share * option["niter"]) for share in option[f"{key}_rel"])
    return tuple(option.get(key) or ())


def _decay(option: Option) -> dict[str, int]:
    if "fixed_niter_rel" in option:
        fixed = int(option["niter"] * option["fixed_niter_rel"])
        return {"fixed_niter": fixed, "niter_decay": option["niter"] - fixed}
    return {key: option[key] for key in ("fixed_niter", "niter_decay")}


def _gamma(option: Option) -> dict[str, float]:
    found = option.get("lr_gamma", option.get("gamma"))
    return {} if found is None else {"gamma": found}


def _restarts(option: Option) -> dict[str, Any]:
    restarts = _iterations(option, "restarts")
    return {"restarts": restarts, "restart_weights": tuple(option.get("restart_weights") or ()) if restarts else ()}


def _until(end: int) -> Callable[[int], int | None]:
    return lambda step: step if step <= end else None


def _multistep_restart(option: Option) -> Plan:
    """One step late: only the step of the restart itself differs."""
    arguments = {"milestones": _iterations(option, "lr_steps"), "rises": _iterations(option, "lr_steps_inverse")}
    arguments |= {**_restarts(option), **_gamma(option)}
    lost = {r + 1 for r in arguments["restarts"]} & {*arguments["milestones"], *arguments["rises"]}
    assert not lost, "a milestone at a restart of the original, one of ours thereafter: say what is to be compared"
    return Plan("multistep_restart", arguments, lambda step: None if step in arguments["restarts"] else step)


def _cosine_restart(option: Option) -> Plan:
    """One step late: from a restart on it has our value of the step before. After its end it rises."""
    arguments = {"T_period": tuple(option["T_period"]), "eta_min": option.get("eta_min") or 0.0, **_restarts(option)}

    def ours(step: int) -> int | None:
        passed = [r for r in arguments["restarts"] if r <= step]
        if passed and step == passed[-1] and len(passed) == 1:
            return None
        own = step - 1 if passed else step
        begun = [r for r in arguments["restarts"] if r <= own]
        within = own - (begun[-1] if begun else 0)
        return own if within <= arguments["T_period"][len(begun)] else None

    return Plan("cosine_restart", arguments, ours)


def _basicsr_multistep(option: Option) -> Plan:
    arguments = {"milestones": tuple(option["milestones"]), **_gamma(option)}
    restarts = [(r, w) for r, w in zip(option["restarts"], option["restart_weights"], strict=True) if r > 0]
    if restarts:
        arguments["restarts"], arguments["restart_weights"] = map(tuple, zip(*restarts, strict=True))
    return Plan("multistep_restart", arguments)


def _basicsr_cosine(option: Option) -> Plan:
    """It starts at ``eta_min + w (rate - eta_min)`` where ours starts at ``w rate``; a period's end belongs to it."""
    periods, eta_min, rate = tuple(option["periods"]), option.get("eta_min") or 0.0, option["lr"]
    first, *weights = ((eta_min + w * (rate - eta_min)) / rate for w in option.get("restart_weights") or (1,))
    if abs(first - 1) > 1e-12:
        raise Missing("a weight of the first period")
    restarts = tuple(accumulate(periods))[:-1]
    arguments = {"T_period": periods, "restarts": restarts, "restart_weights": tuple(weights), "eta_min": eta_min}
    return Plan("cosine_restart", arguments, lambda step: None if step in restarts else step)


def _flat_cosine(option: Option) -> Plan:
    arguments = _decay(option)
    return Plan("FlatCosineDecay", arguments, _until(arguments["fixed_niter"] + max(1, arguments["niter_decay"]) - 1))


def _cosine(option: Option) -> Plan:
    end = option["T_max"]
    return Plan("CosineAnnealingLR", {"T_max": end, "eta_min": option.get("eta_min") or 0.0}, _until(end))


def _step_restart(option: Option) -> Plan:
    arguments = {"step_sizes": _iterations(option, "lr_step_sizes"), **_restarts(option), **_gamma(option)}
    return Plan("StepLR_Restart", arguments)


_PLANS: dict[str, Callable[[Option], Plan]] = {
    "MultiStepLR": lambda o: Plan("MultiStepLR", {"milestones": _iterations(o, "lr_steps"), **_gamma(o)}),
    "MultiStepLR_Restart": _multistep_restart,
    "StepLR": lambda o: Plan("StepLR", {"step_size": o["lr_step_size"], **_gamma(o)}),
    "StepLR_Restart": _step_restart,
    "CosineAnnealingLR": _cosine,
    "CosineAnnealingLR_Restart": _cosine_restart,
    "FlatCosineDecay": _flat_cosine,
    "Linear": lambda o: Plan("Linear", _decay(o)),
    "MultiStepRestartLR": _basicsr_multistep,
    "CosineAnnealingRestartLR": _basicsr_cosine,
}
"""By traiNNer's option, and by the name of BasicSR's class."""


@adapter("lr_linear")
def linear(case: Case) -> dict[str, Any]:
    """junyanz counts epochs, divides by one more, and goes below 0: compared down to 0."""
    found = {}
    for n, entry in enumerate(case.data["trainner"]):
        arguments, rate = _decay(entry["options"]), entry["options"]["lr"]
        end = arguments["fixed_niter"] + max(1, arguments["niter_decay"])
        for step in map(int, entry["lr_after_n_scheduler_steps"]):
            found[f"trainner/{n}/lr_after_n_scheduler_steps/{step}"] = Linear(**arguments)(step, rate)
        for step in map(int, entry.get("cosine_lr_after_n_scheduler_steps", ())):
            if step < end:
                found[f"trainner/{n}/cosine_lr_after_n_scheduler_steps/{step}"] = FlatCosine(**arguments)(step, rate)
    for n, entry in enumerate(case.data.get("junyanz", ())):
        schedule = Linear(entry["n_epochs"] - entry["epoch_count"] + 1, entry["n_epochs_decay"] + 1)
        for step, factor in entry["factor_after_k_scheduler_steps"].items():
            if factor >= 0:
                found[f"junyanz/{n}/factor_after_k_scheduler_steps/{step}"] = schedule(int(step), 1.0)
    return found
