"""Adversarial losses: family ``gan`` (sr); ``gan_loss_modes``, ``gradient_penalty``.

The vectors give the critic's scores instead of images: a "critic" here returns the scores that it is given.
"""

from __future__ import annotations

import random
import re
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from darkroom.losses.adversarial import GAN, gradient_penalty
from darkroom.losses.pool import ImagePool

from . import Case, Missing, adapter
from .recipes import Absent, inputs, state

_MODES = ("vanilla", "lsgan", "wgan", "hinge")


def scores_themselves(images: Any) -> Any:
    return images


@adapter("gan")
def gan(case: Case) -> dict[str, Any]:
    option = case.data.get("option")
    if option is None:
        raise Missing(case.path.stem)
    if "gan_type" not in option:
        return _basicsr(case)
    if option.get("gan_featmaps"):
        return _feature_matching(case)
    if case.path.stem.startswith("gan_hinge_isdisc"):
        return _hinge_parts(case)
    return _players(case)


def _players(case: Case) -> dict[str, Any]:
    """Both players' losses, and their gradients with respect to the scores.

    Hinge: the original does not tell real from fake, so only the generator's side of the standard form is right.
    wgan, standard form: the original halves the critic's loss, the paper and we do not.
    """
    data = case.data
    mode, form = data["option"]["gan_type"], data["option"].get("gan_opt", {}).get("form", "relativistic")
    config = data["config"]
    labels = {name: config[name] for name in ("real_label", "fake_label") if name in config}
    loss = GAN("wgan" if mode in ("wgan-gp", "wgangp") else mode, form, **labels)
    fake, real = _scores(case, "pred_fake"), _scores(case, "pred_real")
    l_g = config.get("gan_weight", 1.0) * loss.generator(scores_themselves, fake, real)
    verdict = loss.discriminator(scores_themselves, fake, real)
    share = 0.5 if loss.mode == "wgan" and form == "standard" else 1.0
    found: dict[str, Any] = {"l_g": l_g, "l_d_total": share * verdict.loss, **verdict.figures}
    for name in data["outputs"]:
        if match := re.fullmatch(r"grad_([gd])_(fake|real)_?(\d*)", name):
            objective = l_g if match[1] == "g" else share * verdict.loss
            side = fake if match[2] == "fake" else real
            score = side[int(match[3] or 0)] if isinstance(side, list) else side
            (found[name],) = torch.autograd.grad(objective, score, retain_graph=True)
    if loss.mode == "hinge":
        if form == "relativistic":
            raise Absent("its relativistic hinge is constant 0, a fault; test_losses_adversarial has a closed form")
        found = {name: value for name, value in found.items() if name in ("l_g", "grad_g_fake")}
    return {name: value for name, value in found.items() if name in data["outputs"]}


def _feature_matching(case: Case) -> dict[str, Any]:
    """The critic gives the maps of the vector; its weight is absolute there, and relative to the loss here."""
    option, weight = case.data["option"], case.data["config"].get("gan_weight", 1.0)
    form = option.get("gan_opt", {}).get("form", "relativistic")
    share = option.get("dis_feature_weight", 1e-4) / weight
    criterion = option.get("dis_feature_criterion", "l1").lower()
    loss = GAN(option["gan_type"], form, feature_weight=share, feature_criterion=criterion)
    given = {name: tensor.requires_grad_() for name, tensor in inputs(case).items()}
    fake, real = (
        [[*(given[n] for n in sorted(given) if n.startswith(f"{side}_fea")), given[f"pred_{side}"]]]
        for side in ("fake", "real")
    )
    return {"l_g": weight * loss.generator(scores_themselves, fake, real)}


def _scores(case: Case, name: str) -> Any:
    """The tensor of that name, or the list of those that begin with it (one per scale)."""
    found = {n: t.requires_grad_() for n, t in inputs(case).items() if re.fullmatch(rf"{name}_?\d*", n)}
    return found[name] if name in found else [found[n] for n in sorted(found)]


def _hinge_parts(case: Case) -> dict[str, Any]:
    given = inputs(case)
    loss = GAN("hinge")
    figures = loss.discriminator(scores_themselves, given["pred_fake"], given["pred_real"]).figures
    g = loss.generator(scores_themselves, given["pred_fake"], given["pred_real"])
    return {"d_real": figures["l_d_real"], "d_fake": figures["l_d_fake"], "g": g}


