"""What no section of an option file can know alone: whether the parts of a run belong together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..config.planner import Planner
from ..config.typed import parameters
from ..core.model import MODELS
from ..core.phases import Phase
from ..core.registry import did_you_mean

if TYPE_CHECKING:
    from .plan import TermPlan, TrainPlan


def cross_check(p: Planner, plan: TrainPlan) -> None:
    """What no section can know alone."""
    model: Any = MODELS[plan.model.type]
    yields = plan.dataset.factory.yields
    lacking = [name for name in model.reads if name not in yields]
    if lacking:
        p.error(plan.dataset.where, f"dataset {plan.dataset.type!r} gives {yields}, but the model also reads {lacking}")
    tensors = {*yields, *model.rules, *model.aliases}
    names = [t.name for t in plan.terms]
    for term, section in zip(plan.terms, p.entries("losses"), strict=True):
        for parameter, name in [*term.inputs.items(), *([("given", term.options.given)] if term.options.given else [])]:
            if name not in tensors:
                hint = did_you_mean(name, tensors) or f" There are: {', '.join(sorted(tensors))}"
                p.error(section.where(), f"loss {term.name!r}: {parameter}: there is no tensor {name!r}.{hint}")
        if names.count(term.name) > 1:
            p.error(section.where(), f"two losses are called {term.name!r}; give one another 'name'")
        critic = term.options.critic or "D"
        if term.adversarial and critic not in plan.networks:
            p.error(section.where(), f"loss {term.name!r} needs a section 'network_{critic}' for its critic")
        player = term.options.player
        if player is not None and player not in plan.players:
            p.error(
                section.where(), f"loss {term.name!r}: there is no player {player!r}, only {', '.join(plan.players)}"
            )
    for (_, augment), section in zip(plan.augments, p.entries("batch_augment"), strict=True):
        if augment.factory.one_size and plan.run.scale > 1:
            what = f"{augment.type} needs input and target of one size, so scale: 1; here it is {plan.run.scale}"
            p.error(section.where(), f"{what}. Remove it from the augmentations of batches")
    if plan.degrade is not None and "degrade" not in parameters(plan.dataset.factory):
        p.error(p.file.where("degrade"), f"degrade: dataset {plan.dataset.type!r} does not degrade; aligned does")
    _check_channels(p, plan)
    check_phases(p, plan, plan.phases or [Phase()])
    _check_plateaus(p, plan)
    for name in plan.path.pretrain:
        if name.partition(".")[0] not in plan.networks:
            where = p.file.section("path").section("pretrain").where(name)
            p.error(where, f"pretrain: there is no network {name!r}, only {', '.join(plan.networks)}")
    measured = [o.name or m.type for o, m in plan.metrics]
    if plan.checkpoint.best is not None and plan.checkpoint.best not in measured:
        where = p.file.section("checkpoint").where("best")
        p.error(
            where,
            f"best: validation does not measure {plan.checkpoint.best!r}, only {', '.join(measured) or 'nothing'}",
        )


def _check_channels(p: Planner, plan: TrainPlan) -> None:
    """Whether the generator takes as many channels as the images have, where the dataset says how many."""
    says, network = parameters(plan.dataset.factory).get("channels"), plan.networks.get("G")
    takes = None if network is None else parameters(network.factory).get("in_nc")
    if says is None or network is None or takes is None:
        return
    one = plan.dataset.arguments.get("input_color") in ("gray", "y")
    images = 1 if one else plan.dataset.arguments.get("channels", says.default)
    wanted = network.arguments.get("in_nc", takes.default)
    if images != wanted:
        kind = f"{network.type} takes images of {wanted} channels (in_nc), and the dataset gives {images}"
        p.error(network.where, f"{kind}. Write in_nc: {images} and out_nc as the targets have, or change the dataset")


def _check_plateaus(p: Planner, plan: TrainPlan) -> None:
    metrics = [o.name or m.type for o, m in plan.metrics]
    for schedule in (player.schedule for player in plan.players.values()):
        watched = schedule.arguments.get("metric") if schedule else None
        if schedule and watched is not None and watched not in metrics:
            near = did_you_mean(watched, metrics) or f" There are: {', '.join(metrics) or 'none'}."
            p.error(schedule.where, f"metric: validation does not measure {watched!r}.{near}")


def check_phases(p: Planner, plan: TrainPlan, phases: Sequence[Phase]) -> None:
    """Whether the phases, those of the file or those that the model derives, name what there is."""
    names = [t.name for t in plan.terms]
    written = [section.where() for section in p.entries("phases")] or [p.file.where("model")] * len(phases)
    for phase, where in zip(phases, written, strict=True):
        for name in phase.losses or ():
            if name not in names:
                p.error(where, f"phase {phase.name!r}: there is no loss {name!r}, only {', '.join(names)}")
        for name in phase.players or plan.players:
            if name not in plan.players:
                p.error(where, f"phase {phase.name!r}: there is no player {name!r}, only {', '.join(plan.players)}")
            elif not any(
                learns_from(plan, t, name) for t in plan.terms if phase.losses is None or t.name in phase.losses
            ):
                p.error(where, f"phase {phase.name!r}: player {name!r} has no loss to learn from")


def critics(plan: TrainPlan) -> set[str]:
    """The networks that judge."""
    model: Any = MODELS[plan.model.type]
    return {*model.critics, *(t.options.critic or "D" for t in plan.terms if t.adversarial)}


def learns_from(plan: TrainPlan, term: TermPlan, player: str) -> bool:
    """Whether the term is part of the player's objective, on either side."""
    critic = term.options.critic or "D"
    judges = term.adversarial and critic in plan.players[player].owned
    return judges or player == player_of(plan, term)


def player_of(plan: TrainPlan, term: TermPlan) -> str:
    """The player that minimises the term: the stated one, or the first that owns no critic."""
    judges = critics(plan)
    first = next((n for n, player in plan.players.items() if not judges & {*player.owned}), next(iter(plan.players)))
    return term.options.player or first
