"""The section ``degrade``: its stages checked, and the pipelines made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..config.options import ChoiceOptions, DegradeOptions, StageOptions
from ..config.planner import Plan, Planner, native
from ..config.source import Section
from ..core.errors import DataError, OptionErrors
from ..data.degrade import DEGRADATIONS
from ..data.degrade.operation import Degradation
from ..data.degrade.pipeline import Pipeline, Stage

LISTS = ("first", "stages", "last", "after", "target")
"""The lists of stages that the section has."""


@dataclass(frozen=True)
class StagePlan:
    """A stage."""

    options: StageOptions
    choices: Sequence[tuple[ChoiceOptions, Plan]]

    def native(self) -> dict[str, Any]:
        """The stage with every default."""
        return {**native(self.options), "of": [{**native(o), **p.native()} for o, p in self.choices]}

    def make(self) -> Stage:
        """The stage with its degradations.

        Raises:
            OptionErrors: values that do not fit each other, or files that are not there.
        """
        choices = [_made(plan) for _, plan in self.choices]
        shares = [options.weight for options, _ in self.choices]
        return Stage(choices, shares, self.options.probability, self.options.group)


@dataclass(frozen=True)
class DegradePlan:
    """The section."""

    options: DegradeOptions
    lists: Mapping[str, Sequence[StagePlan]]

    def native(self) -> dict[str, Any]:
        """The section with every default."""
        return {**native(self.options), **{name: [s.native() for s in stages] for name, stages in self.lists.items()}}

    def arguments(self) -> dict[str, Any]:
        """What a dataset is given.

        Raises:
            OptionErrors: values that do not fit each other, or files that are not there.
        """
        made = {name: [stage.make() for stage in stages] for name, stages in self.lists.items()}
        pipeline = Pipeline(made["first"], made["stages"], self.options.shuffle, made["last"], made["after"])
        degrades = any(stages for name, stages in made.items() if name != "target")
        return {
            "degrade": pipeline if degrades else None,
            "degrade_target": Pipeline(stages=made["target"]) if made["target"] else None,
            "degrade_from": self.options.start,
            "margin": self.options.margin,
            "deferred": self.options.run_on == "device",
        }


def plan_degrading(p: Planner) -> DegradePlan | None:
    """The section, if the file has one; what is wrong with it is noted."""
    if "degrade" not in p.file:
        return None
    section = p.file.section("degrade")
    options = p.options(DegradeOptions, section.without(*LISTS))
    lists = {name: [s for stage in p.entries(name, section) if (s := _stage(p, stage))] for name in LISTS}
    return DegradePlan(options, lists) if options else None


def _stage(p: Planner, section: Section) -> StagePlan | None:
    options, rest = p.split(StageOptions, section)
    choices = []
    for key in rest.without("of"):
        p.error(rest.where(key), f"a stage has no option {key!r}; it takes name, probability, group and of")
    for entry in p.entries("of", rest):
        beside, own = p.split(ChoiceOptions, entry)
        plan = p.component(DEGRADATIONS, own, beside=ChoiceOptions)
        if beside and plan:
            choices.append((beside, plan))
            _try(p, plan)
    if not rest.get("of"):
        p.error(section.where(), "a stage needs of, the degradations to choose from, such as of: [{type: jpeg}]")
    elif choices and not any(beside.weight for beside, _ in choices):
        p.error(section.where("of"), "of: at least one weight must be more than 0")
    return StagePlan(options, choices) if options and choices else None


def _made(plan: Plan) -> Degradation:
    try:
        degradation: Degradation = plan.make()
    except DataError as error:
        raise OptionErrors([plan.section.told(str(error), plan.type)]) from error
    return degradation


def _try(p: Planner, plan: Plan) -> None:
    """Note values that do not fit each other: what is made here is but numbers, and its files may be elsewhere yet."""
    try:
        plan.make()
    except OptionErrors as error:
        p.errors += error.errors
    except DataError:
        pass