def _basicsr(case: Case) -> dict[str, Any]:
    """One tensor in every role. ``wgan_softplus`` is the logistic loss, which is ``vanilla``."""
    pred = inputs(case)["pred"]
    found = {}
    for name, mode in [*zip(_MODES, _MODES, strict=True), ("wgan_softplus", "vanilla")]:
        found |= _roles(name, mode, pred, case.data["config"].get("loss_weight", 1.0))
    return {name: value for name, value in found.items() if name in case.data["outputs"]}


def _roles(name: str, mode: str, pred: Tensor, weight: float) -> dict[str, Tensor]:
    loss = GAN(mode)
    figures = loss.discriminator(scores_themselves, pred, pred).figures
    return {
        f"{name}_g": weight * loss.generator(scores_themselves, pred, pred),
        f"{name}_d_real": figures["l_d_real"],
        f"{name}_d_fake": figures["l_d_fake"],
    }


@adapter("gan_loss_modes")
def modes(case: Case) -> dict[str, Any]:
    """``nsgan`` is BCE of probabilities, here as BCE of their logits. ``no_flag_*`` record a fault."""
    logits = inputs(case)["logits"]
    found = {}
    for name in case.data["values"]:
        mode, *labels = re.fullmatch(r"([a-z-]+)(?:_labels_([\d.]+)_([\d.]+))?", name).groups()
        labels = dict(zip(("real_label", "fake_label"), map(float, filter(None, labels)), strict=False))
        loss = GAN({"nsgan": "vanilla", "wgan-gp": "wgan", "wgangp": "wgan"}.get(mode, mode), **labels)
        figures = loss.discriminator(scores_themselves, logits, logits).figures
        real, fake = ("real_is_disc", "fake_is_disc") if mode == "hinge" else ("real", "fake")
        found |= {f"{name}/{real}": figures["l_d_real"], f"{name}/{fake}": figures["l_d_fake"]}
        if mode == "hinge":
            found[f"{name}/generator"] = loss.generator(scores_themselves, logits, logits)
    return found


@adapter("gradient_penalty")
def penalty(case: Case) -> dict[str, Any]:
    config = case.data["config"]
    critic = _patch_critic(config["input_nc"], config["ndf"], config["n_layers"])
    critic.load_state_dict({key.removeprefix("model."): value for key, value in state(case).items()})
    given = inputs(case)
    share = torch.tensor(config["alpha_fake"])
    mixed = torch.lerp(given["real"], given["fake"], share[:, None, None, None]).requires_grad_()
    (slope,) = torch.autograd.grad(critic(mixed).sum(), mixed)
    return {
        "penalty": gradient_penalty(critic, given["fake"], given["real"], share),
        "grad": slope,
        "norms": slope.flatten(1).norm(dim=1),
    }


def _patch_critic(channels: int, width: int, layers: int) -> nn.Sequential:
    critic = nn.Sequential(nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2))
    for n in range(1, layers + 1):
        stride = 2 if n < layers else 1
        inner, outer = width * min(2 ** (n - 1), 8), width * min(2**n, 8)
        critic.extend([nn.Conv2d(inner, outer, 4, stride, 1, bias=False), nn.InstanceNorm2d(outer), nn.LeakyReLU(0.2)])
    critic.append(nn.Conv2d(outer, 1, 4, 1, 1))
    return critic


@adapter("image_pool")
def pool(case: Case) -> dict[str, Any]:
    """The original draws with Python's generator, and only once it is full: its draws are put into torch's here."""
    return {f"table/{n}/returned": _returned(row) for n, row in enumerate(case.data["table"])}


def _returned(row: dict[str, Any]) -> list[list[float]]:
    draws, size, seen, found = random.Random(row["seed"]), row["pool_size"], 0, []
    images = ImagePool(size)
    for query in row["queries"]:
        coins, slots = [0.0] * len(query), [0] * len(query)
        for n in range(len(query)):
            if seen >= size > 0:
                coins[n] = draws.uniform(0, 1)
                slots[n] = draws.randint(0, size - 1) if coins[n] > 0.5 else 0
            seen += 1
        with patch.multiple(
            torch, rand=lambda _, c=coins, **__: torch.tensor(c), randint=lambda *_, s=slots, **__: torch.tensor(s)
        ):
            found.append(images(torch.tensor(query, dtype=torch.float32).reshape(-1, 1, 1, 1)).flatten().tolist())
    return found
