"""Runs a trained network over folders and test sets, and measures where there is ground truth."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..archs import ARCHS
from ..archs.wrappers import Consistent, Drawn, Guided, Lively, OneImage, Unsigned, WithMaps
from ..config.options import MetricOptions, PathOptions, RunOptions, SetOptions, TestOptions
from ..config.planner import Plan, Planner
from ..core.errors import DataError, OptionErrors
from ..core.network import Network
from ..core.registry import did_you_mean
from ..data import DATASETS
from ..data.colors import Color, recolored
from ..data.crops import resized
from ..data.dataset import ImageDataset, Prepared
from ..data.degrade.operation import Size
from ..data.images import Picture, as_bytes, read
from ..engine.logs import Log
from ..inference.allocator import keep_large_buffers
from ..inference.folder import (
    Job,
    Report,
    Results,
    Upscaler,
    UpscaleSettings,
    plan,
    upscale_folder,
    work_through,
)
from ..inference.weights import load_any, load_weights
from ..metrics import Metric, SetMetric
from .auto import recognisable, resolved
from .device import choose_device
from .paths import check_folders
from .plan import SUPPLIED, Options, plan_metrics
from .validation import over


@dataclass(frozen=True)
class TestPlan:
    """A test that is known to be constructible."""

    run: RunOptions
    test: TestOptions
    path: PathOptions
    network: Plan | None
    """None: whatever the weights file holds."""
    sets: Mapping[str, Plan]
    """Test sets by the name of their folder of results."""
    metrics: Sequence[tuple[MetricOptions, Plan]]


def plan_testing(options: Options) -> TestPlan:
    """Check everything that the options of a test say.

    Raises:
        OptionErrors: all that is wrong, each with its place.
    """
    file, p = options.file, Planner(options.file, options.errors)
    if "train" in file:
        text = "this is a training file (it has a section train); for a test copy options/sr/test_sr.yml"
        raise OptionErrors([f"{file.where('train')}: {text}"])
    top = [f.name for f in dataclasses.fields(RunOptions)]
    known = [*top, "model", "datasets", "network_G", "test", "path"]
    for key in file:
        if key not in known:
            p.error(file.where(key), f"there is no section {key!r} in a test.{did_you_mean(key, known)}")
    run = p.options(RunOptions, file.only(top), "the top of the file")
    test = p.options(TestOptions, file.section("test"))
    path = p.options(PathOptions, file.section("path"))
    network = p.component(ARCHS, resolved(p, "network_G", "G", options.notes)) if "network_G" in file else None
    sets: dict[str, Plan] = {}
    for key in file.section("datasets"):
        section = file.section("datasets").section(key)
        loader, rest = p.split(SetOptions, section)
        dataset = p.component(DATASETS, rest, SUPPLIED, SetOptions)
        name = (loader.name if loader else None) or key
        if name in sets:
            p.error(section.where(), f"two test sets are called {name!r}: their results would overwrite each other")
        if dataset is not None:
            sets[name] = dataset
    if not sets and not p.errors:
        p.error(file.where("datasets"), "a test needs at least one dataset")
    if path is not None and "G" not in path.pretrain:
        p.error(
            file.where("path"), "a test needs path.pretrain_model_G (natively path.pretrain: {G: ...}), the weights"
        )
    metrics = plan_metrics(p, file.section("test"))
    p.check()
    assert run is not None
    assert test is not None
    assert path is not None
    check_folders(p, sets)
    return TestPlan(run, test, path, network, sets, metrics)


def load_network(
    weights: Path, planned: Plan | None, scale: int | None, strict: bool, say: Callable[[str], None]
) -> Network:
    """The network of the options with these weights; without options, the one that the file turns out to hold."""
    if planned is None:
        return load_any(weights, recognisable(), scale)
    network: Network = planned.make()
    for note in load_weights(network, weights, strict):
        say(note)
    return network


def run_tests(plan: TestPlan) -> int:
    """Run every test set into ``results/<name>/<set>``; the exit code is 1 if a file failed."""
    keep_large_buffers()
    root = Path(plan.path.root).expanduser() / "results" / plan.run.name
    root.mkdir(parents=True, exist_ok=True)
    log = Log()
    log.open(root, None, kind="test")
    try:
        device = choose_device(plan.run.gpu_ids, log.warn)
        weights = Path(plan.path.pretrain["G"]).expanduser()
        network = load_network(weights, plan.network, plan.run.scale, plan.path.strict, log.say)
        test = plan.test
        log.say(f"{type(network).__name__} x{network.scale} from {weights}, on {device}")
        network = translating(_complete(network, plan.path, log.say), test, plan.run.seed)
        settings = UpscaleSettings(
            tile=test.tile, overlap=test.overlap, self_ensemble=test.self_ensemble, suffix=test.suffix
        )
        upscalers = {
            suffix: make_upscaler(one, settings, device, log.say)
            for suffix, one in _views(network, test, plan.run.seed).items()
        }
        failed = 0
        for name, planned in plan.sets.items():
            dataset = planned.make()
            kernel = dataset.kernels[0] if dataset.kernels else "cubic"
            metrics = _metrics(plan)
            whole = dataset.whole if isinstance(dataset, Prepared) else None
            pairs = pairs_of(dataset)
            colors = (planned.arguments.get(f"{side}_color", "rgb") for side in ("input", "target"))
            test_set = TestSet(
                name, pairs, upscalers, plan.run.scale, test.comparison, metrics, kernel, whole, (*colors,)
            )
            failed += len(test_set.run(root / name, settings, log).failed)
    finally:
        log.close()
    return 1 if failed else 0


def _complete(network: Network, path: PathOptions, say: Callable[[str], None]) -> Network:
    """The network with what it needs to run on images alone.

    Raises:
        OptionErrors: that is not said.
    """
    if network.reads == ("input",):
        return network
    file = path.pretrain.get("S")
    if file is None:
        what = f"{type(network).__name__} reads maps of what is where"
        raise OptionErrors([f"path: {what}; write pretrain_model_seg, the weights of the network that makes them"])
    segmentation = ARCHS["outdoor_scene_seg"]()
    for note in load_weights(segmentation, Path(file).expanduser(), path.strict):
        say(note)
    return WithMaps(network, segmentation)


def translating(network: Network, test: TestOptions, seed: int = 0) -> Network:
    """The network as a function of images in [0, 1], with what the options say of image-to-image translation."""
    signed = network.signed if test.signed is None else test.signed
    for key, kind in (("dropout", nn.Dropout), ("batch_statistics", nn.BatchNorm2d)):
        if getattr(test, key) and not any(isinstance(layer, kind) for layer in network.modules()):
            hint = " (write use_dropout: true in network_G)" if kind is nn.Dropout else ""
            raise OptionErrors([f"test.{key}: {type(network).__name__} has no {kind.__name__}{hint}; remove it"])
    if test.dropout or test.batch_statistics:
        network = Lively(network, seed, dropout=test.dropout, batch_statistics=test.batch_statistics)
    if test.guided_filter is not None:
        network = Guided(network, 1, test.guided_filter)
    return Unsigned(network) if signed else network


def _views(network: Network, test: TestOptions, seed: int) -> dict[str, Network]:
    """What makes each of the results, by what their files' names end in: the image asked for, and all that there are.

    Raises:
        OptionErrors: there is no such image.
    """
    names = network.image_names
    try:
        views: dict[str, Network] = {"": OneImage(network, test.image or names[-1])}
    except ValueError as error:
        raise OptionErrors([f"test.image: {error}"]) from None
    views |= {f"_{name}": OneImage(network, name) for name in names if len(names) > 1}
    if test.heats and type(network).sample is Network.sample:
        raise OptionErrors([f"test.heats: {type(network).__name__} makes one image only; remove it"])
    drawn = {f"_h{heat:g}_{n}": Drawn(network, heat, seed + n) for heat in test.heats for n in range(test.n_sample)}
    views = {**views, **drawn}
    if test.consistency is None:
        return views
    return {suffix: Consistent(view, test.consistency) for suffix, view in views.items()}


def make_upscaler(
    network: Network, settings: UpscaleSettings, device: torch.device, say: Callable[[str], None]
) -> Upscaler:
    """The network ready to run.

    Raises:
        OptionErrors: tiles and overlap do not go together.
    """
    try:
        return Upscaler(network, settings, in_nc=input_channels(network), device=device, say=say)
    except ValueError as error:
        raise OptionErrors([str(error)]) from None


def _metrics(plan: TestPlan) -> dict[str, Metric | SetMetric]:
    return {o.name or m.type: m.make() for o, m in plan.metrics}


def pairs_of(dataset: ImageDataset) -> list[tuple[Path | None, Path | None]]:
    """(target, input) of each item: a target without an input is made small first.

    Raises:
        OptionErrors: it is not for tests.
    """
    if "target" in dataset.yields:
        return [(target, given) for target, given in dataset.pairs()]
    if "input" not in dataset.yields:
        raise OptionErrors([f"datasets: a test runs on mode single or aligned, not on what gives {dataset.yields}"])
    return [(None, given) for given, _ in dataset.pairs()]


def input_channels(network: Network) -> int:
    """How many channels the first convolution takes, as images have 1 or 3."""
    first = next(w for w in network.parameters() if w.ndim == 4)
    return 1 if first.shape[1] in (1, 4, 16) else 3


@dataclass(eq=False)
class TestSet:
    """One test set: LR files, or HR files that are made small first; measured where the target is known."""

    name: str
    pairs: Sequence[tuple[Path | None, Path | None]]
    upscalers: Mapping[str, Upscaler]
    """By what the names of their results end in; nothing is the result that is measured."""
    scale: int
    comparison: bool
    metrics: Mapping[str, Metric | SetMetric]
    kernel: str = "cubic"
    """What makes the input of a target that has none."""
    whole: Callable[[Picture, Picture | None], tuple[Picture, Picture | None]] | None = None
    """Makes input and target of the pictures of two files, where they are not simply these."""
    colors: tuple[Color, Color] = ("rgb", "rgb")
    """What input and target are converted to."""
    values: dict[Path, dict[str, Any]] = field(default_factory=dict, init=False)
    """By input, then by metric."""

    def run(self, output: Path, settings: UpscaleSettings, log: Log) -> Report:
        """Write the results into ``output`` and say the metrics."""
        self._targets = {i or t: t for t, i in self.pairs}
        self._made = {t for t, i in self.pairs if i is None}
        sources = [i or t for t, i in self.pairs]
        jobs = plan([s for s in sources if s is not None], output, settings, [*self.upscalers])
        log.say(f"Testing [{self.name}]: {len(jobs)} images into {output}")
        report = work_through(jobs, self._work, on_result=lambda job, _: self._say(job, log), say=log.warn)
        log.say(f"[{self.name}]: {report}")
        if self.values:
            log.say(f"----Average metrics results for {self.name}----\n{self._averages()}")
        return report

    def _work(self, job: Job, picture: Picture) -> Results:
        pair = zip(self._pair(job.source, picture), self.colors, strict=True)
        given, truth = (image and recolored(image, color) for image, color in pair)
        assert given is not None
        results = {suffix: upscaler(given) for suffix, upscaler in self.upscalers.items()}
        if truth is not None and self.metrics:
            self.values[job.source] = self._measure(results[""], truth, self._targets[job.source] or job.source)
        if not self.comparison:
            return results
        return {suffix: beside(given, result, self.upscalers[suffix].scale) for suffix, result in results.items()}

    def _pair(self, source: Path, picture: Picture) -> tuple[Picture, Picture | None]:
        """Input and target."""
        target = self._targets.get(source)
        if self.whole is not None:
            alone = target is None or source in self._made
            return self.whole(picture, None) if alone else self.whole(read(target or source), picture)
        if source in self._made:
            return self._shrunk(picture), picture
        return picture, None if target is None or not self.metrics else read(target)

    def _shrunk(self, picture: Picture) -> Picture:
        height, width = (s // self.scale * self.scale for s in picture.pixels.shape[:2])
        if not height or not width:
            raise DataError(f"{picture.pixels.shape[1]}x{picture.pixels.shape[0]} is too small for scale {self.scale}")
        small = Size(height // self.scale, width // self.scale)
        return Picture(resized(as_bytes(picture.pixels)[:height, :width], small, self.kernel))

    def _measure(self, result: Picture, truth: Picture, path: Path) -> dict[str, Any]:
        height, width = result.pixels.shape[:2]
        if not (0 <= truth.pixels.shape[0] - height < self.scale and 0 <= truth.pixels.shape[1] - width < self.scale):
            size = f"{truth.pixels.shape[1]}x{truth.pixels.shape[0]}"
            raise DataError(f"the result is {width}x{height}, but {path} is {size}: is the scale {self.scale}?")
        return measured(self.metrics, result.pixels, truth.pixels[:height, :width])

    def _say(self, job: Job, log: Log) -> None:
        values = {n: v for n, v in self.values.get(job.source, {}).items() if isinstance(v, float)}
        if values:
            log.say(f"{job.source.stem} - " + ", ".join(f"{n.upper()}: {v:.5g}" for n, v in values.items()))

    def _averages(self) -> str:
        """RGB first, then what is measured on Y, as the known logs have it."""
        names = list(self.metrics)
        lines = []
        for title, group in (
            ("", [n for n in names if not n.endswith("_y")]),
            ("Y: ", [n for n in names if n.endswith("_y")]),
        ):
            if group:
                means = {n: over(self.metrics[n])([v[n] for v in self.values.values()]) for n in group}
                lines.append(title + ", ".join(f"{n.upper()}: {v:.5g}" for n, v in means.items()))
        return "\n".join(lines)


def measured(
    metrics: Mapping[str, Metric | SetMetric], result: np.ndarray, truth: np.ndarray, device: torch.device | str = "cpu"
) -> dict[str, Any]:
    """Each metric of two pictures (H, W, C) of one size, of which one may be gray."""
    images = [_unit(pixels).to(device) for pixels in (result, truth)]
    channels = max(i.shape[0] for i in images)
    a, b = (i.expand(channels, -1, -1) for i in images)
    return {name: metric(a, b) for name, metric in metrics.items()}


def _unit(pixels: np.ndarray) -> torch.Tensor:
    """(H, W, C) -> (C, H, W) in [0, 1], rounded to 8 bits, as metrics take it."""
    return torch.from_numpy(np.ascontiguousarray(as_bytes(pixels))).permute(2, 0, 1).float() / 255


def beside(given: Picture, result: Picture, scale: int) -> Picture:
    """The input, enlarged by repeating pixels, and the result in one picture."""
    small = as_bytes(given.pixels).repeat(scale, axis=0).repeat(scale, axis=1)
    large = as_bytes(result.pixels)
    channels = max(small.shape[2], large.shape[2])
    parts = [np.broadcast_to(p, (*p.shape[:2], channels)) if p.shape[2] == 1 else p for p in (small, large)]
    return Picture(pixels=np.concatenate(parts, axis=1))


def parse_device(text: str | None) -> tuple[int, ...] | None:
    """``cpu``, ``cuda`` or ``cuda:1`` as ``gpu_ids``.

    Raises:
        OptionErrors: it is none of them, or there is no such GPU.
    """
    if text is None:
        return None
    if text == "cpu":
        return ()
    match = re.fullmatch(r"cuda(?::(\d+))?", text)
    if match is None:
        raise OptionErrors([f"--device: expected cpu, cuda or cuda:N, found {text!r}"])
    number, count = int(match[1] or 0), torch.cuda.device_count()
    if number >= count:
        there = f"this machine has {count}, from 0 on" if count else "PyTorch finds none on this machine; write cpu"
        raise OptionErrors([f"--device {text}: there is no GPU {number}; {there}"])
    return (number,)


def upscale(
    inputs: Sequence[Path], model: Path, output: Path, *, scale: int | None, device: str | None,
    say: Callable[[str], None], **settings: Any,
) -> int:  # fmt: skip
    """Every image of ``inputs`` through the network in ``model``; the exit code is 1 if a file failed.

    Raises:
        DarkroomError: there is nothing to read, or the model cannot be loaded.
    """
    keep_large_buffers()
    target = choose_device(parse_device(device), say)
    network = load_network(model, None, scale, strict=True, say=say)
    say(f"{type(network).__name__} x{network.scale} from {model}, on {target}")
    network = translating(network, TestOptions())
    try:
        chosen = UpscaleSettings(**settings)
    except ValueError as error:
        raise OptionErrors([str(error)]) from None
    try:
        report = upscale_folder(network, inputs, output, chosen, in_nc=input_channels(network), device=target, say=say)
    except ValueError as error:
        raise OptionErrors([str(error)]) from None
    say(f"{report}\nResults: {output}")
    return 1 if report.failed else 0
