"""The second pass: makes the parts of a training run and puts them together."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from ..config.options import SWAOptions, TrainOptions
from ..config.planner import Planner
from ..config.source import changes
from ..core.errors import OptionErrors
from ..core.model import Model
from ..core.network import Network
from ..core.phases import PhaseSchedule
from ..core.terms import AdversarialLoss, FoolTerm, ImageTerm, JudgeTerm, Term
from ..data.images import write
from ..data.photographs import write_sample
from ..data.stream import Stream, stream, to_unit, whole
from ..engine import distributed
from ..engine.checkpoint import Stateful, restore
from ..engine.chores import Progress, Report, clock
from ..engine.experiment import Experiment, find_state, open_experiment
from ..engine.guard import Guard
from ..engine.logs import Log
from ..engine.loop import Every, Loop
from ..engine.player import Clip, Player, Schedule, constant
from ..engine.saver import Best, Saver
from ..engine.validate import ImageFiles, Measure, Validate
from ..inference.tiles import Tiler
from ..inference.weights import load_weights, save_weights
from ..losses.pool import ImagePool
from ..optim.averages import WeightAverage, equal, exponential
from ..optim.clipping import AutoClip, ClipNorm, ClipValue
from ..optim.schedules import Plateau, SWAAnneal, WarmUp
from .device import choose_device, choose_precision
from .plan import PlayerPlan, TrainPlan, player_of
from .summary import summarise


@dataclass(eq=False)
class Run:
    """A training run, ready to start."""

    plan: TrainPlan
    loop: Loop
    log: Log
    stream: Stream
    saver: Saver
    report: Report
    progress: Progress
    validate: Validate | None
    experiment: Experiment

    def train(self) -> None:
        """Train to the end, or until the loop is told to stop; then everything is on the disk."""
        self.report.begin(self.loop)
        self.progress.begin(self.loop)
        start = time.perf_counter()
        try:
            self.loop.run()
        finally:
            self.progress.close()
            self.stream.close()
        if self.loop.step < self.loop.steps:
            self.report(self.loop)
            self.log.say(f"Stopped after iteration {self.loop.step:,} of {self.loop.steps:,}. Saving as 'latest'.")
        if self.saver.saved != self.loop.step or self.loop.step < self.loop.steps:
            self.saver.save("latest", self.loop.step)
        self.saver.close()
        self._end(time.perf_counter() - start)

    def _end(self, seconds: float) -> None:
        if self.stream.broken:
            named = "".join(f"\n  {path}: {reason}" for path, reason in self.stream.broken.items())
            self.log.warn(f"{len(self.stream.broken)} files could not be read and were left out:{named}")
        if self.loop.guard.skipped:
            self.log.warn(f"{self.loop.guard.skipped} iterations were left out for non-finite gradients.")
        if self.loop.step >= self.loop.steps:
            waiting = 100 * self.loop.waited / max(self.loop.trained, 1e-9)
            self.log.say(f"End of training: {clock(seconds)}, {waiting:.0f}% of it waiting for data.")

    def summary(self) -> None:
        """After a finished run, if the options ask for it: model against bicubic, and a picture."""
        if self.plan.validate.table and self.loop.step >= self.loop.steps and distributed.rank() == 0:
            summarise(self)

    def close(self) -> None:
        """Let go of files, workers and the lock."""
        self.stream.close()
        self.log.close()
        if self.experiment.lock is not None:
            self.experiment.lock.release()


def make_log(plan: TrainPlan, folder: Path) -> Log:
    """The log of the run in its folder."""
    options = plan.logger
    board = Path(options.tensorboard_dir) if options.tensorboard_dir else folder / "tb"
    return Log(folder if options.files else None, board if options.tensorboard else None)


def make_run(plan: TrainPlan, experiment: Experiment, log: Log) -> Run:
    """Build everything, and restore the state that the experiment goes on from.

    Raises:
        DarkroomError: what only the built parts could tell: files, weights, devices, module paths.
    """
    device = choose_device(plan.run.gpu_ids, log.warn)
    amp = choose_precision(plan.train.amp, device, log.say, force=plan.train.amp_force)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = plan.train.tf32
    torch.backends.cudnn.benchmark = True  # crops have one size
    model = _make_model(plan, device, amp, experiment, log)
    averages = _make_averages(plan, model)
    players = {name: _make_player(plan, name, p, model) for name, p in plan.players.items()}
    terms = [term for t in plan.terms for term in _make_terms(plan, t, model, device)]
    for term in terms:
        term.loss.to(device)
    dataset = plan.dataset.make()
    data = stream(
        dataset, plan.loader.batch_size, plan.run.seed, distributed.rank(), distributed.world_size(),
        workers=plan.loader.workers, prefetch=plan.loader.prefetch, pin_memory=device.type == "cuda", warn=log.warn,
    )  # fmt: skip
    loop = Loop(
        model, players, terms, PhaseSchedule(plan.phases or model.phases(plan.train.iterations)), data.batches,
        plan.train.iterations, prepare=partial(_prepare, channels_last=plan.train.channels_last), device=device,
        accumulate=plan.train.accumulate, seed=plan.run.seed, amp=amp, averages=tuple(averages.values()),
        guard=Guard(plan.train.nonfinite_limit, log.warn),
    )  # fmt: skip
    _check_modules(plan, model)
    items = plan.loader.batch_size * distributed.world_size() * plan.train.accumulate

    def epoch(step: int) -> int:
        return step * items // len(dataset)

    best = Best(plan.checkpoint.best, _higher(plan, plan.checkpoint.best)) if plan.checkpoint.best else None
    plateaus = {f"schedule_{n}": s for n, p in players.items() if (s := _plateau(p.schedule)) is not None}
    extra: dict[str, Stateful] = {**averages, **plateaus, **({"best": best} if best else {})}
    parts = {**loop.parts(), **extra}
    saver = _make_saver(plan, experiment, log, model, averages, parts)
    if experiment.state is not None and experiment.state_file is not None:
        restore(parts, experiment.state, experiment.state_file)
        for line in changes(json.loads(experiment.state["options"]), plan.native()):
            log.say(f"Changed since that state was saved: {line}")
    observers = [partial(_observe, schedule) for schedule in plateaus.values()]
    validate = _make_validate(
        plan, experiment, log, averages, epoch, [*observers, *([_keeper(best, saver)] if best else [])]
    )
    report = Report(log, epoch, plan.logger.tensorboard_every)
    progress = Progress(plan.logger.progress)
    chores = [Every(1, progress), Every(plan.logger.every, report)]
    if validate is not None:  # before the save, whose state then knows what the validation found
        chores.append(Every(plan.validate.every, validate))
    loop.chores = [*chores, Every(plan.checkpoint.every, saver)]
    return Run(plan, loop, log, data, saver, report, progress, validate, experiment)


def _prepare(batch: Mapping[str, Any], *, channels_last: bool) -> dict[str, Any]:
    batch = to_unit(batch)
    if not channels_last:
        return dict(batch)
    image = torch.channels_last
    return {
        k: v.contiguous(memory_format=image) if isinstance(v, Tensor) and v.ndim == 4 else v for k, v in batch.items()
    }


def _make_model(
    plan: TrainPlan, device: torch.device, amp: torch.dtype | None, experiment: Experiment, log: Log
) -> Model:
    torch.manual_seed(plan.run.seed)  # every process makes the same networks
    networks: dict[str, Network] = {field: p.make() for field, p in plan.networks.items()}
    unknown = [n for n in plan.path.pretrain if n not in networks]
    if unknown:
        raise OptionErrors([f"path.pretrain: there is no network {n!r}, only {', '.join(networks)}" for n in unknown])
    for name, network in networks.items():
        pretrain = plan.path.pretrain.get(name)
        if pretrain is not None and experiment.state is None:
            log.say(f"Loading pretrained weights of {name}: {pretrain}")
            for note in load_weights(network, Path(pretrain).expanduser(), plan.path.strict):
                log.warn(note)
        elif pretrain is not None:
            log.say(f"pretrain_model_{name} is not read: the run continues from its state.")
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
    model: Model = plan.model.make(**networks)
    return model


def _make_averages(plan: TrainPlan, model: Model) -> dict[str, WeightAverage]:
    critics = {t.options.critic or "D" for t in plan.terms if t.adversarial}
    generators = {n: m for n, m in model.networks.items() if n not in critics}
    averages = {}
    if plan.ema is not None:
        averages["ema"] = exponential(generators, plan.ema.decay)
    if plan.swa is not None:
        averages["swa"] = equal(generators, swa_start(plan.swa, plan.train), plan.swa.every)
    return averages


def swa_start(swa: SWAOptions, train: TrainOptions) -> int:
    """The first iteration that the average takes in."""
    return round(swa.start * train.iterations) if isinstance(swa.start, float) else swa.start


def _make_player(plan: TrainPlan, name: str, p: PlayerPlan, model: Model) -> Player:
    optimizer = p.optimizer.make(params=_groups(model, p))
    schedule: Schedule = p.schedule.make() if p.schedule else constant
    critics = {t.options.critic or "D" for t in plan.terms if t.adversarial}
    if plan.swa is not None and not critics & {*p.owned}:
        swa = plan.swa
        schedule = SWAAnneal(schedule, swa_start(swa, plan.train), swa.rate, swa.anneal, swa.strategy)
    if p.warmup.warmup:
        schedule = WarmUp(p.warmup.warmup, schedule)
    return Player(name, optimizer, schedule, p.options.every, _clip(p))


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


def _make_terms(plan: TrainPlan, t: Any, model: Model, device: torch.device) -> list[Term]:
    o, loss, player = t.options, t.loss.make(), player_of(plan, t)
    if not isinstance(loss, AdversarialLoss):
        return [ImageTerm(t.name, player, o.weight, loss, t.inputs)]
    judge = o.critic or "D"
    owner = next(n for n, p in plan.players.items() if judge in p.owned)
    pool: Callable[[Tensor], Tensor] = ImagePool(o.pool).to(device) if o.pool else _itself
    critic = model.networks[judge]
    fool = FoolTerm(t.name, player, o.weight, loss, critic, t.inputs, o.given)
    return [fool, JudgeTerm(t.name, owner, loss, critic, t.inputs, o.given, pool)]


def _itself(fakes: Tensor) -> Tensor:
    return fakes


def _check_modules(plan: TrainPlan, model: Model) -> None:
    """Phases name modules that only the built networks can tell."""
    p = Planner(plan.file)
    for phase in plan.phases:
        for path in phase.trains or ():
            try:
                model.module(path)
            except (KeyError, AttributeError):
                name = path.partition(".")[0]
                there = (
                    [n for n, _ in model.networks[name].named_children()]
                    if name in model.networks
                    else [*model.networks]
                )
                p.error(
                    plan.file.where("phases"),
                    f"phase {phase.name!r}: no module {path!r}; there are: {', '.join(there)}",
                )
    p.check()


def _plateau(schedule: Schedule) -> Plateau | None:
    while isinstance(schedule, (WarmUp, SWAAnneal)):
        schedule = schedule.then
    return schedule if isinstance(schedule, Plateau) else None


def _observe(schedule: Plateau, step: int, means: Mapping[str, float]) -> None:
    del step
    if schedule.metric in means:
        schedule.observe(means[schedule.metric])


def _keeper(best: Best, saver: Saver) -> Callable[[int, Mapping[str, float]], None]:
    def keep(step: int, means: Mapping[str, float]) -> None:
        if best.metric in means and best.improved(means[best.metric]):
            saver.best(step, best.metric, means[best.metric])

    return keep


def _higher(plan: TrainPlan, name: str) -> bool:
    for options, metric in plan.metrics:
        if (options.name or metric.type) == name:
            return bool(metric.factory.higher)
    named = ", ".join(o.name or m.type for o, m in plan.metrics) or "none"
    raise OptionErrors([f"checkpoint.best: {name!r} is not a metric of validation; there are: {named}"])


def _make_saver(
    plan: TrainPlan, experiment: Experiment, log: Log, model: Model,
    averages: Mapping[str, WeightAverage], parts: Mapping[str, Stateful],
) -> Saver:  # fmt: skip
    def weights() -> dict[str, dict[str, Tensor]]:
        raw = {n: public_weights(m) for n, m in model.networks.items()}
        averaged = {f"{kind}{n}": public_weights(m) for kind, a in averages.items() for n, m in a.networks.items()}
        return {**raw, **averaged}

    o = plan.checkpoint
    if distributed.rank() == 0:
        (experiment.folder / "native.yml").write_text(dump(plan.native()), encoding="utf-8")
    return Saver(
        experiment.folder, parts, json.dumps(plan.native()), weights, save_weights, suffix=f".{o.format}",
        keep=o.keep, overwrite=o.overwrite, background=o.background, say=log.say,
    )  # fmt: skip


def public_weights(network: nn.Module) -> dict[str, Tensor]:
    """What other programs load: the state under the community's keys."""
    assert isinstance(network, Network)
    return network.to_public(network.state_dict())


