"""The chore that validates: runs whole images, measures, saves, compares with the best so far."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.model import Model
from . import distributed
from .logs import Log
from .loop import Batch, Loop

Infer = Callable[[Model, Batch, Mapping[str, str]], dict[str, Tensor]]
"""``infer(model, batch, bind)``: the images that a model makes of a batch of one."""

Observer = Callable[[int, Mapping[str, float]], None]
"""``observer(step, means)``: a schedule that watches a plateau, a keeper of the best."""


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean, also of values that are infinite."""
    return math.fsum(values) / len(values) if all(math.isfinite(v) for v in values) else sum(values) / len(values)


@dataclass(frozen=True)
class Measure:
    """A metric and the names of the two images that it compares."""

    name: str
    metric: Callable[[Tensor, Tensor], Any]
    of: str = "output"
    to: str = "target"
    higher: bool = True
    """Whether more is better."""
    over: Callable[[Sequence[Any]], float] = mean
    """Makes one value of those of all images."""


Rows = Sequence[Sequence[tuple[str, Tensor]]]
"""Rows of labelled (C, H, W) uint8 images."""


@dataclass(frozen=True)
class ImageFiles:
    """Which images are written, and under which names: ``<folder>/<image>/<image>_<iteration>.png``."""

    folder: Path
    write: Callable[[Path, Tensor], None]
    """Writes a (C, H, W) uint8 image."""
    draw: Callable[[Path, Rows], None]
    """Writes a labelled sheet, ``<image>_<iteration>_sheet.png``."""
    sheet: Sequence[Sequence[str]] = ()
    """What is on it."""
    given: Sequence[str] = ("input", "target")
    """Images that are not the model's."""
    scale: int = 1
    comparison: bool = False
    overwrite: bool = False
    save_gt: bool = False
    save_lr: bool = False

    def save(self, image: str, step: int, images: Mapping[str, Tensor]) -> None:
        """Write what the options ask for; ``images`` are (C, H, W) uint8, among them ``output``."""
        folder, image = self.folder / image, Path(image).name
        lr = images.get("input")
        enlarged = None if lr is None else lr.repeat_interleave(self.scale, 1).repeat_interleave(self.scale, 2)
        stem = image if self.overwrite else f"{image}_{step}"
        if self.sheet:
            self.draw(folder / f"{stem}_sheet.png", rows(self.sheet, images))
        for name, shown in images.items():
            if name in self.given:
                continue
            if self.comparison and enlarged is not None and enlarged.shape == shown.shape:
                shown = torch.cat([enlarged, shown], dim=2)
            self.write(folder / f"{stem if name == 'output' else f'{stem}_{name}'}.png", shown)
        for wanted, name, extra in ((self.save_gt, "GT", images.get("target")), (self.save_lr, "LQ", enlarged)):
            path = folder / f"{image}_{name}.png"
            if wanted and extra is not None and not path.exists():
                self.write(path, extra)


def rows(names: Sequence[Sequence[str]], images: Mapping[str, Tensor]) -> Rows:
    """Those of the images that there are, with their names."""
    return [[(name, images[name]) for name in row if name in images] for row in names]


@dataclass(frozen=True)
class Judge:
    """Runs the model as it is judged: in evaluation mode, with its averaged weights if there are any."""

    infer: Infer
    averaged: Callable[[Model], Model] = lambda model: model

    def __call__(self, loop: Loop, batch: Batch) -> dict[str, Tensor]:
        """The images that it makes of a prepared batch of one."""
        with self.judging(loop) as (model, bind):
            return self.infer(model, batch, bind)

    @contextlib.contextmanager
    def judging(self, loop: Loop) -> Iterator[tuple[Model, Mapping[str, str]]]:
        """The model, and what names mean now."""
        model = self.averaged(loop.model)
        was_training = {n: m.training for n, m in model.networks.items()}
        for network in model.networks.values():
            network.eval()
        bind = loop.phases.at(max(loop.step - 1, 0)).bind
        amp = torch.autocast(loop.device.type, dtype=loop.amp, enabled=loop.amp is not None)
        with torch.inference_mode(), amp:
            yield model, bind
        for name, network in model.networks.items():
            network.train(was_training[name])


