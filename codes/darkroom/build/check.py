"""train.py --check: everything that can go wrong in days of training, tried in a minute."""

from __future__ import annotations

import dataclasses
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ..config.options import LogOptions
from ..core.errors import DataError
from ..data.survey import Survey, survey
from ..engine.checkpoint import read_state, restore
from ..engine.chores import clock
from ..engine.logs import Log
from .parts import refuses_misfits
from .plan import TrainPlan
from .training import Run, open_run


def check(plan: TrainPlan, notes: Sequence[str], source: Path) -> int:
    """Look at every image, train one step of every phase, validate one image, save and load; then say what to expect.

    Nothing is left behind. The exit code is 0 if training can start and nothing would be left out.

    Raises:
        DarkroomError: what would have stopped the training.
    """
    for line in ("Options: correct.", *notes):
        _say(line)
    if plan.run.sample_photographs:
        from ..data.photographs import write_sample

        write_sample(Path(plan.run.sample_photographs))
    problems = 0
    for name, planned in {"train": plan.dataset, **{name: p for name, (_, p) in plan.sets.items()}}.items():
        found = _look(name, planned.make(), plan.run.scale, refuses_misfits(planned))
        problems += len(found.unreadable) + len(found.mismatched)
    with tempfile.TemporaryDirectory(prefix="darkroom-check-") as folder:
        path = dataclasses.replace(plan.path, root=folder, resume_state=None)
        logger = LogOptions(tensorboard=False, files=False, progress=False)
        checkpoint = dataclasses.replace(plan.checkpoint, best=None, publish={})
        tried = dataclasses.replace(plan, path=path, logger=logger, checkpoint=checkpoint)
        run = open_run(tried, (), source, announce=False)
        try:
            seconds = _train(run)
            validation = _validate(run)
            size = _save(run)
        finally:
            run.close()
    _summary(plan, run, seconds, validation, size)
    if problems:
        _say(f"Training can start, but {problems} files cannot be used and would be left out: see above.")
        return 1
    _say("Training can start.")
    return 0


def _say(line: str) -> None:
    tqdm.write(line, file=sys.stdout)


def _look(name: str, dataset: Any, scale: int, refuse: bool) -> Survey:
    with tqdm(total=len(dataset), unit="file", desc=f"headers of {name}", disable=None) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        found = survey(dataset.pairs(), scale, dataset.crop, dataset.strays, progress, refuse=refuse)
    _say(f"Dataset [{name}]: {found.report()}")
    if not found.usable:
        raise DataError(f"dataset {name!r}: none of its {found.targets} images can be used")
    return found


def _train(run: Run) -> float:
    """Seconds per iteration: two iterations of every phase, of which the second counts; the slowest phase's."""
    loop, slowest = run.loop, 0.0
    batches = loop.data(0)
    for network in loop.model.networks.values():
        network.train()
    for phase in loop.phases.phases:
        for _ in range(2):
            loop.step = phase.start
            start = time.perf_counter()
            loop.iterate([loop.on_device(next(batches)) for _ in range(loop.accumulate)])
            loop.guard.settle()
            seconds = time.perf_counter() - start
        slowest = max(slowest, seconds)
        losses = ", ".join(f"{k} {v:.4g}" for k, v in loop.meter.flush().items())
        _say(f"Training step [{phase.name}]: {seconds:.3f} s. {losses}")
    if loop.guard.skipped:
        raise DataError("the first training steps gave numbers that are not finite; see above for losses and files")
    loop.step = 0
    return slowest


def _validate(run: Run) -> float:
    """Seconds for all images of all validation sets, judged by the first of each."""
    if run.validate is None:
        _say("Validation: no validation set.")
        return 0.0
    sets, total, run.validate.log = run.validate.sets, 0.0, Log()  # what it measures now would alarm
    for (name, images), (_, planned) in zip(sets.items(), run.plan.sets.values(), strict=True):
        run.validate.sets = {name: partial(_first, images)}
        start = time.perf_counter()
        run.validate(run.loop)
        total += (time.perf_counter() - start) * len(planned.make())
    run.validate.log.close(failed=True)
    _say("Validation: one image of each set.")
    return total


def _first(images: Any) -> Iterator[Any]:
    return islice(images(), 1)


def _save(run: Run) -> float:
    """MiB of a checkpoint, written and read back."""
    run.saver.say = lambda line: None
    run.saver.save("check", run.loop.step)
    run.saver.close()
    path = run.experiment.folder / "training_state" / "check.state"
    restore(run.saver.parts, read_state(path), path)
    size = sum(p.stat().st_size for p in run.experiment.folder.glob("*/check*")) / 2**20
    _say(f"Checkpoint: {size:.1f} MiB, written and read back.")
    return size


def _summary(plan: TrainPlan, run: Run, seconds: float, validation: float, size: float) -> None:
    iterations = plan.train.iterations - plan.path.start
    validations = -(-iterations // plan.validate.every) if plan.sets else 0
    saves = -(-iterations // plan.checkpoint.every)
    kept = saves if plan.checkpoint.keep is None else min(saves, plan.checkpoint.keep)
    parameters = {n: sum(p.numel() for p in m.parameters()) for n, m in run.loop.model.networks.items()}
    total = seconds * iterations + validation * validations
    _say("")
    _say("Parameters:      " + ", ".join(f"{n} {count:,}" for n, count in parameters.items()))
    _say(f"Memory:          {_memory(run.loop.device)}")
    batch = f"batch {plan.loader.batch_size} x {plan.train.accumulate}"
    _say(f"Iteration:       {seconds:.3f} s on {run.loop.device}, {batch}")
    _say(f"Checkpoints:     {kept} of {size:.1f} MiB on the disk at the end")
    _say(f"Until the end:   {clock(total)} for {iterations:,} iterations, {validations} validations among them")


def _memory(device: torch.device) -> str:
    if device.type == "cuda":
        free, whole = torch.cuda.mem_get_info(device)
        peak = torch.cuda.max_memory_reserved(device)
        return f"{peak >> 20} MiB at most, of {whole >> 20} ({free >> 20} free)"
    if platform.system() == "Windows":
        return "not measured on Windows"
    import resource

    unit = 2**20 if platform.system() == "Darwin" else 2**10
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit:.0f} MiB at most in this process"
