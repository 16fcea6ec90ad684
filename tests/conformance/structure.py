"""Losses of structure: similarity, edges, profiles, and values out of range."""

from __future__ import annotations

import math
from typing import Any

import torch

from darkroom.core.terms import LOSSES, Loss
from darkroom.filters.similarity import gaussian_window
from darkroom.losses import hfen
from darkroom.losses import ssim as similarity

from . import Case, Missing
from .losses import part, value_and_gradient
from .recipes import inputs


def _renamed(case: Case, names: dict[str, str], without_effect: set[str]) -> dict[str, Any]:
    """The case's config by our names."""
    config = {name: value for name, value in case.data["config"].items() if name not in without_effect}
    if set(config) - set(names):
        raise Missing(f"config {config}")
    return {names[name]: tuple(value) if isinstance(value, list) else value for name, value in config.items()}


def _alone(case: Case, loss: Loss) -> dict[str, Any]:
    """As ``value_and_gradient``, for a loss of the prediction alone."""
    x = inputs(case)["x"].requires_grad_()
    value = loss(x)
    (gradient,) = torch.autograd.grad(value, x)
    return {"loss": value, "grad_x": gradient}


def _wanted(case: Case, found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name in case.data["outputs"]}


_SIMILARITY = {name: name for name in ("window_size", "window_sigma", "data_range", "shave")}


@part("loss_ssim")
def ssim(case: Case) -> dict[str, Any]:
    """The vectors hold SSIM itself, the loss is 1 - SSIM."""
    config = _renamed(case, {**_SIMILARITY, "use_padding": "padding"}, {"per_channel", "size_average"})
    loss = LOSSES["ssim"](**config)
    if case.data["config"].get("size_average", True):
        return _wanted(case, _similarity(case, loss))
    given = inputs(case)
    x, y = similarity.shaved(given["x"], given["y"], loss.shave, least=1)
    index, _ = similarity.ssim(x, y, loss.window, loss.data_range, padding=loss.padding)
    return _wanted(case, {"ssim_bc": index, "ssim_b": index.mean(dim=1)})


@part("loss_ms_ssim")
def ms_ssim(case: Case) -> dict[str, Any]:
    """Options 1 and 2 take the last scale several times, 4 once. The vectors hold MS-SSIM, the loss is 1 - MS-SSIM."""
    config = _renamed(case, {**_SIMILARITY, "weights": "weights", "option": "option"}, {"normalize"})
    option = config.pop("option", 1)
    if option not in (1, 2, 4) or case.data["config"].get("normalize", "relu") != "relu":
        raise Missing(f"config {case.data['config']}")
    return _wanted(case, _similarity(case, LOSSES["ms-ssim"](**config, repeat_last=option != 4)))


def _similarity(case: Case, loss: Loss) -> dict[str, Any]:
    found = value_and_gradient(case, loss)
    return {"loss": 1 - found["loss"], "grad_x": -found["grad_x"]}


@part("loss_hfen_kernel")
def kernels(case: Case) -> dict[str, Any]:
    """Those that we have: the original has others, of integers and of differences of Gaussians."""
    del case
    return {"log_15_2.5": hfen.laplacian_of_gaussian(15, 2.5), "gauss1d_11_1.5": torch.tensor(gaussian_window(11, 1.5))}


@part("loss_hfen")
def high_frequencies(case: Case) -> dict[str, Any]:
    config = dict(case.data["config"])
    if config.pop("kernel", "log") != "log" or config.pop("norm", False):
        raise Missing(f"config {case.data['config']}")
    criterion = case.data["option"]["hfen_criterion"].lower()
    criterion = {"rel_l1": "relativel1", "rel_l2": "relativel1"}.get(criterion, criterion)
    return _wanted(case, value_and_gradient(case, LOSSES["hfen"](criterion, **config)))


@part("loss_tv", "loss_dtv")
def total_variation(case: Case) -> dict[str, Any]:
    """``out_norm``: divided by b(atch), c(hannels), i(mage) after the mean of each image."""
    config, option = case.data["config"], case.data["option"]
    if config.get("reduction", "mean") != "mean" or config.get("beta", 2) != 2:
        raise Missing(f"config {config}")
    loss = LOSSES["tv"](4 if option["tv_type"].lower() == "4d" else 2, option["tv_norm"])
    b, c, h, w = case.data["inputs"]["x"]["shape"]
    sizes = {"b": b, "c": c, "i": h * w}
    norm = b / math.prod(sizes[n] for n in config.get("out_norm", "b"))
    return {name: value * norm for name, value in _alone(case, loss).items()}


@part("loss_grad")
def gradients(case: Case) -> dict[str, Any]:
    _, directions, criterion = case.data["option"]["grad_type"].lower().split("-")
    return _wanted(case, value_and_gradient(case, LOSSES["grad"](int(directions[0]), criterion)))


@part("loss_gpl", "loss_cpl")
def profiles(case: Case) -> dict[str, Any]:
    """``trace`` divides the columns by W, the other form by H; the images are square."""
    config = _renamed(case, {name: name for name in ("rgb", "yuv", "yuvgrad")}, {"trace"})
    return value_and_gradient(case, LOSSES[case.path.stem.split("_")[1]](**config))


@part("loss_overflow", "loss_range")
def out_of_range(case: Case) -> dict[str, Any]:
    config = _renamed(case, {"legit_range": "legit_range"}, set())
    return _alone(case, LOSSES[case.path.stem.split("_")[1]](**config))
