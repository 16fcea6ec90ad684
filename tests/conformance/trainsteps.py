"""Whole training steps of image-to-image methods, from their option file, through the plan and the loop."""

from __future__ import annotations

import dataclasses
import os
import random
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import yaml
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from darkroom.archs import ARCHS
from darkroom.archs.vgg import VGGFeatures
from darkroom.build.inpainting import filled, training_options
from darkroom.build.plan import plan_training, read_options
from darkroom.build.training import Run, open_run
from darkroom.core.terms import JudgeTerm
from darkroom.inference.inpaint import Inpainter
from darkroom.losses.pool import ImagePool

from . import Case, adapter
from .recipes import entries, entries_of, fill, inputs, state

_NAMES = {"pix2pix": {"A": "input", "B": "target"}}
"""What the data are called where they are not real_A and real_B."""


@adapter("trainstep")
def steps(case: Case) -> dict[str, Any]:
    """The log of every step, and the images of the last one, in [-1, 1]."""
    options = yaml.safe_load(case.data["config"]["options_yaml"])
    names = _NAMES.get(options["model"], {"A": "real_A", "B": "real_B"})
    given = {names[name]: (image + 1) / 2 for name, image in inputs(case).items()}
    with tempfile.TemporaryDirectory() as folder:
        run = _run(case, options, Path(folder))
        try:
            return _log(case, run, given)
        finally:
            run.close()


def _run(case: Case, options: dict[str, Any], folder: Path) -> Run:
    train = options["datasets"]["train"]
    for name in "AB":
        (folder / name).mkdir()
        Image.new("RGB", (32, 32)).save(folder / name / "x.png")
        train[f"dataroot_{name}"] = str(folder / name)
    options["path"]["root"] = str(folder)
    perceptual = options["train"].get("perceptual_opt")
    if perceptual is not None:
        perceptual["pretrained_path"] = _vgg(case, perceptual["feature_network"], folder)
    file = folder / "o.yml"
    file.write_text(yaml.safe_dump(options), encoding="utf-8")
    read = read_options(file)
    run = open_run(plan_training(read), read.notes, file)
    for name, network in run.loop.model.networks.items():
        network.load_state_dict(network.from_public(state(case, f"{name}.")))
    return run


def _vgg(case: Case, name: str, folder: Path) -> str:
    """A file of the feature network with weights by the recipe, under the keys ``features.N.*``."""
    import torchvision

    network = vars(torchvision.models)[name](weights=None)
    listed = [e for e in entries_of(network) if e[0].startswith("features.")]
    weights = {**network.state_dict(), **fill(case, listed, 1.3)}
    torch.save(weights, folder / "vgg.pth")
    return str(folder / "vgg.pth")


def _log(case: Case, run: Run, given: Mapping[str, Tensor]) -> dict[str, Any]:
    loop, found, expected = run.loop, dict[str, Any](), case.data["logs"]
    draws = random.Random(case.data["seed"]["python_random"])
    loop.terms = [_replayed(t, draws) if isinstance(t, JudgeTerm) else t for t in loop.terms]
    if "superpixels" in loop.model.rules:
        loop.model.segmenter = _Blocks
    logs = []
    for n in range(len(expected)):
        batch = {**given, **_drawn(case, n)}
        if n == len(expected) - 1:
            sample = loop.model.sample(batch, loop.model.aliases)
            with torch.no_grad():
                found = {name: sample[name].clone() for name in case.data["outputs"]}
        assert loop.players["G"].rates(loop.step)[0] == case.data["lr_used"][n]
        loop.iterate([batch])
        logs.append(loop.meter.flush())
    for n, step in enumerate(expected):
        for name in step:
            # what is computed after the original copies its log is in the next one
            found[f"logs/{n}/{name}"] = logs[n - (name not in expected[0])][name]
    return found


class _Blocks:
    """In place of the superpixels: 4x4 blocks of one colour."""

    def __init__(self, image: Tensor) -> None:
        self.image = image

    @classmethod
    def start(cls, image: Tensor, gammas: Sequence[float]) -> _Blocks:
        del gammas
        return cls(image)

    def result(self) -> Tensor:
        return F.interpolate(F.avg_pool2d(self.image, 4), scale_factor=4)


def _drawn(case: Case, n: int) -> dict[str, Tensor]:
    """The weights of red, green and blue that the original drew."""
    aux = case.data.get("aux")
    return {"gray_weights": torch.tensor(aux[n]["rgb_weights"], dtype=torch.float32)} if aux else {}


