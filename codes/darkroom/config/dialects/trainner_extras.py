"""The documented extras of training as native sections: what changes batches, targets, and what the critic sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...core.registry import did_you_mean
from ..source import Section
from .rules import Combined, Job, Refused, Table, is_off, later, lower

_BATCH = {"blend": 0.6, "rgb": 1.0, "mixup": 1.2, "cutmix": 0.7, "cutmixup": 0.7, "cutout": 0.001, "cutblur": 0.7}
"""Augmentations of batches, with the documented values of ``mixalpha``."""
_BATCH_DEFAULT = ("blend", "rgb", "mixup", "cutmix", "cutmixup", "cutout")
_POLICY_DEFAULT = "color,translation,cutout"
_KERNELS = ("cubic", "linear")

TRAIN: Table = {
    "mixup": Combined("batch_augment", bool),
    "mixopts": Combined("batch_augment: type", list[str], needs="mixup"),
    "mixprob": Combined("batch_augment: prob", list[float], needs="mixup"),
    "mixalpha": Combined("batch_augment: alpha", list[float], needs="mixup"),
    "aux_mixprob": Combined("batch_augment: aux_prob of cutmixup", float, needs="mixup"),
    "aux_mixalpha": Combined("batch_augment: aux_alpha of cutmixup", float, needs="mixup"),
    "mix_p": Combined("batch_augment: share", list[float], needs="mixup"),
    "diffaug": Combined("losses: augment of the adversarial loss", bool, needs="gan_weight"),
    "dapolicy": Combined("losses: augment of the adversarial loss", str, needs="diffaug"),
    "fs": Combined("losses: of and to", bool),
    "lpf_type": Combined("model.lowpass", str, needs="fs"),
    "hpf_type": Combined("model.highpass", str, needs="fs"),
    "freeze_loc": Combined("optim_D.freeze", int, needs="gan_weight"),
    "atg_start_iter": Combined("phases", int, needs="use_atg"),
    "atg_start_iter_rel": Combined("phases", float, needs="use_atg"),
}
"""Keys of section ``train``."""

TOP: Table = {
    "use_atg": Combined("network_Loc, phases", bool),
    "network_Loc": Combined("network_Loc", needs="use_atg"),
    "use_frequency_separation": Combined("losses: of and to", bool),
    "use_cem": Combined("model.consistency; test.consistency in a file for test.py", bool),
    "cem_config": Combined("model.consistency, test.consistency", needs="use_cem"),
}
"""Keys of the top of the file."""

CEM: Table = {
    "cem_kernel": Combined("model.consistency, test.consistency", str),
    "cem_lmb": Combined("nothing: here the inverse is exact", float),
    "cem_alg": Combined("nothing: here the inverse is exact", str),
    "out_orig": later("mixing the consistent with the original image"),
    "out_filter": later("mixing the consistent with the original image"),
    "out_filter_ks": Refused("belongs to out_filter"),
    "out_keepY": later("mixing the consistent with the original image"),
}
"""Section ``cem_config``."""


def separates(job: Job, train: Section) -> bool:
    """Whether frequency separation is on."""
    return bool(job.switch(train, "fs") or job.switch(job.file, "use_frequency_separation"))


def adapts(job: Job) -> bool:
    """Whether AdaTarget is on."""
    return bool(job.switch(job.file, "use_atg"))


def extras(job: Job, train: Section, *, adversarial: bool) -> None:
    """Everything here but what ``losses`` and ``adversarial`` ask for themselves."""
    _mixtures(job, train)
    if separates(job, train):
        for key, option in (("lpf_type", "lowpass"), ("hpf_type", "highpass")):
            kind = job.read(train, key, str)
            if kind is not None:
                job.put(f"model.{option}", lower(kind), train.where(key), key)
    if adapts(job):
        section, place = job.section("network_Loc"), job.file.where("use_atg")
        values = {"type": "locnet", **section}
        job.native.put("network_Loc", Section.make(section.where(), values, {"type": place, **section.places}), place)
    frozen = job.read(train, "freeze_loc", int, 0)
    if frozen and adversarial:
        job.put("optim_D.freeze", frozen, train.where("freeze_loc"), "freeze_loc")


def _mixtures(job: Job, train: Section) -> None:
    """Lists aligned by position: what, how likely, how strong, how often."""
    if not job.switch(train, "mixup"):
        return
    kinds = [kind.lower() for kind in job.read(train, "mixopts", list[str], list(_BATCH_DEFAULT))]
    place = train.where("mixopts" if "mixopts" in train else "mixup")
    for kind in kinds:
        if kind not in (*_BATCH, "none"):
            job.error(
                place, f"mixopts: there is no {kind!r}.{did_you_mean(kind, _BATCH)} There are: {', '.join(_BATCH)}"
            )
    lists = {key: _aligned(job, train, key, len(kinds)) for key in ("mixprob", "mixalpha", "mix_p")}
    entries = []
    for n, kind in enumerate(kinds):
        values: dict[str, Any] = {"type": kind}
        for key, option in (("mixprob", "prob"), ("mixalpha", "alpha"), ("mix_p", "share")):
            if lists[key] and not (kind == "none" and option != "share"):
                values[option] = lists[key][n]
        for key, option in (("aux_mixprob", "aux_prob"), ("aux_mixalpha", "aux_alpha")):
            value = job.read(train, key, float)
            if kind == "cutmixup" and value is not None:
                values[option] = value
        entries.append(Section.make(place, values, dict.fromkeys(values, place)))
    job.put("batch_augment", entries, place, "mixup")


def _aligned(job: Job, train: Section, key: str, length: int) -> Sequence[float]:
    values: list[float] = job.read(train, key, list[float], [])
    if values and len(values) != length:
        job.error(train.where(key), f"{key}: expected {length} numbers, one for each of mixopts, found {len(values)}")
        return []
    return values


def critics_view(job: Job, train: Section) -> list[str]:
    """The policies of differentiable augmentation; none if it is off."""
    if not job.switch(train, "diffaug"):
        return []
    text = job.read(train, "dapolicy", str, _POLICY_DEFAULT)
    return [policy.strip().lower() for policy in text.split(",") if policy.strip()]


def consistency(job: Job, *, training: bool) -> None:
    """``use_cem`` and ``cem_config``: in training the method's option, in a test that of the section ``test``."""
    if not job.switch(job.file, "use_cem"):
        return
    section, place = job.section("cem_config"), job.file.where("use_cem")
    inner = Job(job.file, job.errors, job.notes)
    inner.sweep(section, CEM, "cem_config", {})
    for key in ("cem_lmb", "cem_alg"):
        if not is_off(section.get(key)):
            job.note(section.where(key), f"{key} has no effect: here the inverse is computed exactly")
    kernel = lower(job.read(section, "cem_kernel", str, "cubic"))
    if kernel not in _KERNELS:
        job.error(section.where("cem_kernel"), f"cem_kernel: expected {' or '.join(_KERNELS)}, found {kernel!r}")
    elif training:
        job.put("model.consistency", kernel, place, "use_cem")
    else:
        job.put("test.consistency", kernel, place, "use_cem")


