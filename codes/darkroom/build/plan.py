"""The first of two passes: checks every section against the signature of what it names, and builds nothing."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..archs import ARCHS
from ..config.dialects import to_native
from ..config.options import (
    SECTIONS,
    AugmentOptions,
    CheckpointOptions,
    DisplayOptions,
    EMAOptions,
    LoaderOptions,
    LogOptions,
    MetricOptions,
    PathOptions,
    PlayerOptions,
    RunOptions,
    ScheduleOptions,
    SetOptions,
    SWAOptions,
    TermOptions,
    TrainOptions,
    ValidateOptions,
)
from ..config.planner import Plan, Planner, native
from ..config.source import Section, override, read
from ..config.typed import bind
from ..core.model import MODELS
from ..core.phases import Phase, PhaseSchedule
from ..core.registry import did_you_mean
from ..core.terms import LOSSES, AdversarialLoss
from ..data import DATASETS
from ..data.batch_augment import BATCH_AUGMENTS
from ..filters.differentiable import Augment
from ..metrics import METRICS
from ..optim.optimizers import OPTIMIZERS
from ..optim.schedules import SCHEDULES
from .auto import resolved
from .cross_check import cross_check
from .degrading import DegradePlan, plan_degrading

TOP = tuple(f.name for f in dataclasses.fields(RunOptions))
COMPONENTS = ("model", "datasets", "batch_augment", "losses", "phases", "schedule")
SUPPLIED = ("degrade", "degrade_target", "degrade_from", "margin", "deferred", "reader")
"""What datasets are given that their own options do not say."""
PREFIXES = ("network_", "optim_", "schedule_")


@dataclass(frozen=True)
class TermPlan:
    """An entry of ``losses``."""

    options: TermOptions
    loss: Plan
    inputs: Mapping[str, str]
    adversarial: bool

    @property
    def name(self) -> str:
        """What the log and the phases call it."""
        return self.options.name or self.loss.type

    def native(self) -> dict[str, Any]:
        """The entry with every default."""
        return {**native(self.options), **self.loss.native(), "name": self.name}


@dataclass(frozen=True)
class PlayerPlan:
    """A player: what it owns, its optimizer and its schedule."""

    owned: tuple[str, ...]
    options: PlayerOptions
    optimizer: Plan
    groups: Mapping[str, Mapping[str, Any]]
    warmup: ScheduleOptions
    schedule: Plan | None


@dataclass(frozen=True)
class TrainPlan:
    """A training run that is known to be constructible, but for what only the built parts can tell."""

    file: Section
    run: RunOptions
    train: TrainOptions
    validate: ValidateOptions
    display: DisplayOptions | None
    checkpoint: CheckpointOptions
    logger: LogOptions
    path: PathOptions
    ema: EMAOptions | None
    swa: SWAOptions | None
    model: Plan
    networks: Mapping[str, Plan]
    """By field of the model."""
    players: Mapping[str, PlayerPlan]
    """In the model's order of play."""
    terms: Sequence[TermPlan]
    phases: Sequence[Phase]
    loader: LoaderOptions
    dataset: Plan
    sets: Mapping[str, tuple[SetOptions, Plan]]
    """Validation sets by key."""
    metrics: Sequence[tuple[MetricOptions, Plan]]
    augments: Sequence[tuple[AugmentOptions, Plan]]
    """Augmentations of batches, of which one is chosen for each."""
    degrade: DegradePlan | None = None

    def native(self) -> dict[str, Any]:
        """The options in their native form, with every default."""
        fixed = [n for n in SECTIONS if n != "degrade" and getattr(self, n, None) is not None]
        sections = {n: native(getattr(self, n)) for n in fixed}
        sections["validate"]["metrics"] = [
            {**native(o), **m.native(), "name": o.name or m.type} for o, m in self.metrics
        ]
        players: dict[str, Any] = {}
        for name, player in self.players.items():
            groups = {"groups": {p: dict(s) for p, s in player.groups.items()}} if player.groups else {}
            players[f"optim_{name}"] = {**native(player.options), **player.optimizer.native(), **groups}
            schedule = player.schedule.native() if player.schedule else {"type": "constant"}
            players[f"schedule_{name}"] = {**native(player.warmup), **schedule}
        data = {
            "train": {**native(self.loader), **self.dataset.native()},
            **{n: {**native(o), **s.native()} for n, (o, s) in self.sets.items()},
        }
        return {
            **native(self.run),
            "model": self.model.native(),
            "datasets": data,
            **{f"network_{n}": p.native() for n, p in self.networks.items()},
            **({"degrade": self.degrade.native()} if self.degrade else {}),
            "batch_augment": [{**native(o), **a.native()} for o, a in self.augments],
            "losses": [t.native() for t in self.terms],
            **players,
            "phases": [native(p) for p in self.phases],
            **sections,
        }


@dataclass(frozen=True)
class Options:
    """A file in any spelling, made native, with what that already showed."""

    file: Section
    notes: list[str]
    """For the user, at the start."""
    errors: list[str]
    """What has no meaning in the file's own spelling."""


