"""What validation is made of: sets, metrics, images, the averaged weights, tiles."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..config.options import MetricOptions
from ..config.planner import Plan
from ..core.collective import processes
from ..core.model import Model
from ..core.network import Network
from ..data.dataset import ImageDataset
from ..data.images import write
from ..data.stream import whole
from ..data.survey import refuse_misfits
from ..engine import distributed
from ..engine.experiment import Experiment
from ..engine.logs import Log
from ..engine.validate import ImageFiles, Measure, Observer, Validate, mean
from ..inference.tiles import Tiler
from ..metrics import Metric, SetMetric
from ..optim.averages import Average
from .plan import TrainPlan


def make_validate(
    plan: TrainPlan, model: Model, experiment: Experiment, log: Log, averages: Mapping[str, Average],
    epoch: Callable[[int], int], observers: list[Observer],
) -> Validate | None:  # fmt: skip
    """The chore that validates, or None without validation sets."""
    if not plan.sets:
        return None
    o = plan.validate
    sets = {
        s.name or key: partial(_share, _fitting(plan, key, p, log), s.workers, {}, log)
        for key, (s, p) in plan.sets.items()
    }
    measures = [_measure(m, p) for m, p in plan.metrics]
    images = ImageFiles(
        experiment.folder / "val_images", _write_image, plan.run.scale, o.comparison, o.overwrite, o.save_gt, o.save_lr
    )
    kinds = [*(["ema"] if plan.ema is not None and plan.ema.validate else []), "swa", "sf"]
    averaged = next((partial(_averaged, averages[kind]) for kind in kinds if kind in averages), _as_it_is)
    critics = {t.options.critic or "D" for t in plan.terms if t.adversarial}
    unit = max(
        (m.multiple_of for n, m in model.networks.items() if n not in critics and isinstance(m, Network)), default=1
    )
    overlap = 32 if o.tile is None else min(32, o.tile // 2 // unit * unit)
    infer = partial(_infer, Tiler(plan.run.scale, unit, o.tile, overlap, say=log.say))
    return Validate(sets, measures, infer, log, epoch, averaged, images if o.save_images else None, observers)


def over(metric: Metric | SetMetric) -> Callable[[Sequence[Any]], float]:
    """What makes one value of a metric's values of all images: for most metrics their mean."""
    return metric.over if isinstance(metric, SetMetric) else mean


def _measure(options: MetricOptions, planned: Plan) -> Measure:
    metric = planned.make()
    return Measure(options.name or planned.type, metric, options.of, options.to, bool(metric.higher), over(metric))


def _fitting(plan: TrainPlan, key: str, planned: Plan, log: Log) -> ImageDataset:
    dataset: ImageDataset = planned.make()
    log.say(f"Dataset {key}: {len(dataset):,} images")
    refuse_misfits(key, dataset.pairs(), plan.run.scale)
    return dataset


def _share(dataset: ImageDataset, workers: int, broken: dict[str, str], log: Log) -> Iterator[Mapping[str, Any]]:
    """This process's images; ``broken`` remembers those that were reported."""
    found: dict[str, str] = {}
    yield from whole(dataset, distributed.rank(), processes(), workers=workers, broken=found)
    for path in found.keys() - broken.keys():
        log.warn(f"left out of validation: {path}: {found[path]}")
    broken.update(found)


def _as_it_is(model: Model) -> Model:
    return model


def _averaged(average: Average, model: Model) -> Model:
    return dataclasses.replace(model, **average.networks) if average.started else model


def _infer(tiler: Tiler, model: Model, batch: Mapping[str, Any], bind: Mapping[str, str]) -> dict[str, Tensor]:
    if model.tiles is None:
        return model.infer(model.sample(batch, bind))

    names: list[str] = []

    def run(image: Tensor) -> Tensor:
        """All images of a tile, one behind the other."""
        found = model.infer(model.sample({**batch, str(model.tiles): image}, bind))
        names[:] = found
        return torch.cat([*found.values()], dim=1)

    images = tiler(run, batch[model.tiles])
    return dict(zip(names, images.chunk(len(names), dim=1), strict=True))


def _write_image(path: Path, image: Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, image.permute(1, 2, 0).contiguous().numpy())
