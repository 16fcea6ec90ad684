"""White-box cartoonization: guided filter, gray images, superpixels, total variation."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch

from darkroom.filters.gray import to_gray
from darkroom.filters.guided import guided_filter
from darkroom.filters.superpixels import darken, segment, segment_colours, superpixels
from darkroom.losses.gradients import differences, total_variation

from . import Case, Missing, adapter
from .recipes import inputs


def _wanted(case: Case, found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name in case.data["outputs"]}


def _signed(picture: Any) -> np.ndarray:
    return np.asarray(picture).astype(np.float32) / np.float32(127.5) - np.float32(1)


@adapter("wbc_guided_filter")
def guided(case: Case) -> dict[str, Any]:
    config = case.data["config"]
    if config["mode"] != "regular":
        raise Missing(f"mode {config['mode']}")
    guide = _signed(inputs(case)["image"])
    filtered = guide
    if "y" in case.data["inputs"]:
        filtered = _noisy(guide, case.data["inputs"]["y"]["recipe"])
    x, y = (torch.from_numpy(a).permute(2, 0, 1)[None] for a in (guide, filtered))
    borders = {"out_trainner": "reflect", "out_tf": "zero"}
    found = {name: guided_filter(x, y, config["r"], config["eps"], border)[0] for name, border in borders.items()}
    if filtered is guide:
        for name, border in borders.items():
            same = guided_filter(x, x, config["r"], config["eps"], border)[0]
            assert torch.equal(same, found[name]), "the shorter way for an image that is its own guide differs"
    return _wanted(case, found)


_NOISY = r"clip\(x \+ ([\d.]+)\*float32\(RandomState\((\d+)\)\.standard_normal\(.*\)\), -([\d.]+), ([\d.]+)\)"


def _noisy(x: np.ndarray, recipe: str) -> np.ndarray:
    """What the recipe says in words."""
    match = re.match(_NOISY, recipe)
    if match is None:
        raise Missing(recipe)
    share, seed, low, high = match.groups()
    noise = np.random.RandomState(int(seed)).standard_normal(x.shape).astype(np.float32)
    return np.clip(x + np.float32(share) * noise, -np.float32(low), np.float32(high))


@adapter("wbc_color_shift")
def gray(case: Case) -> dict[str, Any]:
    """Not ``gray_Y_w`` and ``multi_w0``: white-box cartoonization uses neither."""
    x = inputs(case)["x"]
    weights = case.data["config"]["weights"]
    return _wanted(case, {f"gray_w{n}": to_gray(x, torch.tensor(w)) for n, w in enumerate(weights)})


_COLOURS = {"mix": "mix", "avg": "mean", "median": "median"}


@adapter("wbc_superpixel")
def structure(case: Case) -> dict[str, Any]:
    config, image = case.data["config"], inputs(case)["image"].numpy()
    found = superpixels(
        image,
        config["algo"],
        config["n_segments"],
        config["reduction"],
        config["max_size"],
        _COLOURS[config["kind"]],
    )
    assert np.abs(found.astype(int) - case.arrays["superpixel_rgb"]).max() <= 1
    outputs = {"structure": _signed(darken(found, config["gamma"])).transpose(2, 0, 1)}
    if "felzenszwalb_labels" in case.arrays:
        outputs["felzenszwalb_labels"] = segment(image, config["algo"], config["n_segments"])
    return outputs


@adapter("wbc_tf_superpixel")
def of_the_authors(case: Case) -> dict[str, Any]:
    """From the recorded labels, since they hang on the version of scikit-image.

    SLIC finds others in each, and what is merged is a matter of rounding: of texture where the image is flat.
    """
    recorded = next(case.arrays[name] for name in ("merged_labels", "slic_labels") if name in case.arrays)
    labels = np.unique(recorded, return_inverse=True)[1].reshape(recorded.shape)
    colours = segment_colours(inputs(case)["image"].numpy(), labels, "mean")[labels][..., ::-1]
    power = case.data["config"].get("power")
    if power is not None:
        light = (colours / 255) ** power
        colours = light / light.max() * 255
    return {"superpixel_bgr": colours / 127.5 - 1}


@adapter("wbc_tv_loss")
def variation(case: Case) -> dict[str, Any]:
    """Ours is the mean of each image, averaged over the batch; the others differ by factors, ``beta3`` by a power."""
    x = inputs(case)["x"]
    batch, elements = len(x), x[0].numel()
    found: dict[str, Any] = {}
    for name in case.data["outputs"]:
        parts = re.fullmatch(r"(d?)tv_p([12])_(mean|sum)_(bci|b)(_beta3)?", name)
        if parts is not None:
            diagonal, norm, reduction, out_norm, beta = parts.groups()
            value = total_variation(x, 4 if diagonal else 2, int(norm))
            value = value * (elements if reduction == "sum" else 1) / (elements if out_norm == "bci" else 1)
            found[name] = (value * batch) ** 1.5 / batch if beta else value
        elif name == "tf_total_variation_loss":
            _, _, h, w = x.shape
            across, down = (d.square().mean() for d in differences(x))
            found[name] = (across * w / (w - 1) + down * h / (h - 1)) / (3 * h * w)
    return found
