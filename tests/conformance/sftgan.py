"""SFTGAN: both generators, the discriminator, the segmentation network, its losses; and the losses of PPON's stages."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from darkroom.archs.segmentation import MEAN_BGR, OutdoorSceneSeg
from darkroom.archs.sft import SFTNet
from darkroom.archs.sft_discriminator import ACDiscriminator
from darkroom.core.network import Network
from darkroom.core.terms import LOSSES
from darkroom.losses.acd import AuxiliaryClassifierGAN, classification
from darkroom.losses.adversarial import GAN

from . import Case, Missing, adapter
from .adversarial import scores_themselves
from .losses import part
from .networks import construct
from .recipes import entries, inputs, state


@adapter("sft")
def sft(case: Case) -> dict[str, Any]:
    """The reference's class says which."""
    if "state_dict" not in case.data:
        return losses(case)
    with construct(case):
        network, names = _build(case)
    if case.data.get("keys_only"):
        return {"keys": entries(network.to_public(network.state_dict()))}
    if isinstance(network, SFTNet):  # the two versions have the keys of one another but for the last part
        assert network.recognise(state(case))["version"] == network.version
    network.load_state_dict(network.from_public(state(case)))
    with torch.no_grad():
        found = network.eval()(*_images(case, network))
    return dict(zip(names, found if len(names) > 1 else [found], strict=True))


def _build(case: Case) -> tuple[Network, tuple[str, ...]]:
    reference, size = case.data["reference"], (case.data.get("inputs") or {}).get("x", {}).get("shape", (96,))[-1]
    if "ACD_VGG" in reference:
        return ACDiscriminator(size), ("gan", "cls")
    if "OutdoorSceneSeg" in reference:
        return OutdoorSceneSeg(), ("out",)
    if "SFT_Net" in reference:
        return SFTNet(version="torch" if "SFT_Net_torch" in reference else "pytorch"), ("out",)
    raise Missing(reference)


def _images(case: Case, network: Network) -> list[Tensor]:
    """The segmentation network of the vectors takes BGR less a mean, ours RGB in [0, 1]."""
    given = inputs(case)
    if isinstance(network, SFTNet):
        return [given["img"], given["seg"]]
    if isinstance(network, OutdoorSceneSeg):
        return [(given["x"] + torch.tensor(MEAN_BGR).reshape(3, 1, 1)).flip(1) / 255]
    return [given["x"]]


@adapter("loss_sftgan_acd")
@part("loss_sftgan_acd")
def losses(case: Case) -> dict[str, Any]:
    """The scores and class logits of ``fake`` and ``real`` are given; the scores have one column."""
    given = {name: t.requires_grad_() if t.ndim > 1 else t for name, t in inputs(case).items()}
    fake, real = (
        tuple(sorted((t for name, t in given.items() if side in name), key=lambda t: t.shape[-1]))
        for side in ("fake", "real")
    )
    if not len(fake) == len(real) == 2:
        raise Missing(f"inputs {list(given)}")
    category = _category(case, given)
    loss = AuxiliaryClassifierGAN(case.data["option"].get("gan_type", "vanilla"))
    verdict = loss.discriminator(scores_themselves, fake, real, category)
    cls = classification(fake[1], category)
    total = loss.generator(scores_themselves, fake, real, category).loss
    found = {"l_g_gan": total - cls, "l_g_cls": cls, "l_g": total, "l_g_total": total}
    found |= {"l_d": verdict.loss, "l_d_total": verdict.loss, **verdict.figures}
    return _wanted(case, found, given, {"g": total, "d": verdict.loss})


def _category(case: Case, given: dict[str, Tensor]) -> Tensor:
    """The tensor of one dimension, or the list of integers that the case holds somewhere."""
    held = [value for part in ("config", "option", "inputs") for value in (case.data.get(part) or {}).values()]
    found = [t for t in given.values() if t.ndim == 1]
    found += [torch.tensor(v) for v in held if isinstance(v, list) and all(isinstance(n, int) for n in v)]
    if not found:
        raise Missing("the categories")
    return found[0].long()


@adapter("loss_ppon_zheng")
@part("loss_ppon_zheng")
def ppon(case: Case) -> dict[str, Any]:
    """MS-SSIM and multiscale L1 of the structure stage, the relativistic losses of the perceptual one."""
    given, option = inputs(case), {**case.data.get("option", {}), **case.data["config"]}
    given = {name: t.requires_grad_() for name, t in given.items()}
    found, objectives = {}, {}
    if "x" in given:
        alike = LOSSES["ms-ssim"](
            data_range=option.get("data_range", 1.0), shave=0, repeat_last=False, per_channel=True
        )
        ssim, pixels = alike(given["x"], given["y"]), LOSSES["multiscale"]()(given["x"], given["y"])
        found |= dict.fromkeys(("ms_ssim", "msssim"), 1 - ssim) | dict.fromkeys(("l_g_msssim", "l_g_mssim"), ssim)
        found |= dict.fromkeys(("ml1", "msl1", "ms_l1", "multiscale_l1", "l_g_ml1", "l_g_msl1"), pixels)
        found |= dict.fromkeys(("loss", "total", "l_g_total"), ssim + pixels)
        objectives |= {"": found["loss"]}
    if "pred_fake" in given:
        mode = option.get("gan_type", "vanilla")
        loss = GAN("lsgan" if mode == "lsgan" else "vanilla", "relativistic")
        scores = given["pred_fake"], given["pred_real"]
        verdict, fooled = loss.discriminator(scores_themselves, *scores), loss.generator(scores_themselves, *scores)
        found |= {**verdict.figures, "l_d_total": verdict.loss, "l_g": fooled, "l_g_gan": fooled}
        objectives |= {"g": fooled, "d": verdict.loss}
    return _wanted(case, found, given, objectives)


def _wanted(
    case: Case, found: dict[str, Tensor], given: dict[str, Tensor], objectives: dict[str, Tensor]
) -> dict[str, Tensor]:
    """What the vector has of ``found``, and of the gradients ``grad_x``, ``grad_g_fake`` or ``grad_d_cls_real``."""
    wanted = {name: value for name, value in found.items() if name in case.data["outputs"]}
    for name in case.data["outputs"]:
        match = re.fullmatch(r"grad_(?:([gd])_)?(\w+)", name)
        held = match and next((given[n] for n in (match[2], f"pred_{match[2]}") if n in given), None)
        if match and held is not None and (match[1] or "") in objectives:
            (wanted[name],) = torch.autograd.grad(objectives[match[1] or ""], held, retain_graph=True)
    if not wanted:
        raise Missing(f"outputs {list(case.data['outputs'])}")
    return wanted
