"""The second pass: makes the parts of a training run and puts them together."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from ..config.source import changes
from ..core.collective import processes
from ..core.errors import CheckpointError, DarkroomError, OptionErrors
from ..core.model import Model
from ..core.network import Network
from ..core.phases import PhaseSchedule
from ..data.dataset import ImageDataset
from ..data.pack_background import PackInBackground
from ..data.photographs import write_sample
from ..data.stream import Stream, prove, stream
from ..data.survey import refuse_misfits
from ..engine import distributed
from ..engine.checkpoint import Stateful, restore, write_whole
from ..engine.chores import Numbers, Progress, Report, clock
from ..engine.experiment import Experiment, NothingToDoError, enter, find_state
from ..engine.guard import Guard
from ..engine.logs import Log
from ..engine.loop import Every, Loop
from ..engine.saver import Best, Saver
from ..engine.validate import Observer, Validate
from ..inference.weights import save_weights
from ..optim.averages import Average
from ..optim.schedules import Plateau
from .device import choose_device, choose_precision, describe
from .packing import kind_of_workers, packing_of
from .parts import (
    check_modules,
    derive_phases,
    frozen_layers,
    make_augment,
    make_averages,
    make_dataset,
    make_model,
    make_player,
    make_terms,
    plateau_of,
    prepare,
    public_weights,
    refuses_misfits,
)
from .paths import check_pretrained
from .plan import TrainPlan
from .summary import summarise
from .validation import make_display, make_judge, make_validate


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
    packing: PackInBackground | None

    def train(self) -> None:
        """Train to the end, or until the loop is told to stop; then everything is on the disk."""
        self.report.begin(self.loop)
        self.progress.begin(self.loop)
        if self.packing is not None:
            self.packing.start()
        start = time.perf_counter()
        try:
            self.loop.run()
        except Exception:
            self._rescue()
            raise
        finally:
            self.progress.close()
            self.stream.close()
            if self.packing is not None:
                self.packing.close()
        if self.loop.step < self.loop.steps:
            self.report(self.loop)
            self.log.say(f"Stopped after iteration {self.loop.step:,} of {self.loop.steps:,}. Saving as 'latest'.")
        if self.saver.saved != self.loop.step or self.loop.step < self.loop.steps:
            self.saver.save("latest", self.loop.step)
        self.saver.close()
        self._end(time.perf_counter() - start)

    def _rescue(self) -> None:
        """Something between two iterations failed: a validation, a disk, the data. The training itself is whole."""
        if self.loop.whole and self.loop.step > max(self.saver.saved, 0):
            self.log.warn(f"An error after iteration {self.loop.step:,}; what was trained is saved as 'latest'.")
            with contextlib.suppress(DarkroomError, OSError):
                self.saver.save("latest", self.loop.step)
                self.saver.close()

    def _end(self, seconds: float) -> None:
        broken = {path: reason for found in distributed.gather(self.stream.broken) for path, reason in found.items()}
        if broken and distributed.rank() == 0:
            named = "".join(f"\n  {path}: {reason}" for path, reason in broken.items())
            self.log.warn(f"{len(broken)} files could not be used and were left out:{named}")
        if self.loop.guard.skipped and distributed.rank() == 0:
            self.log.warn(f"{self.loop.guard.skipped} iterations were left out for non-finite gradients.")
        if self.loop.step >= self.loop.steps:
            waiting = 100 * self.loop.waited / max(self.loop.trained, 1e-9)
            self.log.say(f"End of training: {clock(seconds)}, {waiting:.0f}% of it waiting for data.")

    def summary(self) -> None:
        """After a finished run, if the options ask for it: model against bicubic, and a picture."""
        if self.plan.validate.table and self.loop.step >= self.loop.steps and distributed.rank() == 0:
            summarise(self)

    def close(self) -> None:
        """Let go of files, workers, other processes and the lock."""
        with contextlib.suppress(DarkroomError):
            self.saver.wait()
        self.stream.close()
        self.log.close()
        distributed.shutdown()
        if self.experiment.lock is not None:
            self.experiment.lock.release()


def make_run(plan: TrainPlan, experiment: Experiment, log: Log) -> Run:
    """Build everything, and restore the state that the experiment goes on from.

    Raises:
        DarkroomError: what only the built parts could tell: files, weights, devices, module paths.
    """
    device = choose_device(plan.run.gpu_ids, log.warn)
    amp = choose_precision(plan.train.amp, device, log.say, force=plan.train.amp_force)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = plan.train.tf32
    torch.backends.cudnn.benchmark = True  # crops have one size
    log.say(f"Training on {describe(device)}.")
    model = make_model(plan, device, amp, experiment, log)
    plan = dataclasses.replace(plan, phases=derive_phases(plan, model))
    check_modules(plan, model)
    for network in model.networks.values():
        public_weights(network)  # what cannot be written is told now, not at the first checkpoint
    dataset, item = _open_dataset(plan, model, log)
    data = stream(
        dataset, plan.loader.batch_size, plan.run.seed, distributed.rank(), processes(),
        workers=plan.loader.workers, prefetch=plan.loader.prefetch, pin_memory=device.type == "cuda", warn=log.warn,
        workers_are=kind_of_workers(plan),
    )  # fmt: skip
    loop = _make_loop(plan, model, device, amp, data, log)
    averages = make_averages(plan, model, loop.players)
    loop.averages = tuple(averages.values())
    plateaus = {f"schedule_{n}": s for n, p in loop.players.items() if (s := plateau_of(p.schedule)) is not None}
    best = Best(plan.checkpoint.best, _higher(plan, plan.checkpoint.best)) if plan.checkpoint.best else None
    extra: dict[str, Stateful] = {**averages, **plateaus, **({"best": best} if best else {})}
    saver = _make_saver(plan, experiment, log, model, averages, {**loop.parts(), **extra})
    loop.step = plan.path.start
    if experiment.state is not None and experiment.state_file is not None:
        _restore(plan, saver, experiment.state, experiment.state_file, log)
    epoch = partial(_epoch, plan.loader.batch_size * processes() * plan.train.accumulate, len(dataset))
    observers: list[Observer] = [partial(_observe, schedule) for schedule in plateaus.values()]
    observers += [_keeper(best, saver)] if best else []
    judge = make_judge(plan, model, averages, log)
    validate = make_validate(plan, model, experiment, log, judge, epoch, observers)
    report, progress = Report(log, epoch, plan.logger.tensorboard_every), Progress(plan.logger.progress)
    chores = [Every(1, progress), Every(plan.logger.every, report)]
    if validate is not None:  # before the save, whose state then knows what the validation found
        chores.append(Every(plan.validate.every, validate))
    if plan.display is not None:
        display = make_display(plan, plan.display, [item], model, experiment.folder, log, judge)
        chores.append(Every(plan.display.every, display))
    if plan.logger.numbers:
        file = experiment.folder / plan.logger.numbers_file  # or wherever it says, if its path is absolute
        chores.append(Every(plan.logger.numbers_every, Numbers(file, plan.logger.numbers, epoch)))
    loop.chores = [*chores, Every(plan.checkpoint.every, saver)]
    packing = packing_of(plan, log.say) if distributed.rank() == 0 else None
    return Run(plan, loop, log, data, saver, report, progress, validate, experiment, packing)


def _open_dataset(plan: TrainPlan, model: Model, log: Log) -> tuple[ImageDataset, Mapping[str, Any]]:
    """The training set, and its first item as a batch of one."""
    dataset = make_dataset(plan.dataset, plan, model)
    log.say(f"Dataset train: {len(dataset):,} images")
    for note in dataset.notes:
        log.say(note)
    if refuses_misfits(plan.dataset):
        refuse_misfits("train", dataset.pairs(), plan.run.scale)
    return dataset, prove(dataset, plan.run.seed)


def _restore(plan: TrainPlan, saver: Saver, state: Mapping[str, Any], path: Path, log: Log) -> None:
    changed = changes(json.loads(state["options"]), plan.native())
    try:
        notes = restore(saver.parts, state, path)
    except CheckpointError as error:
        named = [line for line in changed if line.startswith(("model", "network_", "optim_", "losses"))]
        differences = "".join(f"\n  {line}" for line in named)
        raise CheckpointError(
            f"{error}\nThe state was made with other options (then -> now):{differences}\n"
            "Set them as they were then, or remove path.resume_state to start anew."
            if named
            else str(error)
        ) from None
    shown = (c for c in changed if not c.startswith("path.resume_state:"))  # that it goes on is known
    for line in (*notes, *(f"Changed since that state was saved: {c}" for c in shown)):
        log.say(line)


def _make_loop(
    plan: TrainPlan, model: Model, device: torch.device, amp: torch.dtype | None, data: Stream, log: Log
) -> Loop:
    players = {name: make_player(plan, name, p, model) for name, p in plan.players.items()}
    terms = [term for t in plan.terms for term in make_terms(plan, t, model, device)]
    for term in terms:
        term.loss.to(device)
    return Loop(
        model, players, terms, PhaseSchedule(plan.phases), data.batches,
        plan.train.iterations, prepare=partial(prepare, channels_last=plan.train.channels_last), device=device,
        augment=make_augment(plan), frozen=frozen_layers(plan, model), accumulate=plan.train.accumulate,
        seed=plan.run.seed, amp=amp, guard=Guard(plan.train.nonfinite_limit, log.warn),
    )  # fmt: skip


def _epoch(items_per_step: int, length: int, step: int) -> int:
    return step * items_per_step // length


def _observe(schedule: Plateau, step: int, means: Mapping[str, float]) -> None:
    del step
    if schedule.metric in means:
        schedule.observe(means[schedule.metric])


def _keeper(best: Best, saver: Saver) -> Observer:
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
    averages: Mapping[str, Average], parts: Mapping[str, Stateful],
) -> Saver:  # fmt: skip
    def weights() -> dict[str, dict[str, Tensor]]:
        raw = {n: public_weights(m) for n, m in model.learners.items()}
        started = {kind: average for kind, average in averages.items() if average.started}
        averaged = {f"{kind}{n}": public_weights(m) for kind, a in started.items() for n, m in a.networks.items()}
        return {**raw, **averaged}

    o = plan.checkpoint
    containers = {n: m.container for n, m in model.learners.items() if isinstance(m, Network)}
    return Saver(
        experiment.folder, parts, json.dumps(plan.native()), weights, save_weights,
        partial(_publish, o.publish, containers), suffix=f".{o.format}",
        keep=o.keep, overwrite=o.overwrite, background=o.background, say=log.say,
    )  # fmt: skip


def _publish(
    files: Mapping[str, str],
    containers: Mapping[str, str | None],
    step: int,
    weights: Mapping[str, Mapping[str, Tensor]],
) -> None:
    for name, file in files.items():
        path, container = Path(file.replace("{step}", str(step))), containers[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        content = weights[name] if container is None else {"iteration": step, container: dict(weights[name])}
        write_whole(path, partial(torch.save, content))


def dump(options: Mapping[str, Any]) -> str:
    """Native options as YAML."""
    return yaml.safe_dump(json.loads(json.dumps(options)), sort_keys=False, allow_unicode=True, width=120)


def _refuse_finished(plan: TrainPlan, experiment: Experiment) -> None:
    if experiment.state is not None and experiment.step >= plan.train.iterations:
        raise NothingToDoError(
            f"{experiment.state_file}: already at iteration {experiment.step:,} of {plan.train.iterations:,}: nothing "
            "to do. To train further, raise train.niter (natively train.iterations)."
        )


def open_run(plan: TrainPlan, notes: Sequence[str], source: Path, *, announce: bool = True) -> Run:
    """Join the other processes, build the run, and only then make the experiment's folder ready for it.

    The first line, if ``announce``, says whether an earlier run goes on or was archived. The options go into the folder
    as they were written, and in their native form with every default.

    Raises:
        DarkroomError: the run cannot be built, or has ended already; then an earlier one is as it was.
    """
    distributed.setup(choose_device(plan.run.gpu_ids, lambda message: None))
    first = distributed.rank() == 0
    log, root, written = Log(), Path(plan.path.root).expanduser(), source.read_text(encoding="utf-8-sig")
    folder = root / "experiments" / plan.run.name
    experiment = None
    try:
        if first and plan.run.sample_photographs and (count := write_sample(Path(plan.run.sample_photographs))):
            log.say(f"{count} sample photographs are written to {plan.run.sample_photographs}")
        if first:
            experiment = enter(root, plan.run.name, plan.path.resume_state, log.warn)
        distributed.barrier()
        if experiment is None:
            experiment = Experiment(folder, *find_state(folder, plan.path.resume_state, log.warn))
        _refuse_finished(plan, experiment)
        if experiment.state is None:
            check_pretrained(plan)
        run = make_run(plan, experiment, log)
        distributed.barrier()  # nobody reads in the folder any more
        board = Path(plan.logger.tensorboard_dir) if plan.logger.tensorboard_dir else None
        message = experiment.begin(board) if first else ""
    except BaseException:
        log.close(failed=True)
        if experiment is not None and experiment.lock is not None:
            experiment.lock.release()
        raise
    distributed.barrier()
    tensorboard = (board or folder / "tb") if plan.logger.tensorboard else None
    log.open(folder if plan.logger.files else None, tensorboard, first=(message, *notes) if announce else ())
    if first:
        (folder / f"options{source.suffix}").write_text(written, encoding="utf-8")
        (folder / "native.yml").write_text(dump(plan.native()), encoding="utf-8")
    return run
