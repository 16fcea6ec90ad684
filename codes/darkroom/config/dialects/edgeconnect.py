"""The config.yml of EdgeConnect and of its Anime-InPainting fork as native sections; one file for four phases."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.registry import did_you_mean
from ..source import Section
from .rules import Job


@dataclass(frozen=True, slots=True)
class Key:
    """A key of the file."""

    kind: Any
    """What its value must be."""
    default: Any = None
    """What a missing key means."""
    known: Collection[Any] = ()
    """The values that there are; none is any."""
    least: float | None = None
    """The smallest number that it may be."""


KEYS: Mapping[str, Key] = {
    "MODE": Key(int, 1, (1, 2, 3)),
    "MODEL": Key(int, 1, (1, 2, 3, 4)),
    "MASK": Key(int, 3, (1, 2, 3, 4, 5, 6)),
    "EDGE": Key(int, 1, (1, 2)),
    "NMS": Key(int, 1, (0, 1)),
    "SEED": Key(int, 10, least=0),
    "DEVICE": Key(int, 1, (0, 1)),
    "GPU": Key(list[int], [0]),
    "DEBUG": Key(int, 0, (0, 1)),
    "VERBOSE": Key(int, 0, (0, 1)),
    "SKIP_PHASE2": Key(int, 0, (0, 1)),
    **{f"{part}{kind}_FLIST": Key(str) for part in ("TRAIN", "VAL", "TEST") for kind in ("", "_EDGE", "_MASK")},
    "LR": Key(float, 1e-4, least=0),
    "D2G_LR": Key(float, 0.1, least=0),
    "BETA1": Key(float, 0.0),
    "BETA2": Key(float, 0.9),
    "BATCH_SIZE": Key(int, 8, least=1),
    "INPUT_SIZE": Key(int, 256, least=0),
    "SIGMA": Key(float, 2.0, least=-1),
    "MAX_ITERS": Key(float, 2e6, least=1),
    "EDGE_THRESHOLD": Key(float, 0.5),
    "L1_LOSS_WEIGHT": Key(float, 1.0),
    "FM_LOSS_WEIGHT": Key(float, 10.0),
    "STYLE_LOSS_WEIGHT": Key(float, 1.0),
    "CONTENT_LOSS_WEIGHT": Key(float, 1.0),
    "INPAINT_ADV_LOSS_WEIGHT": Key(float, 0.01),
    "GAN_LOSS": Key(str, "nsgan", ("nsgan", "lsgan", "hinge")),
    "GAN_POOL_SIZE": Key(int, 0),
    "SAVE_INTERVAL": Key(int, 1000, least=0),
    "SAMPLE_INTERVAL": Key(int, 1000, least=0),
    "SAMPLE_SIZE": Key(int, 12, least=1),
    "EVAL_INTERVAL": Key(int, 0, least=0),
    "LOG_INTERVAL": Key(int, 10, least=0),
    "PRINT_INTERVAL": Key(int, 0, least=0),
}
"""Every key of the published files, with the defaults of the published code."""
MASKS = {
    1: "block",
    2: "half",
    3: "external",
    4: "external_block",
    5: "external_block_half",
    6: "paired",
}
"""Kinds of masks by their numbers; 6 takes the external ones in order, as tests always do."""
NAMES = {1: "edge", 2: "inpaint", 3: "edge_inpaint", 4: "joint"}
"""What the phases are called in names of logs and samples."""
PARTS = {1: ("EdgeModel",), 2: ("InpaintingModel",), 3: ("InpaintingModel",), 4: ("EdgeModel", "InpaintingModel")}
"""What each phase trains, as names of files."""
NUMBERS = {
    1: ("l_d1", "l_g1", "l_fm", "precision", "recall"),
    2: ("l_d2", "l_g2", "l_l1", "l_per", "l_sty", "psnr", "mae"),
}
"""What the published code logs of the edges, and of the filling."""
NEVER = 10**9
SMALLEST = 24
"""Pixels of a side of which the discriminator has something to say: it halves thrice and cuts two off."""


class Config:
    """A config.yml, checked."""

    def __init__(self, job: Job) -> None:
        """Read every key of ``job.file``; what is wrong is noted there."""
        self.job, self.values = job, dict[str, Any]()
        for unknown in (key for key in job.file if key not in KEYS):
            job.error(job.file.where(unknown), f"there is no option {unknown!r}.{did_you_mean(unknown, KEYS)}")
        for name, key in KEYS.items():
            value = job.read(job.file, name, key.kind, key.default)
            if key.known and value not in key.known:
                job.error(job.file.where(name), f"{name}: expected one of {[*key.known]}, found {value!r}")
                value = key.default
            elif key.least is not None and value < key.least:
                job.error(job.file.where(name), f"{name}: expected {key.least:g} or more, found {value:g}")
                value = key.default
            self.values[name] = value
        if 0 < self["INPUT_SIZE"] < SMALLEST:
            text = f"expected {SMALLEST} or more, or 0 for images of any size, found {self['INPUT_SIZE']}"
            job.error(job.file.where("INPUT_SIZE"), f"INPUT_SIZE: {text}")
        if self["GAN_POOL_SIZE"]:
            job.note(job.file.where("GAN_POOL_SIZE"), "GAN_POOL_SIZE has no effect, as in the published code")

    def __getitem__(self, name: str) -> Any:
        """The value of a key, or its default."""
        return self.values[name]

    def every(self, name: str) -> int:
        """An interval, where 0 means never."""
        return self[name] or NEVER

    def files(self, name: str) -> str | None:
        """A file list or a folder; the placeholders of the published files are none."""
        path: str | None = self[name]
        return None if path is None or path.strip() in ("", "./", ".") else path


def to_native(file: Section, phase: int, folder: Path, errors: list[str], notes: list[str]) -> Section:
    """The native options of a training run of ``phase`` 1 to 4 in ``folder``; where its weights are is not among them.

    ``folder`` is that of the file. What is wrong goes to ``errors``, what the user should know to ``notes``.
    """
    job = Job(file, errors, notes)
    config = Config(job)
    if phase == 2 and config["SKIP_PHASE2"]:
        text = "phase 2 is merged into phase 3, so there is no model 2 to train; write 0, or train model 3"
        job.error(file.where("SKIP_PHASE2"), f"SKIP_PHASE2: {text}")
    native: dict[str, Any] = {
        "name": "edge" if phase == 1 else "joint" if phase == 4 else "inpaint",
        "model": _model(config, phase),
        "seed": config["SEED"],
        "gpu_ids": config["GPU"] if config["DEVICE"] else [],
        "datasets": _datasets(config),
        **_networks(phase),
        "losses": _losses(config, phase),
        **_optimizers(config),
        "train": {"iterations": int(config["MAX_ITERS"])},
        "validate": {"every": config.every("EVAL_INTERVAL"), "metrics": _metrics(phase), "save_images": False},
        "checkpoint": {"every": config.every("SAVE_INTERVAL"), "keep": 1, "publish": _published(phase, folder)},
        "logger": _logger(config, phase, folder),
        "path": {"root": str(folder)},
    }
    if config["SAMPLE_INTERVAL"] and "val" not in native["datasets"]:
        notes.append(f"{file.where('SAMPLE_INTERVAL')}: there are no samples, as there is no VAL_FLIST to take them of")
    elif config["SAMPLE_INTERVAL"]:
        samples = {"every": config["SAMPLE_INTERVAL"], "images": config["SAMPLE_SIZE"], "of": "val"}
        native["display"] = {**samples, "folder": str(folder / "samples" / NAMES[phase])}
    places = {name: file.where(key) for name, key in _ORIGINS.items()}
    return _section(native, file.where(), places)


_ORIGINS = {"seed": "SEED", "gpu_ids": "GPU", "train": "MAX_ITERS"}


def _section(tree: Any, place: str, places: Mapping[str, str]) -> Any:
    if isinstance(tree, dict):
        inside = {key: _section(value, places.get(key, place), {}) for key, value in tree.items()}
        return Section.make(place, inside, {key: places.get(key, place) for key in tree})
    return [_section(value, place, {}) for value in tree] if isinstance(tree, list) else tree


def _model(config: Config, phase: int) -> dict[str, Any]:
    if phase == 1:
        return {"type": "edge", "threshold": config["EDGE_THRESHOLD"]}
    if phase == 4:
        return {"type": "edge_inpaint", "threshold": config["EDGE_THRESHOLD"]}
    lead = "true" if phase == 2 else "coin" if config["SKIP_PHASE2"] else "predicted"
    return {"type": "inpaint", "lead": lead}


def _datasets(config: Config) -> dict[str, Any]:
    sets = {}
    for name, part in (("train", "TRAIN"), ("val", "VAL")):
        images = config.files(f"{part}_FLIST")
        if images is None:
            if name == "train":
                config.job.error(
                    config.job.file.where(), "TRAIN_FLIST: is missing: a .flist file or a folder of images"
                )
            continue
        found = {"type": "masked", "images": images, "mask": MASKS[config["MASK"]], "size": config["INPUT_SIZE"]}
        found |= {"sigma": config["SIGMA"]}
        read = MASKS[config["MASK"]].startswith(("external", "paired"))
        for key, option, wanted in (("MASK", "masks", read), ("EDGE", "edges", config["EDGE"] == 2)):
            files = config.files(f"{part}_{key}_FLIST")
            if wanted and files is None:
                text = f"{key}: {config[key]} takes {option} from files, but {part}_{key}_FLIST is missing"
                config.job.error(config.job.file.where(key), text)
            found |= {option: files} if wanted and files else {}
        found |= {"nms": bool(config["NMS"])} if config["EDGE"] == 2 else {}
        if name == "train":
            found |= {"flip": True, "batch_size": config["BATCH_SIZE"], "workers": min(4, os.cpu_count() or 1)}
        sets[name] = found
    return sets


def _networks(phase: int) -> dict[str, Any]:
    edge, critic = {"type": "edge_generator"}, {"type": "edgeconnect_discriminator"}
    if phase == 1:
        return {"network_G": edge, "network_D": {**critic, "in_nc": 2}}
    found = {"network_G": {"type": "inpaint_generator"}, "network_D": {**critic, "in_nc": 3}}
    if phase >= 3:
        found["network_E"] = edge
    if phase == 4:
        found["network_D_E"] = {**critic, "in_nc": 2}
    return found


def _losses(config: Config, phase: int) -> list[dict[str, Any]]:
    mode = config["GAN_LOSS"]

    def of_edges(mark: str) -> list[dict[str, Any]]:
        tensors = {name: f"{name}{mark}" for name in ("on_real", "on_fake", "on_fooling")}
        real, fake, fooling = tensors.values()
        return [
            {"name": "l_d1", "type": "judged", "mode": mode, "on_real": real, "on_fake": fake, "player": "D",
             "mark": mark},
            {"name": "l_g1", "type": "fooled", "mode": mode, "on_fooling": fooling, "player": "G"},
            {"name": "l_fm", "type": "feature_matching", "on_fooling": fooling, "on_real": real, "player": "G",
             "weight": config["FM_LOSS_WEIGHT"]},
        ]  # fmt: skip

    if phase == 1:
        return of_edges("")
    content = {f"relu{n}_1": 1.0 for n in range(1, 6)}
    style = {"relu2_2": 1.0, "relu3_4": 1.0, "relu4_4": 1.0, "relu5_2": 1.0}
    seen = {"type": "perceptual", "network": "vgg19", "use_input_norm": False, "player": "G"}
    filling: list[dict[str, Any]] = [
        {"name": "l_d2", "type": "judged", "mode": mode, "player": "D"},
        {"name": "l_g2", "type": "fooled", "mode": mode, "player": "G", "weight": config["INPAINT_ADV_LOSS_WEIGHT"]},
        {"name": "l_l1", "type": "masked_l1", "to": "image", "player": "G", "weight": config["L1_LOSS_WEIGHT"]},
        {**seen, "name": "l_per", "to": "image", "layers": content, "weight": config["CONTENT_LOSS_WEIGHT"]},
        {**seen, "name": "l_sty", "of": "output_hole", "to": "image_hole", "layers": {}, "style_layers": style,
         "style_weight": 1.0, "feature_weight": 0.0, "weight": config["STYLE_LOSS_WEIGHT"]},
    ]  # fmt: skip
    return [*filling, *(of_edges("_E") if phase == 4 else [])]


def _optimizers(config: Config) -> dict[str, Any]:
    adam = {"type": "adam", "betas": [config["BETA1"], config["BETA2"]]}
    return {
        "optim_G": {**adam, "lr": config["LR"]},
        "optim_D": {**adam, "lr": config["LR"] * config["D2G_LR"]},
    }


def _metrics(phase: int) -> list[dict[str, Any]]:
    compared = {"of": "merged", "to": "image"}
    return [] if phase == 1 else [{"type": kind, **compared} for kind in ("psnr", "ssim", "mae")]


def _published(phase: int, folder: Path) -> dict[str, str]:
    """Where the weights of each network go, by the names of the published code."""
    name: Callable[[str, str], str] = lambda part, kind: str(folder / f"{part}_{kind}_{{step}}.pth")  # noqa: E731
    if phase == 1:
        return {"G": name("EdgeModel", "gen"), "D": name("EdgeModel", "dis")}
    found = {"G": name("InpaintingModel", "gen"), "D": name("InpaintingModel", "dis")}
    return found | ({"E": name("EdgeModel", "gen"), "D_E": name("EdgeModel", "dis")} if phase == 4 else {})


def _logger(config: Config, phase: int, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"every": config.every("PRINT_INTERVAL"), "tensorboard": False}
    if not config["LOG_INTERVAL"]:
        return found
    numbers = {1: NUMBERS[1], 4: (*NUMBERS[1], *NUMBERS[2])}.get(phase, NUMBERS[2])
    found |= {"numbers": list(numbers), "numbers_every": config["LOG_INTERVAL"]}
    return found | {"numbers_file": str(folder / f"log_{NAMES[phase]}.dat")}
