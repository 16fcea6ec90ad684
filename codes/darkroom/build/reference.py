"""docs/options.md and docs/options.schema.json, from the signatures of everything that an option file can name."""

from __future__ import annotations

import json
from typing import Any

from ..archs import ARCHS
from ..config.describe import component_schema, component_text, section_schema, section_text
from ..config.dialects import documented_page, documented_schema
from ..config.options import (
    SECTIONS,
    AugmentOptions,
    ChoiceOptions,
    LoaderOptions,
    MetricOptions,
    PlayerOptions,
    RunOptions,
    ScheduleOptions,
    StageOptions,
    TermOptions,
)
from ..core.model import MODELS
from ..core.phases import Phase
from ..core.registry import Registry
from ..core.terms import LOSSES
from ..data import DATASETS
from ..data.batch_augment import BATCH_AUGMENTS
from ..data.degrade import DEGRADATIONS
from ..metrics import METRICS
from ..optim.optimizers import OPTIMIZERS
from ..optim.schedules import SCHEDULES
from .auto import AUTO
from .degrading import LISTS
from .plan import SUPPLIED

__all__ = ["documented_page", "options_page", "schema_text"]

HEAD = """# All options

Written by `python -m darkroom options --schema` from the signatures in the code; a test fails when it is stale.

An option file may be written in the documented keys of this family of tools (see the templates under `options/` and
[the table of documented keys](options-documented.md)) or in the native sections below; `python train.py -opt FILE
--dry-run` prints any file in its native form with every default. Where a section holds `type`, the other options are
those of the component that it names. `network_G: auto` is whatever the weights in `path.pretrain` are: see
[models.md](models.md).
"""

SHARED_SECTIONS: dict[str, type] = {
    "top of the file": RunOptions,
    "datasets.train: beside the dataset's own": LoaderOptions,
    "losses: beside the loss's own": TermOptions,
    "optim_G, optim_D, ...: beside the optimizer's own": PlayerOptions,
    "batch_augment: each entry, beside the augmentation's own": AugmentOptions,
    "degrade: each stage": StageOptions,
    "degrade: each degradation of a stage, beside its own": ChoiceOptions,
    "schedule, schedule_D, ...: beside the schedule's own": ScheduleOptions,
    "validate.metrics: beside the metric's own": MetricOptions,
    "phases: each entry": Phase,
}

REGISTRIES: dict[str, tuple[Registry[Any], tuple[str, ...]]] = {
    "Models (`model`)": (MODELS, ("G", "D", "Loc")),
    "Networks (`network_G`, `network_D`, ...)": (ARCHS, ()),
    "Losses (`losses`)": (LOSSES, ()),
    "Datasets (`datasets`)": (DATASETS, SUPPLIED),
    "Metrics (`validate.metrics`)": (METRICS, ()),
    "Optimizers (`optim_G`, `optim_D`, ...)": (OPTIMIZERS, ("params",)),
    "Schedules (`schedule`)": (SCHEDULES, ()),
    "Augmentations of batches (`batch_augment`)": (BATCH_AUGMENTS, ()),
    "Degradations (`degrade`)": (DEGRADATIONS, ()),
}

