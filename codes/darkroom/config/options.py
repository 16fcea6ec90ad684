"""The sections of an option file that belong to the framework. All else is a component: ``type`` and its arguments.

Every field is an option, its annotation the allowed values, its default what a missing key means, and the text below it
what docs/options.md says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


def _at_least(least: float, **values: float | None) -> None:
    for name, value in values.items():
        if value is not None and value < least:
            raise ValueError(f"{name}: expected at least {least:g}, found {value:g}")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """The top of the file."""

    name: str
    """Name of the experiment and of its folder below ``experiments``."""
    scale: int = 1
    """Side of the output over side of the input. It reaches every component that has a parameter ``scale``."""
    seed: int = 0
    """All random numbers of the run follow from it."""
    gpu_ids: tuple[int, ...] | None = None
    """GPUs to train on; ``[]`` is the CPU; several start one process each. Default: the first GPU, else the CPU."""

    sample_photographs: str | None = None
    """A folder into which free sample photographs are written before training, unless they are there."""

    pack: bool = False
    """Read raw pixels rather than image files: all images are decoded once, in the background while training starts,
    and kept for later runs. See docs/reading.md."""
    pack_store: str = "datasets/.packed"
    """The folder where they are kept; several runs may use one."""
    pack_limit_gb: float = 100.0
    """How large that folder may become."""

    def __post_init__(self) -> None:
        """Check what a single value cannot say."""
        if self.pack_limit_gb <= 0:
            raise ValueError(f"pack_limit_gb: expected more than 0, found {self.pack_limit_gb:g}")
        if not self.name or any(c in self.name for c in '\\/:*?"<>|'):
            raise ValueError(f"name: expected a name that a folder can have, found {self.name!r}")
        _at_least(1, scale=self.scale)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainOptions:
    """Section ``train``."""

    iterations: int
    """How long to train. Every count of the file is in iterations: one step of each optimizer that is due."""
    accumulate: int = 1
    """Micro-batches per iteration; the effective batch is ``batch_size * accumulate * processes``."""
    amp: Literal["off", "auto", "bf16", "fp16"] = "off"
    """Mixed precision; ``auto`` takes what the device is fast in: bf16, else fp16 on CUDA, else none."""
    amp_force: bool = False
    """Use bf16 also on a processor that only emulates it (20-30 times slower)."""
    channels_last: bool = False
    """Memory layout of networks and images; faster for many networks, slower for some."""
    compile: bool = False
    """``torch.compile`` the networks: a slow first iteration, then often a faster one."""
    tf32: bool = True
    """Let CUDA multiply float32 matrices in TF32."""
    nonfinite_limit: int = 20
    """How many iterations in a row may be skipped for non-finite gradients before the run stops."""

    def __post_init__(self) -> None:
        """Check what a single value cannot say."""
        _at_least(1, iterations=self.iterations, accumulate=self.accumulate, nonfinite_limit=self.nonfinite_limit)


@dataclass(frozen=True, kw_only=True, slots=True)
class LoaderOptions:
    """What ``datasets.train`` may have besides the arguments of its dataset."""

    batch_size: int = 8
    """Items per micro-batch and process."""
    workers: int = 2
    """Processes or threads that read images; 0 reads in the training process itself, between its steps."""
    workers_are: Literal["auto", "processes", "threads"] = "auto"
    """``auto`` takes threads where images are packed and not degraded on the CPU: packed pixels are read faster than
    they are sent from one process to another."""
    prefetch: int = 2
    """Batches that each worker prepares ahead."""
    name: str | None = None
    """What the log calls the dataset."""

    def __post_init__(self) -> None:
        """Check what a single value cannot say."""
        _at_least(1, batch_size=self.batch_size, prefetch=self.prefetch)
        _at_least(0, workers=self.workers)


@dataclass(frozen=True, kw_only=True, slots=True)
class SetOptions:
    """What a dataset for validation or test may have besides the arguments of its dataset."""

    name: str | None = None
    """What the log calls it; for tests, the folder of its results."""
    workers: int = 0
    """Processes that read images ahead during validation; 0 reads in the training process."""

    def __post_init__(self) -> None:
        """Check what a single value cannot say."""
        _at_least(0, workers=self.workers)


@dataclass(frozen=True, kw_only=True, slots=True)
class TermOptions:
    """What every entry of ``losses`` may have besides the arguments of its loss."""

    name: str | None = None
    """What the log and a phase's ``losses`` call it. Default: its type."""
    weight: float = 1.0
    """Factor in the objective."""
    scale: float = 1.0
    """Another one, of which the log shows nothing: how much all losses of one kind count."""
    player: str | None = None
    """Whose objective it is part of. Default: the first player that is not a discriminator."""
    of: str = "output"
    """The tensor that is judged."""
    to: str = "target"
    """The tensor that it is compared with."""
    critic: str | None = None
    """The network that judges, for adversarial losses. Default: ``D``."""
    given: str | None = None
    """A tensor that is concatenated to what the critic sees."""
    pool: int = 0
    """Size of the history of outputs that the critic learns from; 0 is none."""
    augment: tuple[str, ...] = ()
    """How what the critic sees is changed, fake and real alike: color, translation, zoom, flip, rotate, cutout,
    transl_zoom (a translation or a zoom), offset, offset_h, offset_v (rolled round) and shift (by 0 to 7 pixels)."""

    def __post_init__(self) -> None:
        """Check what a single value cannot say."""
        _at_least(0, pool=self.pool)


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentOptions:
    """What every entry of ``batch_augment`` may have besides the arguments of its augmentation."""

    share: float = 1.0
    """How often it is chosen, relative to the others; one is chosen for every micro-batch."""

    def __post_init__(self) -> None:
        """Check what a single value cannot say."""
        _at_least(0, share=self.share)