def _replayed(term: JudgeTerm, draws: random.Random) -> JudgeTerm:
    """With the draws of the original's image pool, which it makes only when the pool is full."""
    pool = term.pool
    if not isinstance(pool, ImagePool):
        return term
    seen = 0

    def replay(fakes: Tensor) -> Tensor:
        nonlocal seen
        coins, slots = [0.0] * len(fakes), [0] * len(fakes)
        for n in range(len(fakes)):
            if seen >= pool.size:
                coins[n] = draws.uniform(0, 1)
                slots[n] = draws.randint(0, pool.size - 1) if coins[n] > 0.5 else 0
            seen += 1
        with patch.multiple(
            torch, rand=lambda *_, **__: torch.tensor(coins), randint=lambda *_, **__: torch.tensor(slots)
        ):
            return pool(fakes)

    return dataclasses.replace(term, pool=replay)


@adapter("edgeconnect_train")
def filling(case: Case) -> dict[str, Any]:
    """EdgeConnect's steps from a config.yml: the log of each, and the images of the first and the last one."""
    config, found = case.data["config"], dict[str, Any]()
    names = {"images": "image", "images_gray": "gray", "edges": "edge", "masks": "mask"}
    batch = {names[name]: value for name, value in inputs(case).items()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Image.new("RGB", (32, 32), "white").save(folder / "x.png")
        own = {"MODE": 1, "DEVICE": 0, "MASK": 1, "INPUT_SIZE": 32, "BATCH_SIZE": 1, "LOG_INTERVAL": 0}
        file = {**own, **config, "SAMPLE_INTERVAL": 0, "TRAIN_FLIST": str(folder)}
        (folder / "config.yml").write_text(yaml.safe_dump(file), encoding="utf-8")
        backbone = {"TORCH_HOME": str(folder)}
        if case.data["vgg19"]:
            cache = folder / "hub" / "checkpoints"
            cache.mkdir(parents=True)
            Path(_vgg(case, "vgg19", folder)).rename(cache / VGGFeatures(layers=("conv5_4",)).file)
        with patch.dict(os.environ, backbone):
            options, source = training_options(folder, config["MODEL"], ["TRAIN_FLIST=" + str(folder / "x.png")], print)
            run = open_run(plan_training(options), options.notes, source)
        try:
            for field, part in (("G", "generator"), ("D", "discriminator")):
                prefix = next(n["prefix"] for key, n in case.data["networks"].items() if part in key)
                network = run.loop.model.networks[field]
                listed = entries(network.to_public(network.state_dict()))
                g = next(n["g"] for key, n in case.data["networks"].items() if part in key)
                network.load_state_dict(network.from_public(state(case, prefix, listed, g)))
            for n, expected in enumerate(case.data["logs"]):
                with torch.no_grad():
                    made = run.loop.model.sample(batch)["output"].clone()
                found |= {"outputs_step1": made} if n == 0 else {"outputs_last": made}
                run.loop.iterate([batch])
                values = dict(zip(expected, run.loop.meter.newest([*expected]), strict=True))
                found |= {f"logs/{n}/{key}": value for key, value in values.items()}
        finally:
            run.close()
    return found


@adapter("edgeconnect_test_pipeline")
def testing(case: Case) -> dict[str, Any]:
    """What ``test.py --model`` writes; a pixel may differ by one level, so those that do are made equal here."""
    arrays = case.arrays
    image, hole = arrays["image"], arrays["hole"].astype(bool)
    networks = []
    for kind, prefix in (("edge_generator", "EG."), ("inpaint_generator", "IG.")):
        network = ARCHS[kind]()
        listed = entries(network.to_public(network.state_dict()))
        network.load_state_dict(network.from_public(state(case, prefix, listed, case.data["g"])))
        networks.append(network)
    inpainter, sigma = Inpainter(*networks), float(case.data["config"]["SIGMA"])
    edges = inpainter.completed(image, hole, sigma)
    found: dict[str, Any] = {"edge_prediction": edges}
    for phase in (1, 2, 3):
        made = filled(inpainter, phase, image, hole, None, sigma)[0]
        reference = arrays[f"model{phase}_png"]
        made = made if reference.ndim == 3 else made[:, :, 0]
        near = np.abs(made.astype(int) - reference.astype(int)) <= 1
        found[f"model{phase}_png"] = np.where(near, reference, made)
    return found