@dataclass(eq=False)
class Display:
    """A chore: the model's images of some items, as a labelled sheet ``<folder>/<iteration>.png``."""

    batches: Sequence[Batch]
    """Of one item each."""
    judge: Judge
    draw: Callable[[Path, Rows], None]
    sheet: Sequence[Sequence[str]]
    folder: Path
    log: Log
    overwrite: bool = False
    """Keep only the newest, ``latest.png``."""

    def __call__(self, loop: Loop) -> None:
        """Draw the sheet; that the disk is full does not end the training."""
        if distributed.rank() != 0:
            return
        shown = [row for batch in self.batches for row in self._rows(loop, batch)]
        try:
            self.draw(self.folder / f"{'latest' if self.overwrite else loop.step}.png", shown)
        except OSError as error:
            self.log.warn(f"A sheet of images could not be written: {error}")

    def _rows(self, loop: Loop, batch: Batch) -> Rows:
        given = {k: v for k, v in loop.on_device(batch).items() if isinstance(v, Tensor)}
        images = {k: to_bytes(v[0]).cpu() for k, v in (given | self.judge(loop, given)).items() if v.ndim == 4}
        return rows(self.sheet, images)


@dataclass(eq=False)
class Validate:
    """Runs each set's images through the model (its averaged weights, if given), one by one, sharded over processes."""

    sets: Mapping[str, Callable[[], Iterator[Batch]]]
    """By name; each call gives this process's share of the images, as batches of one."""
    measures: Sequence[Measure]
    judge: Judge
    log: Log
    epoch: Callable[[int], int]
    files: ImageFiles | None = None
    observers: Sequence[Observer] = ()
    """Called with the means by metric of the first set."""
    means: dict[str, dict[str, float]] = field(default_factory=dict, init=False)
    """Of the last validation: by set, then by metric."""

    def __call__(self, loop: Loop) -> None:
        """Validate, and say the result."""
        for name, images in self.sets.items():
            rows = [self._image(loop, batch, f"{name}/" if len(self.sets) > 1 else "") for batch in images()]
            self.means[name] = self._over([row for part in distributed.gather(rows) for row in part])
            self._say(loop, name)
        first = next(iter(self.means.values()), {})
        for observe in self.observers:
            observe(loop.step, first)

    def _image(self, loop: Loop, batch: Batch, folder: str) -> dict[str, Any]:
        given = {k: v for k, v in loop.on_device(batch).items() if isinstance(v, Tensor) and v.ndim == 4}
        with self.judge.judging(loop) as (model, bind):
            outputs = self.judge.infer(model, given, bind)
            found = model.figures(model.sample(given, bind)) if {*model.reads} <= {*given} else {}
            for remark in model.remarks():
                self.log.warn(f"{batch['path'][0]}: {remark}")
        rounded = {k: to_bytes(v[0]) for k, v in (given | outputs).items()}
        if self.files is not None:
            name = folder + Path(str(batch["path"][0])).stem
            try:
                shown = {k: rounded[k].cpu() for k in (*outputs, *loop.model.images) if k in rounded}
                self.files.save(name, loop.step, shown)
            except OSError as error:
                self.log.warn(f"A validation image could not be written: {error}")
            self.log.image(f"val/{name}", rounded[next(iter(outputs))].cpu(), loop.step)
        exact = {k: v.float() / 255 for k, v in rounded.items()}
        measures = [m for m in self.measures if m.of in exact and m.to in exact]
        figures = {name: float(value) for name, value in found.items()}
        return {m.name: m.metric(exact[m.of], exact[m.to]) for m in measures} | figures

    def _over(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Each metric over the images that have it."""
        over = {m.name: m.over for m in self.measures}
        found = {name: [row[name] for row in rows if name in row] for name in {**over, **(rows[0] if rows else {})}}
        return {name: over.get(name, mean)(values) for name, values in found.items() if values}

    def _say(self, loop: Loop, name: str) -> None:
        means = self.means[name]
        which = "" if len(self.sets) == 1 else f" {name}:"
        found = ", ".join(f"{k.upper()}: {v:.5g}" for k, v in means.items())
        text = f"# Validation #{which} {found or 'nothing is measured; the images are in val_images'}"
        self.log.say(text)
        self.log.validation(f"<epoch:{self.epoch(loop.step):3d}, iter:{loop.step:8,d}> {text}")
        tagged = means if len(self.sets) == 1 else {f"{name}/{k}": v for k, v in means.items()}
        self.log.figures(loop.step, tagged)


def to_bytes(image: Tensor) -> Tensor:
    """An image in [0, 1] as it would be written: clipped, rounded, uint8."""
    return image.detach().float().clamp(0, 1).mul(255).round().to(torch.uint8)
