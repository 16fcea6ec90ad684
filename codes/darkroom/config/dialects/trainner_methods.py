"""The documented options of single training methods as options of ``model``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..source import Section
from .rules import Combined, Job, Rule, Table, Takes, is_off


@dataclass(frozen=True, slots=True)
class OnlyFor(Rule):
    """A rule for one training method; with the others the key is wrong."""

    model: str
    rule: Rule

    def apply(self, job: Job, section: Section, key: str) -> None:
        """See ``Rule``."""
        if method(job) == self.model:
            self.rule.apply(job, section, key)
        elif not is_off(section[key]):
            job.error(section.where(key), f"{key}: belongs to model: {self.model}; remove it")

    def says(self) -> str:
        """See ``Rule``."""
        return f"{self.rule.says()} (model: {self.model})"


def _only(model: str, rules: Mapping[str, Rule]) -> dict[str, Rule]:
    return {key: OnlyFor(model, rule) for key, rule in rules.items()}


_OLDER = ("train_phase", "phase1_s", "phase2_s", "phase3_s")
_PPON: dict[str, Rule] = {
    "ppon_stages": Takes("model.ppon_stages", tuple[int, int]),
    **{f"p{n}_losses": Takes(f"model.p{n}_losses", list[str]) for n in (1, 2, 3)},
    "train_phase": Combined("model.ppon_stages", int),
    "phase1_s": Combined("model.ppon_stages", int),
    "phase2_s": Combined("model.ppon_stages", int),
    "phase3_s": Combined("model.ppon_stages, train.iterations", int),
}

TRAIN: Table = _only("ppon", _PPON)
"""Keys of section ``train``."""

TOP_OF_TEST: Table = _only("ppon", {"ppon_phase": Takes("test.image", int | str, lambda phase: _image(phase))})
"""Keys of the top of a file for test.py."""


def method(job: Job) -> str:
    """The native name of the training method."""
    model = job.native.get("model")
    return str(model.get("type") if isinstance(model, Section) else model)


def _image(phase: int | str) -> str:
    names = {"1": "content", "2": "structure", "3": "perceptual"}
    name = names.get(str(phase).lower().removeprefix("p"))
    if name is None:
        raise ValueError(f"expected 1, 2 or 3 (or p1, p2, p3), found {phase!r}")
    return name


def stages(job: Job, train: Section) -> None:
    """PPON: the older keys for ``ppon_stages``, and restarts of the schedule where a stage begins."""
    if method(job) != "ppon":
        return
    if any(train.get(key) is not None for key in _OLDER):
        _older(job, train)
    model = job.native["model"]
    begins = model.get("ppon_stages") if isinstance(model, Section) else None
    schedule = job.native.section("schedule")
    if not begins or schedule.get("type") != "step_restart":
        return
    begins = sorted({int(start) for start in begins if int(start) > 0})
    restarts = schedule.get("restarts")
    if restarts is None:
        sizes = schedule.get("step_sizes") or []
        within = begins[: max(0, len(sizes) - 1)]
        job.put("schedule.restarts", within, train.where("ppon_stages"), "ppon_stages")
    elif not set(begins[: len(restarts)]) <= {int(r) for r in restarts}:
        text = f"the learning rate restarts at {list(restarts)}, but stages begin at {begins}"
        job.note(train.where("restarts"), f"restarts: {text}; a stage best begins with a restart")


def _older(job: Job, train: Section) -> None:
    """``phase1_s`` and ``phase2_s`` say where a phase ends, ``phase3_s`` where the run does; -1 leaves it out."""
    if train.get("ppon_stages") is not None:
        job.error(train.where("ppon_stages"), f"ppon_stages: says what {', '.join(_OLDER)} say too; remove one of them")
        return
    first = job.read(train, "train_phase", int, 1)
    if first not in (1, 2, 3):
        job.error(train.where("train_phase"), f"train_phase: expected 1, 2 or 3, found {first}")
        return
    ends = [job.read(train, f"phase{n}_s", int, -1) if n >= first else -1 for n in (1, 2, 3)]
    structure = max(0, ends[0])
    perception = max(structure, ends[1])
    place = train.where(next(key for key in _OLDER if train.get(key) is not None))
    if ends[2] < 0:
        perception = max(perception, job.read(train, "niter", int, perception))
    elif train.get("niter") is None:
        job.put("train.iterations", ends[2], train.where("phase3_s"), "phase3_s")
    job.put("model.ppon_stages", [structure, perception], place, "phase1_s")
