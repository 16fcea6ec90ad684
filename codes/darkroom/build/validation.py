"""What validation is made of: sets, metrics, images, the averaged weights, tiles."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..config.options import DisplayOptions, MetricOptions
from ..config.planner import Plan
from ..core.collective import processes
from ..core.errors import OptionErrors
from ..core.model import Model
from ..data.dataset import ImageDataset
from ..data.images import write
from ..data.stream import stream, whole
from ..data.survey import refuse_misfits
from ..engine import distributed
from ..engine.experiment import Experiment
from ..engine.logs import Log
from ..engine.validate import Display, ImageFiles, Judge, Measure, Observer, Rows, Validate, mean
from ..inference.sheets import sheet
from ..inference.tiles import Tiler
from ..metrics import Metric, SetMetric
from ..optim.averages import Average
from .parts import generators, make_dataset, refuses_misfits
from .plan import TrainPlan


def make_judge(plan: TrainPlan, model: Model, averages: Mapping[str, Average], log: Log) -> Judge:
    """What runs the model at validation: the averages of its weights that count, in tiles where memory is short."""
    kinds = [*(["ema"] if plan.ema is not None and plan.ema.validate else []), "swa", "sf"]
    averaged = next((partial(_averaged, averages[kind]) for kind in kinds if kind in averages), _as_it_is)
    unit = max((network.multiple_of for network in generators(plan, model).values()), default=1)
    tile = plan.validate.tile
    overlap = 32 if tile is None else min(32, tile // 2 // unit * unit)
    return Judge(partial(_infer, Tiler(plan.run.scale, unit, tile, overlap, say=log.say)), averaged)


def make_validate(
    plan: TrainPlan, model: Model, experiment: Experiment, log: Log, judge: Judge,
    epoch: Callable[[int], int], observers: list[Observer],
) -> Validate | None:  # fmt: skip
    """The chore that validates, or None without validation sets."""
    if not plan.sets:
        return None
    o = plan.validate
    sets = {
        s.name or key: partial(_share, _fitting(plan, key, p, model, log), s.workers, {}, log)
        for key, (s, p) in plan.sets.items()
    }
    measures = [_measure(m, p) for m, p in plan.metrics]
    images = ImageFiles(
        experiment.folder / "val_images", _write_image, _draw, model.sheet, model.images, plan.run.scale,
        o.comparison, o.overwrite, o.save_gt, o.save_lr,
    )  # fmt: skip
    return Validate(sets, measures, judge, log, epoch, images if o.save_images else None, observers)


def make_display(
    plan: TrainPlan, options: DisplayOptions, items: Sequence[Mapping[str, Any]], model: Model, folder: Path, log: Log,
    judge: Judge,
) -> Display:  # fmt: skip
    """The chore that shows what becomes of ``items``, batches of one, or of those of the set that ``options`` name.

    Raises:
        OptionErrors: there is no validation set.
    """
    if options.of == "val":
        if not plan.sets:
            raise OptionErrors([f"{plan.file.where('display')}: display.of: there is no validation set"])
        key, (_, planned) = next(iter(plan.sets.items()))
        items = [*islice(whole(_fitting(plan, key, planned, model, Log())), options.images)]
    elif options.images > 1:
        dataset, seed = make_dataset(plan.dataset, plan, model), plan.run.seed
        items = [*islice(stream(dataset, 1, seed).batches(), options.images)]
    rows = model.sheet or (("input", "output", "target"),)
    target = folder / "disp_images" if options.folder is None else Path(options.folder)
    return Display(items, judge, _draw, rows, target, log, options.overwrite)


def over(metric: Metric | SetMetric) -> Callable[[Sequence[Any]], float]:
    """What makes one value of a metric's values of all images: for most metrics their mean."""
    return metric.over if isinstance(metric, SetMetric) else mean


def _measure(options: MetricOptions, planned: Plan) -> Measure:
    metric = planned.make()
    return Measure(options.name or planned.type, metric, options.of, options.to, bool(metric.higher), over(metric))


def _fitting(plan: TrainPlan, key: str, planned: Plan, model: Model, log: Log) -> ImageDataset:
    dataset = make_dataset(planned, plan, model)
    log.say(f"Dataset {key}: {len(dataset):,} images")
    if refuses_misfits(planned):
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
        return model.shown(model.sample(batch, bind))

    names: list[str] = []

    def run(image: Tensor) -> Tensor:
        """All images of a tile, one behind the other."""
        found = model.shown(model.sample({**batch, str(model.tiles): image}, bind))
        names[:] = found
        return torch.cat([*found.values()], dim=1)

    images = tiler(run, batch[model.tiles])
    return dict(zip(names, images.chunk(len(names), dim=1), strict=True))


def _draw(path: Path, rows: Rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [[(name, _colour(image)) for name, image in row] for row in rows]
    write(path, sheet(cells))


def _colour(image: Tensor) -> np.ndarray:
    """(C, H, W) -> (H, W, 3)."""
    return image.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()


def _write_image(path: Path, image: Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, image.permute(1, 2, 0).contiguous().numpy())
