"""The documented optimizers and schedules as native sections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...core.registry import did_you_mean
from ..source import Section
from .rules import Combined, Job, Rule, Table, later

OPTIONS: Mapping[str, tuple[str, Any]] = {
    "lr": ("lr", float),
    "weight_decay": ("weight_decay", float),
    "eps": ("eps", float),
    "momentum": ("momentum", float),
    "nesterov": ("nesterov", bool),
    "dampening": ("dampening", float),
    "delta": ("delta", float),
    "wd_ratio": ("wd_ratio", float),
    "alpha": ("alpha", float),
    "k": ("k", int),
    "N_sma_threshhold": ("n_sma_threshold", int),
    "use_gc": ("use_gc", bool),
    "gc_conv_only": ("gc_conv_only", bool),
}
"""Documented keys, less ``_G`` or ``_D``: the argument of the optimizer and what the value must be."""

_COMMON = ("lr", "weight_decay")
_BETAS = (*_COMMON, "beta1", "beta2", "eps")
_MOMENTUM = (*_COMMON, "beta1", "momentum")
_PROJECTED = ("delta", "wd_ratio", "nesterov")
TAKES: Mapping[str, tuple[str, ...]] = {
    "adam": _BETAS,
    "adamw": _BETAS,
    "schedulefree_adamw": _BETAS,
    "schedulefree_sgd": _MOMENTUM,
    "adamp": (*_BETAS, *_PROJECTED),
    "ranger": (*_BETAS, "alpha", "k", "N_sma_threshhold", "use_gc", "gc_conv_only"),
    "sgd": (*_MOMENTUM, "nesterov", "dampening"),
    "sgdp": (*_MOMENTUM, "eps", "dampening", *_PROJECTED),
    "rmsprop": (*_MOMENTUM, "eps", "alpha"),
    "madgrad": (*_MOMENTUM, "eps", "decay_type"),
}
"""The documented keys of each optimizer; ``beta1`` is the momentum where there is no ``beta2``."""
KINDS = {"optim": str, "beta1": float, "beta2": float, "decay_type": str}
ALL = (*KINDS, *OPTIONS)


@dataclass(frozen=True, slots=True)
class Scheme:
    """A documented ``lr_scheme``."""

    type: str
    keys: Mapping[str, str]
    """Its keys and the arguments of the native schedule."""


_RESTARTS = {"restarts": "restarts", "restart_weights": "restart_weights"}
_DECAY = {"fixed_niter": "fixed_niter", "niter_decay": "niter_decay"}
_PLATEAU = {f"plateau_{n}": n for n in ("mode", "factor", "threshold", "patience", "metric")}
SCHEMES: Mapping[str, Scheme] = {
    "MultiStepLR": Scheme("multistep", {"lr_steps": "milestones", "lr_gamma": "gamma"}),
    "MultiStepLR_Restart": Scheme(
        "multistep_restart",
        {"lr_steps": "milestones", "lr_gamma": "gamma", "lr_steps_inverse": "rises", **_RESTARTS},
    ),
    "StepLR": Scheme("step", {"lr_step_size": "step_size", "lr_gamma": "gamma"}),
    "StepLR_Restart": Scheme("step_restart", {"lr_step_sizes": "step_sizes", "lr_gamma": "gamma", **_RESTARTS}),
    "Linear": Scheme("linear", _DECAY),
    "FlatCosineDecay": Scheme("flat_cosine", _DECAY),
    "CosineAnnealingLR": Scheme("cosine", {"T_max": "T_max", "eta_min": "eta_min"}),
    "CosineAnnealingLR_Restart": Scheme("cosine_restart", {"T_period": "T_period", "eta_min": "eta_min", **_RESTARTS}),
    "ReduceLROnPlateau": Scheme("plateau", _PLATEAU),
}
RELATIVE = ("lr_steps", "lr_steps_inverse", "restarts", "T_period")
"""Keys that can be shares of the run, with ``_rel`` at the end."""
_SCHEME_KEYS = tuple(dict.fromkeys(key for scheme in SCHEMES.values() for key in scheme.keys))
_REL_KEYS = (*(f"{key}_rel" for key in RELATIVE), "fixed_niter_rel")


def _keys() -> dict[str, Rule]:
    rules: dict[str, Rule] = {}
    for player in ("G", "D"):
        kinds = {key: OPTIONS[key][1] if key in OPTIONS else KINDS[key] for key in ALL}
        rules |= {f"{key}_{player}": Combined(f"optim_{player}", kind) for key, kind in kinds.items()}
        rules[f"gc_loc_{player}"] = later("placing gradient centralization elsewhere", True)
    rules |= {key: Combined("schedule") for key in (*_SCHEME_KEYS, *_REL_KEYS)}
    rules |= {"lr_scheme": Combined("schedule", str), "warmup_iter": Combined("schedule", int)}
    rules["clear_state"] = later("clearing the optimizer's state at a restart")
    rules["gen_lr_steps"] = rules["progressive_starts"] = later("ProgressiveMultiStepLR")
    rules |= {
        "grad_clip": Combined("optim_G.clip_by", str),
        "grad_clip_value": Combined("optim_G.clip", float | str, needs="grad_clip"),
    }
    return rules


KEYS: Table = _keys()
"""The keys of optimizers and schedules in section ``train``."""


def optimizer(job: Job, train: Section, player: str) -> None:
    """Make ``optim_<player>`` of the keys that end in ``_<player>``; adam at 1e-4 if they say nothing."""
    path = f"optim_{player}"
    written = [key for key in (f"{name}_{player}" for name in ALL) if train.get(key) is not None]
    if path in job.native:
        for key in written:
            job.error(train.where(key), f"{key}: there is a section {path} ({job.native.where(path)}); write it there")
        return
    kind = job.read(train, path, str, "adam").lower()
    job.put(f"{path}.type", kind, train.where(path), path)
    if f"lr_{player}" not in written:
        job.put(f"{path}.lr", 1e-4, train.where(path), path)
    takes = TAKES.get(kind, ALL)
    for name in ALL[1:]:
        key = f"{name}_{player}"
        if train.get(key) is not None and name not in takes:
            known = ", ".join(f"{n}_{player}" for n in takes)
            job.error(train.where(key), f"{key}: {kind} has no such option; remove it. It takes: {known}")
    for name, (argument, annotation) in OPTIONS.items():
        key = f"{name}_{player}"
        value = job.read(train, key, annotation) if name in takes else None
        if value is not None:
            job.put(f"{path}.{argument}", value, train.where(key), key)
    _betas(job, train, player, takes)
    _decay_type(job, train, player, takes)


def _betas(job: Job, train: Section, player: str, takes: tuple[str, ...]) -> None:
    first, second = f"beta1_{player}", f"beta2_{player}"
    written = first if first in train else second
    if "beta2" in takes and (first in train or second in train):
        betas = [job.read(train, first, float, 0.9), job.read(train, second, float, 0.999)]
        job.put(f"optim_{player}.betas", betas, train.where(written), written)
    elif "beta2" not in takes and first in train and f"momentum_{player}" not in train:
        momentum = job.read(train, first, float, 0.9)
        job.put(f"optim_{player}.momentum", momentum, train.where(first), first)


def _decay_type(job: Job, train: Section, player: str, takes: tuple[str, ...]) -> None:
    key = f"decay_type_{player}"
    value = job.read(train, key, str) if "decay_type" in takes else None
    if value is None:
        return
    if value.lower() not in ("adamw", "l2"):
        job.error(train.where(key), f"{key}: expected AdamW or L2, found {value!r}")
    job.put(f"optim_{player}.decoupled", value.lower() == "adamw", train.where(key), key)


def clipping(job: Job, train: Section) -> None:
    """``grad_clip`` is how, ``grad_clip_value`` is how much; only the generator is clipped."""
    if not job.switch(train, "grad_clip"):
        return
    how = job.read(train, "grad_clip", str, "norm").lower()
    if how not in ("norm", "value"):
        job.error(train.where("grad_clip"), f"grad_clip: expected norm or value, found {how!r}")
    much = job.read(train, "grad_clip_value", float | str, 0.1)
    key = "grad_clip_value" if "grad_clip_value" in train else "grad_clip"
    if isinstance(much, str):
        much = much.lower()
    if much == "auto" and how == "value":
        job.error(train.where(key), f"{key}: auto is for grad_clip: norm; write a number, or norm")
    job.put("optim_G.clip", much, train.where(key), key)
    job.put("optim_G.clip_by", how, train.where("grad_clip"), "grad_clip")


def schedule(job: Job, train: Section) -> None:
    """Make ``schedule``: the same for every optimizer."""
    warmup = job.read(train, "warmup_iter", int, 0)
    if warmup > 0:
        job.put("schedule.warmup", warmup, train.where("warmup_iter"), "warmup_iter")
    written = [key for key in (*_SCHEME_KEYS, *_REL_KEYS) if train.get(key) is not None]
    name = job.read(train, "lr_scheme", str)
    if name is None:
        for key in written:
            job.error(train.where(key), f"{key}: is part of a schedule, but lr_scheme is missing")
        return
    known = {n.lower(): n for n in SCHEMES}
    if name.lower() not in known:
        text = "ProgressiveMultiStepLR is not in this version yet" if name.lower() == "progressivemultisteplr" else ""
        text = text or f"expected one of {', '.join(SCHEMES)}, found {name!r}.{did_you_mean(name, SCHEMES)}"
        job.error(train.where("lr_scheme"), f"lr_scheme: {text}")
        return
    name = known[name.lower()]
    scheme = SCHEMES[name]
    job.put("schedule.type", scheme.type, train.where("lr_scheme"), "lr_scheme")
    for key in written:
        if key.removesuffix("_rel") not in scheme.keys:
            job.error(
                train.where(key), f"{key}: {name} has no such option; remove it. It takes: {', '.join(scheme.keys)}"
            )
    _scheme(job, train, scheme)


def _scheme(job: Job, train: Section, scheme: Scheme) -> None:
    niter = job.read(train, "niter", int)
    for key, argument in scheme.keys.items():
        if train.get(key) is not None:
            job.put(f"schedule.{argument}", train[key], train.where(key), key)
        shares = job.read(train, f"{key}_rel", list[float]) if key in RELATIVE else None
        if shares is not None and niter:
            place = train.where(f"{key}_rel")
            job.put(f"schedule.{argument}", [int(x * niter) for x in shares], place, f"{key}_rel")
    share = job.read(train, "fixed_niter_rel", float) if "fixed_niter" in scheme.keys else None
    if share is not None and niter:
        fixed, place = int(share * niter), train.where("fixed_niter_rel")
        job.put("schedule.fixed_niter", fixed, place, "fixed_niter_rel")
        job.put("schedule.niter_decay", niter - fixed, place, "fixed_niter_rel")
    if "T_max" in scheme.keys and train.get("T_max") is None and niter:
        job.put("schedule.T_max", niter, train.where("lr_scheme"), "lr_scheme")
    metric = "metric" in scheme.keys.values() and job.read(train, "plateau_metric", str)
    if metric and metric not in _names(train.get("metrics")) and "validate" not in job.file:
        job.error(train.where("plateau_metric"), f"plateau_metric: {metric!r} is not among metrics; write it there too")


def _names(metrics: Any) -> list[str]:
    names = metrics.split(",") if isinstance(metrics, str) else metrics or []
    return [str(name).strip().lower() for name in names]
