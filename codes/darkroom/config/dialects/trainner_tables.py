"""The documented keys of a traiNNer option file that go to one native option each, and those that are refused.

The tables are data; what several keys make together is in the modules beside this one. Keys of datasets, losses and
optimizers have tables in their modules.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Collection, Mapping
from typing import Any

from ..options import LogOptions, PathOptions, RunOptions, TrainOptions
from ..typed import hints
from . import trainner_extras as extras
from . import trainner_methods as methods
from . import trainner_translation as translation
from .rules import Belongs, Combined, Refused, Rule, Table, Takes, home

MODELS = {
    **dict.fromkeys(("sr", "srgan", "srragan"), "sr"),
    **{name: name for name in ("ppon", "srflow", "sftgan", *translation.MODELS)},
}
"""Documented names of the methods that there are."""
MODELS_LATER = ("vsr", "vsrgan", "dvd", "pbr")

NATIVE = (
    "losses",
    "batch_augment",
    "degrade",
    "phases",
    "ema",
    "swa",
    "validate",
    "display",
    "checkpoint",
    "test",
    "schedule",
    *(f"{part}_{network}" for part in ("optim", "schedule") for network in "GD"),
    *(f"network_{network}" for network in translation.NETWORKS),
)
"""Native sections that a documented file may have as well."""


def _own(cls: Any, section: str = "") -> dict[str, Rule]:
    """The native options of a section that has the same name in both languages."""
    path = f"{section}." if section else ""
    kinds = {name: Any if typing.get_origin(kind) is Mapping else kind for name, kind in hints(cls).items()}
    return {f.name: Takes(f"{path}{f.name}", kinds[f.name]) for f in dataclasses.fields(cls)}


def _amp(on: bool) -> str:
    return "auto" if on else "off"


def _best(name: Any) -> str:
    if isinstance(name, str):
        return name
    raise ValueError(f"expected the name of a metric of validation, such as psnr, found {name!r}")


_ONLY_VIDEO = "belongs to video models, which are not in this version; remove it"

_SECTIONS: Table = {
    "model": Combined("model"),
    "datasets": Combined("datasets"),
    "network_G": Combined("network_G"),
    "network_D": Combined("network_D"),
    "path": Combined("path"),
    "train": Combined("train, losses, optim_G, optim_D, schedule, validate"),
    "logger": Combined("logger, checkpoint"),
    **{key: Combined(key) for key in NATIVE},
}

_FEATURES: Table = {
    **extras.TOP,
    "presets_root": Combined("degrade", str),
    "diff_means": Combined("losses: diff_means of fdpl", str),
    **methods.TOP,
    "tensor_shape": Refused(_ONLY_VIDEO, ("tchw",)),
    "chop_forward": Refused("belongs to video models; for images write test_mode: chop"),
    "img_size": Refused("UNets take images of any size here; remove it"),
    "input_nc": Refused("write in_nc in network_G, and input_nc in the datasets"),
    "output_nc": Refused("write out_nc in network_G, and output_nc in the datasets"),
}

_FOR_TRAINING: Table = {
    "use_tb_logger": Combined("logger.tensorboard, logger.tensorboard_dir", bool),
    "use_amp": Takes("train.amp", bool, _amp),
    "use_swa": Combined("swa", bool),
    "use_ema": Combined("ema", bool),
    "batch_multiplier": Combined("train.accumulate", int),
    **translation.TOP,
}

_FOR_TESTING: Table = {
    "suffix": Takes("test.suffix", str),
    "test_mode": Combined("test.tile, test.self_ensemble", str),
    "chop_patch_size": Combined("test.tile", int, needs="test_mode"),
    "chop_step": Combined("test.overlap", float, needs="test_mode"),
    "val_comparison": Takes("test.comparison", bool),
    "metrics": Combined("test.metrics"),
    **methods.TOP_OF_TEST,
}

_UNSHUFFLE: Table = {
    "use_unshuffle": Combined("network_G.unshuffle", bool),
    "unshuffle_scale": Combined("network_G.unshuffle", int, needs="use_unshuffle"),
}

_IN_TEST_FILES = "belongs to files for test.py; remove it"
_IN_TRAIN = "belongs to section train, or to the top of a file for test.py; write it there"

TOP: Table = {
    **_own(RunOptions),
    **_SECTIONS,
    **_FEATURES,
    **_UNSHUFFLE,
    **_FOR_TRAINING,
    **{key: Refused(_IN_TRAIN if key in ("val_comparison", "metrics") else _IN_TEST_FILES) for key in _FOR_TESTING},
}
"""The top of a training file."""

TOP_OF_TEST: Table = {
    **_own(RunOptions),
    **_SECTIONS,
    **_FEATURES,
    **_UNSHUFFLE,
    **{key: Refused("is for training; remove it from a file for test.py") for key in (*_FOR_TRAINING, "logger")},
    **_FOR_TESTING,
}
"""The top of a file for test.py."""

PATH: Table = {
    **_own(PathOptions, "path"),
    "root": Takes("path.root", str, home),
    "resume_state": Takes("path.resume_state", str, home),
    "pretrain_model_G": Takes("path.pretrain.G", str, home),
    "pretrain_model_D": Takes("path.pretrain.D", str, home),
    **translation.PATH,
    "pretrain_model_seg": Takes("path.pretrain.S", str, home),
    "pretrain_model_Loc": Takes("path.pretrain.Loc", str, home),
    "pretrain_model_swaG": Refused("an average cannot be continued from a file; write pretrain_model_G"),
    "load_submodule": methods.SUBMODULE,
}

LOGGER: Table = {
    **_own(LogOptions, "logger"),
    "print_freq": Takes("logger.every", int),
    "tb_sample_rate": Combined("logger.tensorboard_every", int),
    "save_logfile": Takes("logger.files", bool),
    "save_checkpoint_freq": Takes("checkpoint.every", int),
    "overwrite_chkp": Takes("checkpoint.overwrite", bool),
    "keep_last": Takes("checkpoint.keep", int),
    "keep_best": Takes("checkpoint.best", Any, _best),
}

TRAIN: Table = {
    **_own(TrainOptions, "train"),
    "niter": Takes("train.iterations", int),
    "manual_seed": Takes("seed", int),
    "val_freq": Takes("validate.every", int),
    "metrics": Combined("validate.metrics"),
    "overwrite_val_imgs": Takes("validate.overwrite", bool),
    "val_comparison": Takes("validate.comparison", bool),
    "save_gt": Takes("validate.save_gt", bool),
    "save_lr": Takes("validate.save_lr", bool),
    "finalcap": Takes("network_G.outm", str),
    "ema_decay": Takes("ema.decay", float, needs="use_ema"),
    "swa_start_iter": Takes("swa.start", int, needs="use_swa"),
    "swa_start_iter_rel": Combined("swa.start", float, needs="use_swa"),
    "swa_lr": Takes("swa.rate", float, needs="use_swa"),
    "swa_anneal_epochs": Takes("swa.anneal", int, needs="use_swa"),
    "swa_anneal_strategy": Takes("swa.strategy", str, needs="use_swa"),
    **extras.TRAIN,
    **methods.TRAIN,
    **translation.TRAIN,
    "ofr_weight": Refused(_ONLY_VIDEO),
    "ofr_type": Belongs("ofr_weight"),
}
"""Section ``train``, less losses, optimizers and schedules."""

NETWORK: Table = {
    "which_model_G": Combined("type", str),
    "which_model_D": Combined("type", str),
    "type": Combined("type"),
    "strict": Combined("path.strict", bool),
    "init_type": Refused("networks start from the initialisation of their papers; remove it"),
    "init_scale": Refused("networks start from the initialisation of their papers; remove it"),
    "G_arch": Combined("hidden", str),
    "group": Refused("grouped convolutions are not in this version; remove it", (1,)),
    **methods.NETWORK,
}
"""What a network's section may have besides the arguments of its constructor."""

NETWORK_ALIASES = {
    "net_act": "act_type",
    "ngf": "nf",
    "ndf": "nf",
    "gaussian_noise": "gaussian",
    "nlayer": "n_layers",
    "use_spectral_norm": "spectral_norm",
    "D_size": "size",
    "upscale": "scale",
    "scale_factor": "scale",
    "input_dim": "in_nc",
}
"""Documented spellings of constructor arguments."""

NETWORK_NAMES = {"network_D": {"unet": "unet_discriminator"}}
"""Documented names that mean one network as a generator and another one as a discriminator."""

HIDDEN = {"esrgan": 100, "ppon": 128}
"""Documented values of ``G_arch``: the width of the discriminator's linear layer."""

SIZED = ("discriminator_vgg", "discriminator_vgg_fea", "vggstylediscriminator")
"""Discriminators that are built for a crop size."""

OWN: Mapping[str, Collection[str]] = {
    "": {*_own(RunOptions), *_SECTIONS},
    "train": {*_own(TrainOptions)},
    "path": {*_own(PathOptions)},
    "logger": {*_own(LogOptions)},
}
"""The keys of each section that are native as well: they do not tell the dialect."""