def read_options(path: Path, settings: Sequence[str] = ()) -> Options:
    """The options of a file with ``--set`` settings applied.

    Raises:
        OptionErrors: the file cannot be read.
    """
    file = read(path)
    override(file, settings)
    errors: list[str] = []
    notes: list[str] = []
    return Options(to_native(file, errors, notes), notes, errors)


def plan_training(options: Options) -> TrainPlan:
    """Check everything that the options of a training run say.

    Raises:
        OptionErrors: all that is wrong, each with its place.
    """
    file, p = options.file, Planner(options.file, options.errors)
    _sections(p, ("name", "model", "datasets", "losses", "train"))
    run = p.options(RunOptions, file.only(TOP), "the top of the file")
    train = p.options(TrainOptions, file.section("train"))
    validate = p.options(ValidateOptions, file.section("validate"))
    display = p.options(DisplayOptions, file.section("display")) if "display" in file else None
    checkpoint = p.options(CheckpointOptions, file.section("checkpoint"))
    logger = p.options(LogOptions, file.section("logger"))
    path = p.options(PathOptions, file.section("path"))
    ema = p.options(EMAOptions, file.section("ema")) if "ema" in file else None
    swa = p.options(SWAOptions, file.section("swa")) if "swa" in file else None
    model, networks, given = _model(p, options.notes)
    terms = [term for section in p.entries("losses") if (term := _term(p, section)) is not None]
    players = _players(p, given)
    loader, dataset, sets = _data(p)
    metrics = plan_metrics(p, file.section("validate"))
    augments, degrade = _augments(p), plan_degrading(p)
    phases = _phases(p, train.iterations if train else 1)
    p.check()
    assert run and train and validate and checkpoint and logger and path and model and loader and dataset
    plan = TrainPlan(
        file=file, run=run, train=train, validate=validate, display=display, checkpoint=checkpoint, logger=logger,
        path=path, ema=ema, swa=swa, model=model, networks=networks, players=players, terms=terms, phases=phases,
        loader=loader, dataset=dataset, sets=sets, metrics=metrics, augments=augments, degrade=degrade,
    )  # fmt: skip
    cross_check(p, plan)
    p.check()
    return plan


def _sections(p: Planner, needed: Collection[str]) -> None:
    known = [name for name in (*TOP, *COMPONENTS, *SECTIONS) if name != "test"]
    for key in p.file:
        if key not in known and not key.startswith(PREFIXES):
            near = did_you_mean(key, [*known, "network_G", "network_D", "optim_G", "optim_D"])
            p.error(p.file.where(key), f"there is no section {key!r}.{near}")
    for key in needed:
        if key not in p.file:
            p.error(p.file.where(), f"the file needs {key!r}")


def _model(p: Planner, notes: list[str]) -> tuple[Plan | None, dict[str, Plan], set[str]]:
    """The model, its networks that can be planned, and the names of all that are given.

    A network field is filled by ``network_<field>``, or by the section without the field's last suffix.
    """
    section = p.file.section("model")
    kind = section.get("type")
    if not isinstance(kind, str) or kind not in MODELS:
        return p.component(MODELS, section), {}, set()
    factory: Any = MODELS[kind]
    fields = [f for f in dataclasses.fields(factory) if f.metadata.get("network")]
    networks: dict[str, Plan] = {}
    used, given = set(), set()
    for field in fields:
        names = (f"network_{field.name}", f"network_{field.name.rpartition('_')[0]}")
        found = next((n for n in names if n in p.file), None)
        if found is not None:
            used.add(found)
            given.add(field.name)
            plan = p.component(ARCHS, resolved(p, found, field.name, notes))
            if plan is not None:
                networks[field.name] = plan
        elif field.default is dataclasses.MISSING:
            p.error(section.where("type"), f"model {kind!r} needs a section {names[0]!r}")
    for key in p.file:
        if key.startswith("network_") and key not in used:
            p.error(p.file.where(key), f"model {kind!r} has no network {key.removeprefix('network_')!r}")
    return p.component(MODELS, section, [f.name for f in fields]), networks, given


def _term(p: Planner, section: Section) -> TermPlan | None:
    """In ``{type, **options}``, an option named like a parameter of the loss's call says which tensor to pass it.

    Without one it is the tensor of that name.
    """
    options, rest = p.split(TermOptions, section)
    kind = rest.get("type")
    factory: Any = LOSSES[kind] if isinstance(kind, str) and kind in LOSSES else None
    adversarial = inspect.isclass(factory) and issubclass(factory, AdversarialLoss)
    call = _call(factory.generator if adversarial else factory.forward) if factory else []
    loss = p.component(LOSSES, rest.without(*call), beside=TermOptions)
    if options is None or loss is None:
        return None
    for key in ("critic", "given", "pool", "augment") if not adversarial else ():
        if section.get(key):
            p.error(section.where(key), f"{key}: only adversarial losses have a critic; {kind!r} is none")
    try:
        Augment(options.augment)
    except ValueError as error:
        p.error(section.where("augment"), f"augment: {error}")
    images = {"prediction": options.of, "target": options.to, "fake": options.of, "real": options.to}
    named = {**images, **rest.only(call)}
    inputs = {t: str(named.get(t, t)) for t in call}
    return TermPlan(options, loss, inputs, adversarial)