def dump(options: Mapping[str, Any]) -> str:
    """Native options as YAML."""
    return yaml.safe_dump(json.loads(json.dumps(options)), sort_keys=False, allow_unicode=True, width=120)


def _make_validate(
    plan: TrainPlan, experiment: Experiment, log: Log, averages: Mapping[str, WeightAverage],
    epoch: Callable[[int], int], observers: list[Callable[[int, Mapping[str, float]], None]],
) -> Validate | None:  # fmt: skip
    if not plan.sets:
        return None
    o = plan.validate
    sets = {name: _share(p.make()) for name, p in plan.sets.items()}
    measures = [Measure(m.name or p.type, p.make(), m.of, m.to, bool(p.factory.higher)) for m, p in plan.metrics]
    images = ImageFiles(
        experiment.folder / "val_images", _write_image, plan.run.scale, o.comparison, o.overwrite, o.save_gt, o.save_lr
    )
    average = averages.get("ema") if plan.ema is not None and plan.ema.validate else None
    averaged = partial(_averaged, average) if average is not None else _as_it_is
    unit = max(getattr(plan.networks[n].factory, "multiple_of", 1) for n in plan.networks)
    infer = partial(_infer, Tiler(plan.run.scale, unit, o.tile, say=log.say))
    return Validate(sets, measures, infer, log, epoch, averaged, images if o.save_images else None, observers)


