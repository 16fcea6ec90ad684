"""The parts of a training run: networks, averages, players, terms."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..config.options import SWAOptions, TrainOptions
from ..config.planner import Plan, Planner
from ..config.typed import parameters
from ..core.errors import OptionErrors
from ..core.model import Model
from ..core.network import Network
from ..core.phases import Phase
from ..core.terms import AdversarialLoss, FoolTerm, ImageTerm, JudgeTerm, Term, View, unchanged
from ..data.batch_augment import OneOf
from ..data.dataset import ImageDataset
from ..data.degrade.deferred import finish
from ..data.stream import to_unit
from ..engine import distributed
from ..engine.experiment import Experiment
from ..engine.logs import Log
from ..engine.player import Clip, Player, Schedule
from ..filters.differentiable import Augment
from ..inference.weights import load_weights
from ..losses.pool import ImagePool
from ..optim.averages import Average, equal, exponential
from ..optim.clipping import AutoClip, ClipNorm, ClipValue
from ..optim.schedule_free import ScheduleFreeWeights, is_schedule_free
from ..optim.schedules import Constant, Plateau, SWAAnneal, WarmUp
from .cross_check import check_phases, critics, player_of
from .packing import reader_of
from .plan import PlayerPlan, TermPlan, TrainPlan


def prepare(batch: Mapping[str, Any], *, channels_last: bool) -> dict[str, Any]:
    """What is left to be degraded is; bytes become numbers in [0, 1], in the memory layout of the networks."""
    batch = to_unit(finish(batch))
    if not channels_last:
        return dict(batch)
    image = torch.channels_last
    return {
        k: v.contiguous(memory_format=image) if isinstance(v, Tensor) and v.ndim == 4 else v for k, v in batch.items()
    }


def make_model(
    plan: TrainPlan, device: torch.device, amp: torch.dtype | None, experiment: Experiment, log: Log
) -> Model:
    """The model with its networks: initialised, or with their pretrained weights, on the device.

    Raises:
        DarkroomError: weights that do not fit, or a network that cannot compute in the precision.
    """
    torch.manual_seed(plan.run.seed)  # every process makes the same networks
    networks: dict[str, Network] = {field: p.make() for field, p in plan.networks.items()}
    learners = {name for owned in plan.model.factory.players.values() for name in owned}
    for path, file in plan.path.pretrain.items():
        if experiment.state is not None and path.partition(".")[0] in learners:
            log.say(f"pretrain_model_{path} is not read: the run continues from its state.")
            continue
        log.say(f"Loading pretrained weights of {path}: {file}")
        for note in load_weights(_pretrained(networks, path), Path(file).expanduser(), plan.path.strict):
            log.warn(note)
    for name, network in networks.items():
        if amp is torch.float16 and not network.half_precision:
            raise OptionErrors([f"train.amp: {plan.networks[name].type} cannot compute in fp16; write bf16 or off"])
        count = sum(p.numel() for p in network.parameters())
        log.say(f"Network {name}: {plan.networks[name].type}, with parameters: {count:,}")
        distributed.synchronise_batch_norm(network, device)
        network.to(device)
        if plan.train.channels_last:
            network.to(memory_format=torch.channels_last)
        if plan.train.compile:
            network.compile()
        network.train(name in learners)
    model: Model = plan.model.make(**networks)
    return model


def _pretrained(networks: Mapping[str, Network], path: str) -> Network:
    """The network, or the network in it, of which ``path.pretrain`` speaks, such as ``G`` or ``G.RRDB``."""
    name, _, inner = path.partition(".")
    module = dict(networks[name].named_modules()).get(inner) if name in networks else None
    if not isinstance(module, Network):
        raise OptionErrors([f"path.pretrain: there is no network {path!r}, only {', '.join(networks)}"])
    return module


def generators(plan: TrainPlan, model: Model) -> dict[str, Network]:
    """The networks that learn and are no critics."""
    judges = critics(plan)
    return {n: m for n, m in model.learners.items() if n not in judges and isinstance(m, Network)}


def make_dataset(planned: Plan, plan: TrainPlan, model: Model) -> ImageDataset:
    """The dataset; one that rounds sizes is told what the networks need, unless the options say it.

    Raises:
        DarkroomError: its files are not there, or its images would not fit the networks.
    """
    given: dict[str, Any] = {}
    if planned is plan.dataset and plan.degrade is not None:
        given |= plan.degrade.arguments()
    reader = reader_of(plan)
    if reader is not None:
        given["reader"] = reader
    if "multiple_of" in parameters(planned.factory) and "multiple_of" not in planned.arguments:
        given["multiple_of"] = math.lcm(*(network.multiple_of for network in generators(plan, model).values()))
    dataset: ImageDataset = planned.make(**given)
    return dataset


def refuses_misfits(planned: Plan) -> bool:
    """Whether an input that does not fit its target cannot be used; a dataset may do something about it instead."""
    return bool(planned.arguments.get("misfit", "refuse") == "refuse")


def make_averages(plan: TrainPlan, model: Model, players: Mapping[str, Player]) -> dict[str, Average]:
    """The averages of the generators' weights that the options ask for: ``ema``, ``swa``, ``sf`` (schedule-free)."""
    judged: dict[str, nn.Module] = {**generators(plan, model)}
    averages: dict[str, Average] = {}
    optimizers = {n: players[p].optimizer for p in players for n in plan.players[p].owned if n in judged}
    free = {n: o for n, o in optimizers.items() if is_schedule_free(o)}
    if free:
        averages["sf"] = ScheduleFreeWeights({n: judged[n] for n in free}, free)
    if plan.ema is not None:
        averages["ema"] = exponential(judged, plan.ema.decay)
    if plan.swa is not None:
        averages["swa"] = equal(judged, swa_start(plan.swa, plan.train), plan.swa.every)
    return averages