def phases(job: Job, train: Section, *, adversarial: bool) -> None:
    """``D_init_iters``: the critic alone at first; ``atg_start_iter``: from when on the output is fitted."""
    alone = job.read(train, "D_init_iters", int, 0) if adversarial else 0
    fitted = _fitted_from(job, train) if adapts(job) else None
    starts = sorted({0, max(alone, 0), *([] if fitted is None else [fitted])})
    if starts == [0] and fitted is None:
        return
    place = train.where("D_init_iters") if alone > 0 else job.file.where("use_atg")
    entries = []
    for start in starts:
        values: dict[str, Any] = {"name": "main", "start": start}
        if start < alone:
            values |= {"name": "warm-up of D", "players": ["D"]}
        elif fitted is not None and start >= fitted:
            values["name"] = "fitted output"
        if fitted is not None and start >= fitted:
            values["bind"] = Section.make(place, {"fitted": "fitted_output"}, {"fitted": place})
        entries.append(Section.make(place, values, dict.fromkeys(values, place)))
    job.put("phases", entries, place, "D_init_iters" if alone > 0 else "use_atg")


def _fitted_from(job: Job, train: Section) -> int:
    share = job.read(train, "atg_start_iter_rel", float)
    if share is not None:
        return int(share * job.read(train, "niter", int, 0))
    start: int = job.read(train, "atg_start_iter", int, 0)
    return start