def _write_image(path: Path, image: Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, image.permute(1, 2, 0).contiguous().numpy())


def _share(dataset: Any) -> Callable[[], Iterator[Mapping[str, Any]]]:
    return partial(whole, dataset, distributed.rank(), distributed.world_size())


def _as_it_is(model: Model) -> Model:
    return model


def _averaged(average: WeightAverage, model: Model) -> Model:
    return dataclasses.replace(model, **average.networks)


def _infer(tiler: Tiler, model: Model, batch: Mapping[str, Any], bind: Mapping[str, str]) -> dict[str, Tensor]:
    if model.tiles is None:
        return model.infer(model.sample(batch, bind))

    def run(image: Tensor) -> Tensor:
        return model.infer(model.sample({**batch, str(model.tiles): image}, bind))["output"]

    return {"output": tiler(run, batch[model.tiles])}


def open_run(plan: TrainPlan, notes: Sequence[str], source: Path) -> Run:
    """Join the other processes, open the experiment's folder, and build the run.

    The first line says whether an earlier run goes on or was archived. A copy of the option file goes into the folder.
    """
    device = choose_device(plan.run.gpu_ids, lambda message: None)
    distributed.setup(device)
    first = distributed.rank() == 0
    if first and plan.run.sample_photographs:
        write_sample(Path(plan.run.sample_photographs))
    distributed.barrier()
    said: list[str] = []
    root = Path(plan.path.root).expanduser()
    folder = root / "experiments" / plan.run.name
    if first:
        experiment = open_experiment(root, plan.run.name, plan.path.resume_state, said.append)
    distributed.barrier()  # the others look when nothing moves any more
    if not first:
        experiment = Experiment(folder, "", *find_state(folder, plan.path.resume_state, said.append))
    log = make_log(plan, folder)
    for line in (experiment.message, *said, *notes):
        log.say(line)
    if first:
        shutil.copyfile(source, folder / f"options{source.suffix}")
    return make_run(plan, experiment, log)