def _call(function: Any) -> list[str]:
    return [t for t in inspect.signature(function).parameters if t not in ("self", "critic")]


def _players(p: Planner, given: Collection[str]) -> dict[str, PlayerPlan]:
    """Every player of the model whose networks are given."""
    kind = p.file.section("model").get("type")
    if not isinstance(kind, str) or kind not in MODELS:
        return {}
    factory: Any = MODELS[kind]
    players, used = {}, set()
    for name, owned in factory.players.items():
        owned = tuple(n for n in owned if n in given)
        if not owned:
            continue
        key = next((k for k in (f"optim_{name}", f"optim_{name.rpartition('_')[2]}") if k in p.file), None)
        if key is None:
            p.error(p.file.where(), f"player {name!r} needs a section 'optim_{name}'")
            continue
        schedule_key = f"schedule_{name}" if f"schedule_{name}" in p.file else "schedule"
        used |= {key, schedule_key}
        section = p.file.section(key)
        options, rest = p.split(PlayerOptions, section.without("groups"))
        groups = {path: _group(p, rest, section.section("groups").section(path)) for path in section.section("groups")}
        optimizer = p.component(OPTIMIZERS, rest, {"params"}, PlayerOptions)
        warmup, schedule = p.split(ScheduleOptions, p.file.section(schedule_key))
        planned = p.component(SCHEDULES, schedule, beside=ScheduleOptions) if schedule else None
        if options and optimizer and warmup:
            players[name] = PlayerPlan(owned, options, optimizer, groups, warmup, planned)
    for key in p.file:
        if key.startswith(("optim_", "schedule_")) and key not in used:
            known = ", ".join(factory.players)
            p.error(p.file.where(key), f"{key!r} belongs to no player that is there; model {kind!r} has {known}")
    return players


def _group(p: Planner, optimizer: Section, group: Section) -> dict[str, Any]:
    """The settings of a group of parameters, checked as the optimizer's own."""
    if optimizer.get("type") not in OPTIMIZERS:
        return {}
    return bind(OPTIMIZERS[optimizer["type"]], group, p.errors, {"params"}, f"optimizer {optimizer['type']!r}")


def _data(p: Planner) -> tuple[LoaderOptions | None, Plan | None, dict[str, tuple[SetOptions, Plan]]]:
    sections = p.file.section("datasets")
    if "train" not in sections:
        p.error(sections.where(), "datasets: needs 'train'")
        return None, None, {}
    loader, rest = p.split(LoaderOptions, sections.section("train"))
    dataset = p.component(DATASETS, rest, SUPPLIED, LoaderOptions)
    sets = {}
    for key in sections:
        if re.fullmatch(r"val(_.*)?", key):
            options, rest = p.split(SetOptions, sections.section(key))
            plan = p.component(DATASETS, rest, SUPPLIED, SetOptions)
            if plan is not None and options is not None:
                sets[key] = (options, plan)
        elif key != "train":
            p.error(sections.where(key), f"datasets: expected 'train', 'val' or 'val_...', found {key!r}")
    return loader, dataset, sets


def _augments(p: Planner) -> list[tuple[AugmentOptions, Plan]]:
    planned = []
    for section in p.entries("batch_augment"):
        options, rest = p.split(AugmentOptions, section)
        augment = p.component(BATCH_AUGMENTS, rest, beside=AugmentOptions)
        if options and augment:
            planned.append((options, augment))
    return planned


def plan_metrics(p: Planner, section: Section) -> list[tuple[MetricOptions, Plan]]:
    """The metrics that a section lists."""
    planned = []
    for entry in section.get("metrics") or []:
        if not isinstance(entry, Section):
            p.error(section.where("metrics"), f"metrics: expected entries such as - {{type: psnr}}, found {entry!r}")
            continue
        options, rest = p.split(MetricOptions, entry)
        metric = p.component(METRICS, rest, beside=MetricOptions)
        if options and metric:
            planned.append((options, metric))
    return planned


def _phases(p: Planner, iterations: int) -> list[Phase]:
    phases = []
    for section in p.entries("phases"):
        start = section.get("start", 0)
        if isinstance(start, float) and 0 < start < 1:  # a fraction of the run
            section = Section.make(section.place, {**section, "start": round(start * iterations)}, section.places)
        phase = p.options(Phase, section, "a phase")
        if phase is not None:
            phases.append(phase)
    try:
        PhaseSchedule(phases)
    except ValueError as error:
        p.error(p.file.where("phases"), str(error))
    return phases
