"""Losses of spectra, colours, averages and context."""

from __future__ import annotations

from functools import partial
from typing import Any

from darkroom.core.terms import LOSSES
from darkroom.losses import contextual, frequency

from . import Case, Missing
from .losses import part, value_and_gradient
from .recipes import inputs


@part("loss_fft")
def fft(case: Case) -> dict[str, Any]:
    """Not ``loss`` and ``grad_x``: with torch >= 1.9 the original is the plain L1 (see ``notes``)."""
    given = inputs(case)
    return {"intended_pre_1_9": frequency.fft_l1(given["x"], given["y"])}


@part("loss_color", "loss_avg")
def averaged(case: Case) -> dict[str, Any]:
    if case.data["config"]:
        raise Missing(f"config {case.data['config']}")
    option = dict(case.data["option"])
    scale = option.pop("scale")
    ((_, name),) = option.items()
    kind, _, criterion = name.lower().partition("-")
    return value_and_gradient(case, LOSSES[kind](criterion=criterion, scale=scale))


@part("loss_contextual")
def context(case: Case) -> dict[str, Any]:
    """``b`` cancels."""
    config = {"calc_type": "regular", "band_width": 0.5, "max_1d_size": 100, **case.data["config"]}
    config.pop("b", None)
    return value_and_gradient(case, partial(contextual.contextual, **config))