def swa_start(swa: SWAOptions, train: TrainOptions) -> int:
    """The first iteration that the average takes in."""
    return round(swa.start * train.iterations) if isinstance(swa.start, float) else swa.start


def make_player(plan: TrainPlan, name: str, p: PlayerPlan, model: Model) -> Player:
    """The player with its optimizer, schedule and clipping."""
    optimizer = p.optimizer.make(params=_groups(model, p))
    schedule: Schedule = p.schedule.make() if p.schedule else Constant()
    if plan.swa is not None and not critics(plan) & {*p.owned}:
        swa = plan.swa
        schedule = SWAAnneal(schedule, swa_start(swa, plan.train), swa.rate, swa.anneal, swa.strategy)
    if p.warmup.warmup:
        schedule = WarmUp(p.warmup.warmup, schedule)
    settings = {*parameters(p.optimizer.factory), "fused", "foreach", "capturable"} - {"params"}
    return Player(name, optimizer, schedule, p.options.every, _clip(p), settings)


def _clip(p: PlayerPlan) -> Clip | None:
    if p.options.clip is None:
        return None
    if p.options.clip == "auto":
        return AutoClip()
    return ClipNorm(p.options.clip) if p.options.clip_by == "norm" else ClipValue(p.options.clip)


def _groups(model: Model, p: PlayerPlan) -> list[dict[str, Any]]:
    """One group per module path of ``groups``, with its own settings, and one for all the rest."""
    groups, taken = [], set[nn.Parameter]()
    for path, settings in p.groups.items():
        parameters = [q for q in model.module(path).parameters() if q not in taken]
        taken.update(parameters)
        groups.append({"params": parameters, **settings})
    rest = [q for n in p.owned for q in model.networks[n].parameters() if q not in taken]
    return [{"params": rest}, *groups]


def make_terms(plan: TrainPlan, t: TermPlan, model: Model, device: torch.device) -> list[Term]:
    """The term of a loss; of an adversarial one, a term for each side."""
    o, loss, player = t.options, t.loss.make(), player_of(plan, t)
    if not isinstance(loss, AdversarialLoss):
        signed = model.is_signed and loss.unit_range
        return [ImageTerm(t.name, player, o.weight, loss, t.inputs, o.scale, signed)]
    judge = o.critic or "D"
    owner = next(n for n, p in plan.players.items() if judge in p.owned)
    pool: Callable[[Tensor], Tensor] = ImagePool(o.pool, plan.run.seed).to(device) if o.pool else _itself
    critic = model.networks[judge]
    if loss.compares_maps and not critic.get_feats:
        what = f"feature_weight compares feature maps, which network_{judge} does not give"
        raise OptionErrors([f"{t.loss.where}: {what}; write get_feats: true there, or take one that has this option"])
    view: View = Augment(o.augment) if o.augment else unchanged
    fool = FoolTerm(t.name, player, o.weight, loss, critic, t.inputs, o.given, view, o.scale)
    return [fool, JudgeTerm(t.name, owner, loss, critic, t.inputs, o.given, view, pool)]