@dataclass(frozen=True, kw_only=True, slots=True)
class PlayerOptions:
    """What every ``optim_*`` section may have besides the arguments of its optimizer."""

    every: int = 1
    """The player sits out the iterations that are not multiples of it."""
    clip: float | Literal["auto"] | None = None
    """Clip gradients at this norm or value; ``auto``: at the 10th percentile of the norms so far."""
    clip_by: Literal["norm", "value"] = "norm"
    """Scale the whole gradient, or cut each element."""
    freeze: int = 0
    """How many layers of its networks, from the input on, keep their (pretrained) weights: FreezeD."""

    def __post_init__(self) -> None:
        """Check what a single value cannot say."""
        _at_least(1, every=self.every)
        _at_least(0, freeze=self.freeze)
        if isinstance(self.clip, float) and self.clip <= 0:
            raise ValueError(f"clip: expected more than 0, found {self.clip:g}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleOptions:
    """What every ``schedule*`` section may have besides the arguments of its schedule."""

    warmup: int = 0
    """Iterations over which the learning rate rises from zero to what the schedule says."""

    def __post_init__(self) -> None:
        """Check what a single value cannot say."""
        _at_least(0, warmup=self.warmup)


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricOptions:
    """What every entry of ``validate.metrics`` may have besides the arguments of its metric."""

    name: str | None = None
    """What the log calls it. Default: its type."""
    of: str = "output"
    """The image that is measured."""
    to: str = "target"
    """The image that it is compared with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidateOptions:
    """Section ``validate``: what happens to the datasets ``val``, ``val_2``, ..."""

    every: int = 5000
    """Iterations between validations; also after the last one."""
    metrics: tuple[Mapping[str, object], ...] = field(default_factory=tuple)
    """Metrics, each ``{type, ...}`` and optionally ``name``, ``of`` (output) and ``to`` (target)."""
    save_images: bool = True
    """Write the outputs to ``val_images/<image>/<image>_<iteration>.png``."""
    comparison: bool = False
    """Write input and output side by side instead."""
    overwrite: bool = False
    """Keep only the newest: ``<image>.png``."""
    save_gt: bool = False
    """Also write ``<image>_GT.png``, once."""
    save_lr: bool = False
    """Also write the enlarged input, ``<image>_LQ.png``, once."""
    tile: int | None = None
    """Side of the tiles in which large images are run; default: whole images, smaller ones when memory runs out."""
    table: bool = False
    """After the last validation, print a table of model against bicubic and draw a labelled side-by-side picture."""

    def __post_init__(self) -> None:
        """Check what a single value cannot say."""
        _at_least(1, every=self.every, tile=self.tile)


@dataclass(frozen=True, kw_only=True, slots=True)
class DisplayOptions:
    """Section ``display``: a labelled sheet of what the model makes of some images."""

    every: int = 5000
    """Iterations between sheets, ``disp_images/<iteration>.png``."""
    overwrite: bool = False
    """Keep only the newest: ``latest.png``."""
    images: int = 1
    """How many items are shown."""
    of: Literal["train", "val"] = "train"
    """Whether they are the first of the training or of the validation set."""
    folder: str | None = None
    """Where the sheets go. Default: ``disp_images`` in the experiment's folder."""

    def __post_init__(self) -> None:
        """Check what a single value cannot say."""
        _at_least(1, every=self.every, images=self.images)


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointOptions:
    """Section ``checkpoint``."""

    every: int = 5000
    """Iterations between checkpoints; also after the last one."""
    keep: int | None = None
    """How many to keep; default: all."""
    best: str | None = None
    """Name of the metric by which the best weights are kept as ``best_<network>``."""
    overwrite: bool = False
    """Write ``latest`` instead of numbered files, with the one before it as ``previous``."""
    format: Literal["pth", "safetensors"] = "pth"
    """Of the weights in ``models``."""
    publish: Mapping[str, str] = field(default_factory=dict)
    """Further files to write weights to, by network; ``{step}`` in a path is the iteration."""
    background: bool = True
    """Write files while training goes on, from a snapshot."""

    def __post_init__(self) -> None:
        """Check what a single value cannot say."""
        _at_least(1, every=self.every, keep=self.keep)


@dataclass(frozen=True, kw_only=True, slots=True)
class LogOptions:
    """Section ``logger``."""

    every: int = 200
    """Iterations between lines."""
    tensorboard: bool = True
    """Write scalars and validation images for TensorBoard."""
    tensorboard_dir: str | None = None
    """Folder of the TensorBoard files. Default: ``tb`` in the experiment's folder."""
    tensorboard_every: int = 1
    """Write scalars at every so manieth line only."""
    files: bool = True
    """Write ``train_<date>.log``, ``val_<date>.log`` and ``metrics.jsonl``."""
    progress: bool = True
    """Show a progress bar where the output is a terminal."""
    numbers: tuple[str, ...] = ()
    """Figures that are also written as plain numbers: epoch, iteration, and these, separated by spaces."""
    numbers_file: str = "numbers.dat"
    """The file that they are appended to, a line each time."""
    numbers_every: int = 10
    """Iterations between its lines. They are of the iteration itself, no means."""

    def __post_init__(self) -> None:
        """Check what a single value cannot say."""
        _at_least(1, every=self.every, tensorboard_every=self.tensorboard_every, numbers_every=self.numbers_every)


@dataclass(frozen=True, kw_only=True, slots=True)
class PathOptions:
    """Section ``path``."""

    root: str = "."
    """Where ``experiments`` and ``results`` are."""
    resume_state: str | None = None
    """A ``.state`` file, a folder (its newest whole one), or ``auto`` (this experiment's newest, if there is one)."""
    pretrain: Mapping[str, str] = field(default_factory=dict)
    """Weights files by network, such as ``G: models/4x.pth``; training then starts from them at iteration 0."""
    start: int = 0
    """Iterations that the weights of ``pretrain`` have behind them: the run counts on from there."""
    strict: bool = True
    """Refuse weights files that lack keys or have others; ``false`` loads what fits and lists the rest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EMAOptions:
    """Section ``ema``: an exponential moving average of the generators, used for validation and saved beside them."""

    decay: float = 0.999
    """Weight of the past at each iteration."""
    validate: bool = True
    """Validate the average rather than the raw weights."""

    def __post_init__(self) -> None:
        """Check what a single value cannot say."""
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay: expected at least 0 and less than 1, found {self.decay:g}")


@dataclass(frozen=True, kw_only=True, slots=True)
class SWAOptions:
    """Section ``swa``: stochastic weight averaging of the generators over the end of the run."""

    start: int | float = 0.75
    """First iteration that counts, or a fraction of the run."""
    every: int = 1
    """Iterations between the models that are averaged."""
    rate: float = 1e-4
    """Learning rate that the optimizers anneal to from the start on."""
    anneal: int = 10
    """Iterations of that annealing."""
    strategy: Literal["cos", "linear"] = "cos"
    """Its shape."""

    def __post_init__(self) -> None:
        """Check what a single value cannot say."""
        _at_least(0, start=self.start, rate=self.rate, anneal=self.anneal)
        if isinstance(self.start, float) and self.start >= 1:
            raise ValueError(f"start: expected an iteration or a fraction of the run, found {self.start:g}")
        _at_least(1, every=self.every)


@dataclass(frozen=True, kw_only=True, slots=True)
class TestOptions:
    """Section ``test`` of a test file."""

    suffix: str = ""
    """Added to the name of each result."""
    tile: int | None = None
    """Side of the tiles in which large images are run; default: whole images, smaller ones when memory runs out."""
    overlap: int = 32
    """Pixels that neighbouring tiles share."""
    self_ensemble: bool = False
    """Average the results of the eight flips and rotations."""
    comparison: bool = False
    """Write input and output side by side instead."""
    image: str | None = None
    """Which image is the result, of a network that makes several (PPON: content, structure, perceptual); the others
    are written beside it. Default: the last one."""
    heats: tuple[float, ...] = ()
    """Temperatures of further images, of a network that can draw them (SRFlow); the result itself has temperature 0."""
    n_sample: int = 1
    """How many images are drawn at each temperature; ``seed`` at the top of the file says which."""
    signed: bool | None = None
    """Give the network images in [-1, 1] (znorm). Default: what its weights are made for."""
    guided_filter: float | None = None
    """Strength (epsilon, above 0) of a guided filter that lets the edges of the input guide the result: the more, the
    smoother. White-box cartoonization uses 0.005."""
    dropout: bool = False
    """Keep dropout active, drawn from ``seed``: the noise of pix2pix."""
    batch_statistics: bool = False
    """Let batch norms use the statistics of the image itself, as the published pix2pix test does."""
    consistency: Literal["cubic", "linear"] | None = None
    """Make every result consistent: reduced by this kernel it gives the input (CEM)."""
    metrics: tuple[Mapping[str, object], ...] = field(default_factory=tuple)
    """Metrics for the datasets that have ground truth, as in ``validate``."""

    def __post_init__(self) -> None:
        """Check what a single value cannot say."""
        _at_least(1, tile=self.tile, n_sample=self.n_sample)
        _at_least(0, overlap=self.overlap, heats=min(self.heats, default=0))
        if self.guided_filter is not None and self.guided_filter <= 0:
            raise ValueError(f"guided_filter: expected more than 0, found {self.guided_filter:g}")


@dataclass(frozen=True, kw_only=True, slots=True)
class DegradeOptions:
    """Section ``degrade``, beside its lists of stages: ``first``, ``stages``, ``last``, ``after`` and ``target``.

    The input of an ``aligned`` training set goes through those of ``first``, then through the ``stages``, then those of
    ``last`` in any order of their groups; then it has its size, and goes through those ``after``. The target goes
    through those of ``target``.
    """

    start: Literal["input", "target"] = "input"
    """What the stages begin with: the input, which is in a file or made with ``kernel`` first; or the target, which
    the stages then reduce."""
    run_on: Literal["cpu", "device"] = "cpu"
    """Degrade each sample in the worker that read it, or all of a batch on the device of the training."""
    margin: int = 16
    """Pixels of the target around the crop that are degraded with it and cut off again."""
    shuffle: bool = False
    """Whether the ``stages`` come in any order."""

    def __post_init__(self) -> None:
        """Check what a single value cannot say."""
        _at_least(0, margin=self.margin)


@dataclass(frozen=True, kw_only=True, slots=True)
class StageOptions:
    """What every stage of ``degrade`` has besides ``of``, the list of degradations of which one is chosen."""

    name: str | None = None
    """What previews call it."""
    probability: float = 1.0
    """How likely it is that one of its degradations is applied to a sample."""
    group: str = ""
    """Stages of one group stay together where the order is random."""

    def __post_init__(self) -> None:
        """Check what a single value cannot say."""
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability: expected 0 to 1, found {self.probability:g}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ChoiceOptions:
    """What every degradation of a stage may have besides its own arguments."""

    weight: float = 1.0
    """How often it is chosen, relative to the others."""

    def __post_init__(self) -> None:
        """Check what a single value cannot say."""
        _at_least(0, weight=self.weight)


SECTIONS: Mapping[str, type] = {
    "train": TrainOptions,
    "validate": ValidateOptions,
    "display": DisplayOptions,
    "checkpoint": CheckpointOptions,
    "logger": LogOptions,
    "path": PathOptions,
    "ema": EMAOptions,
    "swa": SWAOptions,
    "degrade": DegradeOptions,
    "test": TestOptions,
}
"""Sections of fixed options by name; the others hold components."""