GLOSSARY = {
    "in_nc": "Channels of the input: 3 for colour, 1 for gray.",
    "out_nc": "Channels of the output.",
    "nf": "Channels inside: the width of the network.",
    "nb": "Number of blocks: the depth of the network.",
    "nr": "Dense blocks in each residual block.",
    "gc": "Channels that each convolution of a dense block adds.",
    "num_conv": "Number of convolutions.",
    "scale": "Side of the output over side of the input; by default that at the top of the file.",
    "norm_type": "Normalisation after convolutions; null is none.",
    "act_type": "Activation.",
    "mode": "Order of convolution, normalisation and activation, or how a score is judged.",
    "upsample_mode": "Nearest neighbour and convolution, or pixel shuffle.",
    "convtype": "Kind of convolution: PartialConv2D counts only real pixels at the border.",
    "finalact": "Activation of the output.",
    "outm": "Caps the output of training and use: see `finalcap`.",
    "gaussian": "Multiplicative noise inside the network while it trains (ESRGAN).",
    "plus": "The additional paths of ESRGAN+.",
    "unshuffle": "Fold so many pixels of each side into channels first.",
    "layout": "Key layout of the weights files that are written.",
    "res_scale": "Factor of what each block adds.",
    "size": "Side of the images that are judged.",
    "hidden": "Width of the classifier's hidden layer.",
    "n_layers": "Number of strided convolutions.",
    "num_D": "Number of discriminators, each at half the size of the one before.",
    "get_feats": "Also give the feature maps, for feature matching.",
    "spectral_norm": "Spectral normalisation of the convolutions.",
    "skip_connection": "Connect the two halves of the U.",
    "lr": "Learning rate.",
    "weight_decay": "Pull of the weights to zero.",
    "betas": "Decay of the running means of the gradient and of its square.",
    "momentum": "Share of the last step in the next one.",
    "eps": "Keeps divisions and roots from zero.",
    "crop_border": "Pixels at each side that do not count.",
    "channel": "Measure all colours, or the luma of BT.601.",
    "weights": "`imagenet` (downloaded once), or a file in torchvision's layout.",
    "criterion": "Distance between two tensors, by the name of a pixel loss.",
    "gamma": "Factor of the learning rate at each milestone or step.",
    "milestones": "Iterations at which the learning rate falls.",
    "restarts": "Iterations at which the schedule starts again.",
    "restart_weights": "Factor of the learning rate after each restart.",
    "eta_min": "The lowest learning rate.",
    "channels": "3 reads every image as colour, 1 as gray.",
    "limit": "Take so many images only.",
    "unf": "Channels inside the upsampler.",
    "dim": "Channels inside: the width of the network.",
    "self_attention": "Let every place see every other one.",
    "max_pool": "Pool what the attention sees, for its memory.",
    "poolsize": "Side of that pooling.",
    "double_scpa": "A second path in each block.",
    "ups_inter_mode": "How the upsampler enlarges.",
    "prob": "How likely it is applied, once it is chosen.",
    "diff_means": "A file (.npy) of how much a data set's images differ at each frequency; see the class.",
    "net": "The network that LPIPS looks through.",
    "linear": "Weigh the network's channels as was learnt from people's judgements.",
    "max_1d_size": "Side of the maps above which random places are compared, for the memory.",
    "band_width": "How much closer the nearest must be to count as the same; smaller is stricter.",
    "directions": "2: right and down; 4: the diagonals as well.",
    "norm": "1: absolute values, 2: squares.",
    "legit_range": "Values in between are free.",
    "shave": "Pixels at each side that do not count.",
    "window_size": "Side of the Gaussian window, in pixels.",
    "window_sigma": "Its standard deviation.",
    "data_range": "Largest minus smallest value of an image.",
    "consistency": "Make the output consistent with the input: reduced by this kernel it is the input (CEM).",
    "lowpass": "Filter that makes `output_low` and `target_low`.",
    "highpass": "Filter whose remainder is `output_high` and `target_high`.",
    "cap_at_real": "The generator gains nothing from being judged more real than the real image.",
    "feature_weight": "Weight of the feature maps, beside what else the loss compares.",
    "warmup_steps": "Iterations over which the learning rate rises, for optimizers without a schedule.",
}
"""What parameters mean that many constructors have."""


def options_page() -> str:
    """The text of docs/options.md."""
    parts = [HEAD, "## Sections\n"]
    parts += [section_text(name, cls) for name, cls in {**SHARED_SECTIONS, **SECTIONS}.items()]
    for title, (registry, given) in REGISTRIES.items():
        parts += [f"## {title}\n", component_text(registry, given, GLOSSARY)]
    return "\n".join(parts).rstrip() + "\n"


def schema_text() -> str:
    """The text of docs/options.schema.json: both spellings, for completion and checking in editors."""
    top, degrade = section_schema(RunOptions)["properties"], section_schema(SECTIONS["degrade"])
    stages = {"type": "array", "items": {"$ref": "#/$defs/stage"}}
    properties: dict[str, Any] = {
        **top,
        **{name: section_schema(cls) for name, cls in SECTIONS.items()},
        "degrade": {**degrade, "properties": {**degrade["properties"], **dict.fromkeys(LISTS, stages)}},
        "losses": {"type": "array", "items": _with(component_schema(LOSSES), TermOptions)},
        "batch_augment": {"type": "array", "items": _with(component_schema(BATCH_AUGMENTS), AugmentOptions)},
        "phases": {"type": "array", "items": section_schema(Phase)},
        "schedule": _with(component_schema(SCHEDULES), ScheduleOptions),
    }
    patterns = {
        "^optim_": _with(component_schema(OPTIMIZERS, given=("params",)), PlayerOptions),
        "^schedule_": _with(component_schema(SCHEDULES), ScheduleOptions),
    }
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Darkroom option file",
        "type": "object",
        "$defs": {"stage": _stage()},
        **documented_schema(properties, _networks(), _with(component_schema(DATASETS, given=SUPPLIED), LoaderOptions)),
        "patternProperties": patterns,
    }
    return json.dumps(schema, indent=1, sort_keys=False) + "\n"


def _stage() -> dict[str, Any]:
    choices = {"type": "array", "items": _with(component_schema(DEGRADATIONS), ChoiceOptions)}
    stage = section_schema(StageOptions)
    return {**stage, "properties": {**stage["properties"], "of": choices}}


def _networks() -> dict[str, Any]:
    schema = component_schema(ARCHS)
    names = [AUTO, *schema["properties"]["type"]["enum"]]
    return {**schema, "properties": {"type": {"enum": names}}}


def _with(schema: dict[str, Any], shared: type) -> dict[str, Any]:
    return {**schema, "properties": {**section_schema(shared)["properties"], **schema["properties"]}}
