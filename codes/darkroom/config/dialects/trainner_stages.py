"""The documented stages of degradations: their keys, and what they have to choose from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from .rules import Combined, Table
from .trainner_presets import FAMILIES, Words

_OWN = ("average", "box", "gaussian", "median", "bilateral", "motion")
BLURS: Mapping[str, str] = {
    **{name: f"{name}_blur" for name in _OWN},
    "complexmotion": "complex_motion_blur",
    **{n: n for n in ("iso", "aniso", "sinc", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso")},
    "clean": "clean",
}
"""Documented blurs, and what they are natively."""
_SELF = (
    "jpeg", "webp", "dither", "dither_bayer", "dither_fs_bw", "dither_avg_bw", "dither_bayer_bw", "dither_bin_bw",
    "dither_rnd_bw", "simple_quantize", "som_quantize", "km_quantize", "maxrgb", "clahe", "superpixels", "clean",
)  # fmt: skip
NOISES: Mapping[str, str] = {
    **{name: f"{name}_noise" for name in ("gaussian", "poisson", "speckle", "camera")},
    "s&p": "salt_and_pepper",
    "patches": "noise_patches",
    "fs_dither": "dither",
    "simplequantize": "simple_quantize",
    "quantize": "som_quantize",
    **{name: name for name in _SELF},
}
"""The same of noises, which include compression and everything else that is done to single pixels."""

RESIZES = ("nearest_aligned", "down_up", "realistic")
"""Documented algorithms that are more than a kernel."""
INEXACT = ("nearest_aligned", "down_up")
"""Those of them that do not reduce to a size, but to something between it and twice as much."""


class Kind(NamedTuple):
    """A stage in the documented keys."""

    name: str
    switch: str
    """The key that turns it on; that of the types itself if it is the same one."""
    types: str
    """The key of what there is to choose from; no key for stages of one kind."""
    chance: str
    """The key of the probability, if there is one."""
    native: Mapping[str, str]
    """Documented types, and what they are natively; none for those that resize."""
    family: str
    """Whose presets have its parameters."""
    cycle: str = ""
    """What is added to the name of a type to find the parameters of this stage in a preset."""
    group: str = ""


def _one(name: str, switch: str, chance: str) -> Kind:
    return Kind(name, switch, "", chance, {name: name}, "noise")


STAGES = (
    Kind("blur", "lr_blur", "lr_blur_types", "blur_prob", BLURS, "blur"),
    Kind("resize", "lr_downscale", "lr_downscale_types", "", {}, "resize"),
    Kind("noise", "lr_noise", "lr_noise_types", "", NOISES, "noise"),
    Kind("compression", "compression", "compression", "", NOISES, "noise"),
    _one("auto_levels", "lr_auto_levels", "lr_rand_auto_levels"),
    _one("unsharp", "lr_unsharp_mask", "lr_rand_unsharp"),
    _one("fringes", "lr_fringes", "lr_fringes_chance"),
    Kind("blur2", "lr_blur2", "lr_blur_types2", "blur_prob2", BLURS, "blur", "2"),
    Kind("resize2", "lr_downscale2", "lr_downscale_types2", "", {}, "resize", "2"),
    Kind("noise2", "lr_noise2", "lr_noise_types2", "", NOISES, "noise", "2"),
)
LAST = (
    Kind("final_compression", "final_compression", "final_compression", "", NOISES, "noise", group="compression"),
    Kind("final_scale", "final_scale", "final_scale_types", "", {}, "resize", group="scale"),
    Kind("final_blur", "final_blur", "final_blur", "final_blur_prob", BLURS, "blur", group="scale"),
)
AFTER = (_one("cutout", "lr_cutout", "lr_cutout_p"), _one("erasing", "lr_erasing", "lr_erasing_p"))
TARGET = (
    Kind("noise", "hr_noise", "hr_noise_types", "", NOISES, "noise"),
    _one("auto_levels", "hr_auto_levels", "hr_rand_auto_levels"),
    _one("unsharp", "hr_unsharp_mask", "hr_rand_unsharp"),
)
KINDS = (*STAGES, *LAST, *AFTER, *TARGET)
DOWNSCALE = ("lr_downscale", "lr_downscale_types")
"""Keys that mean the making of inputs that no file has, unless resizing is a stage."""
WORDS = Words(
    pipeline=(
        "resize_strat", "shuffle_degradations", "down_up_types", "dataroot_kernels", "realk_scale", "noise_data",
        "noise_data_size", *(key for kind in KINDS for key in (kind.switch, kind.types, kind.chance) if key),
    ),
    names={
        "blur": (*BLURS,),
        "resize": ("resize", *RESIZES),
        "noise": (*NOISES, "auto_levels", "unsharp", "fringes", "cutout", "erasing", "canny"),
    },
    types={kind.types or kind.switch: kind.family for kind in KINDS},
)  # fmt: skip

KEYS: Table = {
    **{key: Combined("degrade", str) for key in ("augs_strategy", "degrade_on", "resize_strat", "auto_levels")},
    **{f"{role}_{family}_preset": Combined("degrade", str) for role in ("add", "base") for family in FAMILIES},
    "aug_configs": Combined("degrade: of"),
    "rand_auto_levels": Combined("degrade: probability", float),
    "shuffle_degradations": Combined("degrade.shuffle", bool),
    "down_up_types": Combined("degrade: kernels of down_up"),
    "dataroot_kernels": Combined("degrade: folder of realistic", str),
    "realk_scale": Combined("degrade: kernel_scale of realistic", int),
    "noise_data": Combined("degrade: folder of noise_patches", str),
    "noise_data_size": Combined("degrade: size of noise_patches", int),
    **{kind.switch: Combined(f"degrade: {kind.name}") for kind in KINDS if kind.switch not in DOWNSCALE},
    **{k.types: Combined(f"degrade: of {k.name}") for k in KINDS if k.types and k.types not in DOWNSCALE},
    **{kind.chance: Combined(f"degrade: probability of {kind.name}", float) for kind in KINDS if kind.chance},
}
"""Keys of a training set that make the section."""

NEEDS: Mapping[str, str] = {
    **{kind.types: kind.switch for kind in KINDS if kind.types not in ("", kind.switch)},
    **{kind.chance: kind.switch for kind in KINDS if kind.chance},
    "rand_auto_levels": "auto_levels",
    "down_up_types": "down_up in lr_downscale_types",
    "dataroot_kernels": "realistic in lr_downscale_types",
    "realk_scale": "dataroot_kernels",
    "noise_data": "patches in lr_noise_types",
    "noise_data_size": "noise_data",
    "degrade_on": "degradation",
    "shuffle_degradations": "degradation",
}
"""Keys that have no effect alone, and what they need."""
