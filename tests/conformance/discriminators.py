"""Discriminators: VGG-style, PatchGAN, multiscale, PixelGAN, U-Net; those of the i2i vectors too."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from darkroom.archs.patchgan import MultiscaleDiscriminator, PatchGAN, PixelGAN
from darkroom.archs.unet_discriminator import UNetDiscriminator
from darkroom.archs.vgg_discriminator import VGGDiscriminator
from darkroom.core.network import Network

from . import Case, Missing, adapter
from .networks import construct
from .recipes import entries, inputs, state

I2I = ("patchgan", "pixelgan", "multiscale", "unetdisc")


@adapter("disc", *I2I, *(f"keys_{name}" for name in I2I), "keys_wbc_discriminator")
def discriminator(case: Case) -> dict[str, Any]:
    with construct(case):
        network, layout = build(case)
    if case.data.get("keys_only"):
        keys = entries(network.to_public(network.state_dict(), layout))
        if case.data["reference"].endswith("Discriminator_VGG_fea"):  # the reference saves its last layers only
            keys = [entry for entry in keys if entry[0].startswith("classifier.")]
        return {"keys": keys}
    network.load_state_dict(network.from_public(state(case)))
    training = case.data.get("mode") == "train" or "training mode" in case.data["notes"]
    network.train(training)
    return outputs(case, network)


def build(case: Case) -> tuple[Network, str | None]:
    config, kind = case.data["config"], case.data["reference"].split()[-1]
    keys = {key for key, _, _ in case.data["state_dict"]}
    spectral = any(key.endswith("weight_orig") for key in keys)
    if kind.startswith("ADiscriminator"):  # it has no use: it returns a tuple that no loss takes
        raise Missing(kind)
    if "VGG" in kind or any(key.startswith("classifier") for key in keys):
        return vgg(config, kind, keys, case.data["state_dict"])
    nc, nf = (
        config.get("input_nc", config.get("num_in_ch", 3)),
        config.get("ndf", config.get("nf", config.get("num_feat"))),
    )
    norm = config.get("norm_layer", config.get("norm", "batch"))
    if kind.startswith("UNetDiscriminator"):
        first, skip = "conv0.weight_orig" in keys, config["skip_connection"]
        return UNetDiscriminator(nc, nf, skip, spectral_norm=spectral, spectral_first=first), None
    if kind == "PixelDiscriminator":
        return PixelGAN(nc, nf, norm, bias="net.2.bias" in keys), None
    feats = config.get("get_feats", False)
    common = {"n_layers": config["n_layers"], "norm_type": norm, "spectral_norm": spectral, "get_feats": feats}
    if kind == "NLayerDiscriminator":
        return PatchGAN(nc, nf, **common), None
    if kind == "MultiscaleDiscriminator":
        return MultiscaleDiscriminator(nc, nf, num_D=config["num_D"], **common), None
    raise Missing(kind)


def vgg(config: dict[str, Any], kind: str, keys: set[str], listed: list[Any]) -> tuple[Network, str]:
    layout, head = next(found for mark, found in LAYOUTS.items() if any(key.startswith(mark) for key in keys))
    shapes = {key: shape for key, shape, _ in listed}
    hidden = next(shapes[key][0] for key in (f"{head}.weight", f"{head}.weight_orig") if key in shapes)
    spelled = re.search(r"_(\d+)", kind)
    size = config.get("size") or config.get("input_size") or (int(spelled[1]) if spelled else 128)
    network = VGGDiscriminator(
        size,
        in_nc=config.get("in_nc", config.get("num_in_ch", 3)),
        nf=config.get("base_nf", config.get("num_feat", 64)),
        norm_type=None if kind.endswith("SN") else config.get("norm_type", "batch"),
        act_type=config.get("act_type", "leakyrelu"),
        mode=config.get("mode", "CNA"),
        convtype=config.get("convtype", "Conv2D"),
        spectral_norm=any(key.startswith(("conv", "features")) and key.endswith("weight_orig") for key in keys),
        spectral_head=f"{head}.weight_orig" in keys,
        hidden=hidden,
        max_nf=None if layout == "basicsr" else 512,
        bias=layout != "basicsr",
        layout="fea" if kind.endswith("_fea") else layout,
    )
    return network, network.layout


LAYOUTS = {
    "conv0_0.": ("basicsr", "linear1"),
    "conv0.0.": ("fea", "classifier.0"),
    "conv0.": ("sn", "linear0"),
    "classifier2.": ("ppon", "classifier2.0"),
    "classifier.": ("features", "classifier.0"),
}


def outputs(case: Case, network: Network) -> dict[str, Tensor]:
    """What the vector records, by name: scores, feature maps, their means, and convolutions before the activation."""
    before: dict[int, Tensor] = {}
    for i, block in enumerate(getattr(network, "blocks", ())):
        block.conv.register_forward_hook(lambda _m, _i, out, i=i: before.update({i: out.mean((2, 3))}))
    x = inputs(case)["x"]
    with torch.no_grad():
        network.get_feats = True
        judged = network(x)
    scales = [([], judged)] if isinstance(judged, Tensor) else [(maps, logits) for *maps, logits in judged]
    maps, logits = scales[0]
    known = dict.fromkeys(("out", "score", "pred"), logits)
    known |= {f"conv{i}_pre_mean": value for i, value in before.items()}
    for i, feature in enumerate(maps):
        known |= {f"fea{i}": feature, f"feat{i}": feature, f"fea{i}_mean": feature.mean((2, 3)), "fea_last": feature}
    for i, (scale_maps, scale_logits) in enumerate(scales):
        known |= dict.fromkeys((f"d{i}", f"scale{i}", f"d{i}_pred", f"scale{i}_pred"), scale_logits)
        for j, feature in enumerate(scale_maps):
            known |= {f"{s}{i}_{f}{j}": feature for s in ("d", "scale") for f in ("fea", "feat")}
    return {name: value for name, value in known.items() if name in case.arrays}