def _itself(fakes: Tensor) -> Tensor:
    return fakes


def make_augment(plan: TrainPlan) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """What changes batches for training."""
    if not plan.augments:
        return dict
    return OneOf([a.make() for _, a in plan.augments], [o.share for o, _ in plan.augments])


def frozen_layers(plan: TrainPlan, model: Model) -> list[str]:
    """The paths of the layers that the players' ``freeze`` keeps from learning.

    Raises:
        OptionErrors: a network has no order of layers, or fewer of them.
    """
    p, frozen = Planner(plan.file), list[str]()
    for player, name in [(key, network) for key, chosen in plan.players.items() for network in chosen.owned]:
        network, count = model.networks[name], plan.players[player].options.freeze
        assert isinstance(network, Network)
        stages = network.stages() if count else ()
        if count > len(stages):
            p.error(
                plan.file.section(f"optim_{player}").where("freeze"),
                f"freeze: {count} layers of network_{name} are to be frozen, but {plan.networks[name].type} has "
                + (f"{len(stages)}" if stages else "no order of layers to count"),
            )
        frozen += [f"{name}.{path}" for paths in stages[:count] for path in paths]
    p.check()
    return frozen


def derive_phases(plan: TrainPlan, model: Model) -> Sequence[Phase]:
    """The phases of the file, else those that the model derives from its options.

    Raises:
        OptionErrors: they name what is not there.
    """
    if plan.phases:
        return plan.phases
    p = Planner(plan.file)
    try:
        phases = model.phases(plan.train.iterations, {t.name: t.adversarial for t in plan.terms})
    except ValueError as error:
        raise OptionErrors([f"{plan.file.where('model')}: {error}"]) from None
    check_phases(p, plan, phases)
    p.check()
    return phases


def check_modules(plan: TrainPlan, model: Model) -> None:
    """Phases and optimizer groups name modules that only the built networks can tell.

    Raises:
        OptionErrors: there is no such module, or a player plays in a phase in which nothing of it learns.
    """
    p = Planner(plan.file)
    for name, player in plan.players.items():
        for path in player.groups:
            _find(p, model, path, plan.file.where(f"optim_{name}"), "groups")
    for phase in plan.phases:
        where, what = plan.file.where("phases"), f"phase {phase.name!r}"
        found = [m for path in phase.trains or () if (m := _find(p, model, path, where, what)) is not None]
        learning = {q for module in found for q in module.parameters()}
        for name in (phase.players or plan.players) if found else ():
            owned = {q for n in plan.players[name].owned for q in model.networks[n].parameters()}
            if learning.isdisjoint(owned):
                p.error(
                    where, f"{what}: player {name!r} plays, but 'trains' has nothing of it; add it, or leave it out"
                )
    p.check()


def _find(p: Planner, model: Model, path: str, where: str, what: str) -> nn.Module | None:
    try:
        return model.module(path)
    except (KeyError, AttributeError):
        name = path.partition(".")[0]
        inside = model.networks.get(name)
        there = [*model.networks] if inside is None else [f"{name}.{n}" for n, _ in inside.named_children()]
        p.error(where, f"{what}: there is no module {path!r}, but: {', '.join(there)}")
        return None


def plateau_of(schedule: Schedule) -> Plateau | None:
    """The schedule that follows a metric, if there is one inside."""
    while isinstance(schedule, (WarmUp, SWAAnneal)):
        schedule = schedule.then
    return schedule if isinstance(schedule, Plateau) else None


def public_weights(network: nn.Module) -> dict[str, Tensor]:
    """What other programs load: the state under the community's keys."""
    assert isinstance(network, Network)
    return network.to_public(network.state_dict())
