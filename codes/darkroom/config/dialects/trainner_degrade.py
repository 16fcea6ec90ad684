"""The documented degradations of a dataset, and their presets, as the section ``degrade``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..source import Section
from .rules import Job, is_off, lower
from .trainner_entries import Entries, kernel_option, kernel_shares
from .trainner_presets import Choices, weighted
from .trainner_stages import AFTER, DOWNSCALE, INEXACT, KEYS, KINDS, LAST, NEEDS, RESIZES, STAGES, TARGET, WORDS, Kind


def degradations(job: Job, section: Section, inner: Job, kernels: Mapping[str, str]) -> bool:
    """Make ``degrade`` of what the training set ``section`` says; ``inner.native`` is that set, natively.

    ``kernels`` are the documented names of those that an image is resized with, and what they are natively. Returns
    whether inputs become other than targets.
    """
    asked = [key for key in section if key in KEYS and not is_off(section[key])]
    if not asked and not _more_than_kernels(section):
        return False
    maker = _Maker(inner, Choices(inner, section, WORDS), section, kernels)
    lists = {
        "first": maker.first(),
        "stages": maker.stages(STAGES),
        "last": maker.stages(LAST),
        "after": maker.after(),
        "target": maker.stages(TARGET),
    }
    lists = {name: stages for name, stages in lists.items() if stages}
    place = section.where(asked[0] if asked else "lr_downscale_types")
    if lists:
        job.ensure("degrade", place)
        for name, stages in lists.items():
            job.put(f"degrade.{name}", stages, place, name)
        if maker.starts_with_target:
            job.put("degrade.start", "target", place, "resize_strat")
            inner.native.pop("kernel", None)
        for key, to, kind in (("shuffle_degradations", "shuffle", bool), ("degrade_on", "run_on", str)):
            value = maker.choices.read(key, kind)
            if value is not None:
                job.put(f"degrade.{to}", lower(value), maker.choices.find(key)[1], key)
    maker.note_what_is_idle()
    return bool({*lists} - {"target"})


def _more_than_kernels(section: Section) -> bool:
    """Whether inputs are made in a way that is a degradation."""
    value = section.get("lr_downscale_types")
    names = [value] if isinstance(value, str) else value if isinstance(value, (list, Section)) else []
    return section.get("lr_downscale") is not False and any(lower(name) in RESIZES for name in names)


class _Maker:
    """Makes the stages of one training set."""

    def __init__(self, job: Job, choices: Choices, section: Section, kernels: Mapping[str, str]) -> None:
        self.job, self.choices, self.section = job, choices, section
        self.entries = Entries(job, choices, kernels)
        strategy = lower(choices.read("resize_strat", str, "pre")).split("_")
        if not {*strategy} <= {"pre", "in"}:
            place = choices.find("resize_strat")[1]
            job.error(place, f"resize_strat: expected pre or in, found {'_'.join(strategy)!r}")
        self.inside = "in" in strategy
        """Whether resizing is among the stages."""
        self.before = "pre" in strategy
        """Whether inputs are made before all stages."""
        self.starts_with_target = self.inside and not self.before and "input" not in job.native
        self._legacy_levels()

    def _legacy_levels(self) -> None:
        """``auto_levels: lr, hr or both`` is the older way to say two of the switches."""
        side, place = lower(self.choices.read("auto_levels", str)), self.section.where("auto_levels")
        if side is None:
            return
        if side not in ("lr", "hr", "both"):
            self.job.error(place, f"auto_levels: expected lr, hr or both, found {side!r}")
        chance = self.choices.read("rand_auto_levels", float, 1.0)
        said = Section.make(place, {})
        for name in ("lr", "hr") if side == "both" else (side,):
            said.put(f"{name}_auto_levels", True, place)
            said.put(f"{name}_rand_auto_levels", chance, self.section.where("rand_auto_levels"))
        self.choices.add(said)

    def first(self) -> list[Section]:
        """How inputs are made before all stages, where no kernel alone does it; a kernel is the dataset's option."""
        value, place = self.choices.find("lr_downscale_types")
        if not self.before or is_off(value) or self.choices.find("lr_downscale")[0] is False:
            return []
        shares = weighted(self.job, "lr_downscale_types", value, place)
        special = {*shares} & {*RESIZES}
        if not special:
            self.entries.check_algorithms("lr_downscale_types", shares, place)
            kernels = kernel_shares(shares, self.entries.kernels)
            if kernels and "kernel" not in self.job.native:  # a preset says it
                self.job.put("kernel", kernel_option(kernels, place), place, "lr_downscale_types")
            return []
        if "input" in self.job.native:
            text = f"{min(special)} makes all inputs; remove dataroot_LR, or write lr_downscale: false"
            self.job.error(place, f"lr_downscale_types: {text}")
        self.starts_with_target = True
        stages = [self._stage_of("downscale", self.entries.resizes("lr_downscale_types", "", exact=True), place)]
        if special & {*INEXACT} or self.choices.find("realk_scale")[0]:
            rest = Section.make(place, {"type": "final_scale", "kernels": ["cubic"]})
            stages.append(self._stage_of("the rest", [[rest]], place))
        return stages

    def after(self) -> list[Section]:
        """Of cutting out and erasing, no sample gets both."""
        stages = self.stages(AFTER)
        chances = [self.job.read(stage, "probability", float, 1.0) for stage in stages]
        if len(stages) < 2 or not all(0 <= chance <= 1 for chance in chances):
            return stages
        place = stages[0].where()
        either = []
        for stage, chance in zip(stages, chances, strict=True):
            for choice in stage["of"]:
                choice.put("weight", choice["weight"] * chance, place)
            either.append([*stage["of"], Section.make(place, {"type": "clean", "weight": 1 - chance})])
        return [self._stage_of("cutout or erasing", either, place)]

    def stages(self, kinds: Sequence[Kind]) -> list[Section]:
        """Those that are switched on."""
        return [stage for kind in kinds if (stage := self._stage(kind)) is not None]

    def _is_on(self, kind: Kind) -> bool:
        """Algorithms of ``lr_downscale_types`` count unless ``lr_downscale`` is off, as they do for inputs."""
        if not kind.native and not self.inside:
            return False
        value, _ = self.choices.find(kind.switch)
        if kind.switch == "lr_downscale" and value is None:
            return not is_off(self.choices.find(kind.types)[0])
        if is_off(value) or kind.switch == kind.types:
            return not is_off(value)
        return bool(self.choices.read(kind.switch, bool, False))

    def _stage(self, kind: Kind) -> Section | None:
        if not self._is_on(kind):
            return None
        value, place = self.choices.find(kind.types or kind.switch)
        if not kind.types:
            return self._stage_of(kind.name, [self.entries.of(kind, kind.name, 1.0, place)], place, kind)
        if is_off(value) or value is True:
            place = self.choices.find(kind.switch)[1]
            example = next(iter(kind.native), "linear")
            example = "jpeg" if "compression" in kind.types else example
            needs = "expected the kinds" if kind.switch == kind.types else f"needs {kind.types}"
            self.job.error(place, f"{kind.switch}: {needs}, such as {kind.types}: [{example}]")
            return None
        if not kind.native:
            choices = self.entries.resizes(kind.types, kind.cycle, exact=kind.name == "final_scale")
        else:
            shares = weighted(self.job, kind.types, value, place)
            choices = [self.entries.of(kind, name, share, place) for name, share in shares.items()]
        if not choices:
            self.job.error(place, f"{kind.types}: at least one weight must be more than 0")
            return None
        return self._stage_of(kind.name, choices, place, kind)

    def _stage_of(
        self, name: str, choices: Sequence[Sequence[Section]], place: str, kind: Kind | None = None
    ) -> Section:
        stage = Section.make(place, {"name": name}, {"name": place})
        if kind is not None and kind.chance:
            value, at = self.choices.find(kind.chance)
            if value is not None:
                stage.put("probability", value, at, kind.chance)
        if kind is not None and kind.group:
            stage.put("group", kind.group, place)
        stage.put("of", [choice for several in choices for choice in several], place)
        return stage

    def note_what_is_idle(self) -> None:
        """Tell the user of what he wrote for stages that are not on."""
        self.choices.note_idle_parameters()
        for kind in KINDS:
            if not kind.native and not self.inside and not is_off(self.section.get(kind.switch)):
                for key in (kind.switch, kind.types):
                    self._note(key, "resize_strat: in")
        for key, needed in NEEDS.items():
            if needed not in self.section:  # else it is off, and stays where it is to be switched on again
                self._note(key, needed)

    def _note(self, key: str, needed: str) -> None:
        if key not in DOWNSCALE and self.choices.idle(key):
            self.job.note(self.section.where(key), f"{key} has no effect, as there is no {needed}")
