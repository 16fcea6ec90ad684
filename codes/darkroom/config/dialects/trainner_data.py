"""The documented keys of datasets, and what becomes of each; ``trainner_datasets`` puts together what several make."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from ..options import LoaderOptions
from ..source import Section
from ..typed import hints
from . import trainner_methods as methods
from . import trainner_stages as stages
from . import trainner_translation as translation
from .rules import Belongs, Combined, OnlyFor, Refused, Table, Takes, copied, home, later, lower

MODES = {
    **dict.fromkeys(("aligned", "lrhr", "lrhrotf", "lrhrc"), "aligned"),
    **dict.fromkeys(("single", "lr"), "single"),
    **dict.fromkeys(("segmented", "lrhrseg_bg"), "segmented"),
    "paired": "paired",
    "unaligned": "unaligned",
    "concat_unaligned": "concat_unaligned",
    **dict.fromkeys(("concat_aligned", "concat_lrhr", "concat_lrhrotf", "concat_lrhrc"), "aligned"),
}
"""Documented modes of the datasets that there are."""
MODES_LATER = (
    "vlrhr",
    "vlr",
    "dvd",
    "dvdi",
    "lrhrpbr",
)

CUBIC = ("cubic", "bicubic", "matlab_bicubic")
KERNELS = {
    **dict.fromkeys(CUBIC, "cubic"),
    **dict.fromkeys(("linear", "bilinear"), "linear"),
    **{name: name for name in ("box", "mitchell", "hermite", "bell", "catrom", "hanning", "hamming", "gaussian")},
    **{
        f"{name}{n}": f"{name}{n}"
        for name, first in (("lanczos", 2), ("sinc", 2), ("blackman", 2))
        for n in range(first, 6)
    },
}
"""Documented names of the antialiased kernels."""
PLAIN_KERNELS = {
    **{name: name for name in ("nearest", "area", "cv2_linear", "cv2_linear_exact", "cv2_cubic", "cv2_lanczos4")},
    "cv2_nearest": "nearest",
    "cv2_area": "area",
}
"""Documented names of OpenCV's kernels, which are not antialiased but for ``area``."""

_VIDEO = "belongs to video models, which are not in this version; remove it"
_WHOLE = "is for training; images are validated and tested whole, as they are; remove it"

OWN: Table = {
    **{f.name: Takes(f.name, hints(LoaderOptions)[f.name]) for f in dataclasses.fields(LoaderOptions)},
    "type": Combined("type"),
    "target": Takes("target"),
    "input": Takes("input"),
    "scale": Takes("scale", int),
    "crop": Takes("crop", int),
    "flip": Takes("flip", bool),
    "rotate": Takes("rotate", bool),
    "channels": Takes("channels", int),
    "kernel": Takes("kernel"),
    "small": Takes("small", str),
    **{key: Takes(key) for key in ("maps", "background", "shrink", "categories")},
    "background_share": Takes("background_share", float),
    "classes": Takes("classes", int),
    "category": Takes("category", str),
    "subset_file": Takes("subset_file", str),
    "limit": Takes("limit", int),
    **{key: Takes(key) for key in ("batches_from", "misfit", "shrink", "shrink_kernel", "input_color", "target_color")},
    **{key: Takes(key, float) for key in ("ignore_input", "swap", "rotate_free")},
    **{key: Takes(key) for key in ("combined", "a", "b", "weights", "multiple_of", "none", "antialias")},
    **{key: Takes(key, int) for key in ("input_channels", "target_channels")},
    "serial": Takes("serial", bool),
}
"""Native options of the datasets and their loader."""
SHARED = ("preprocess", "load_size", "crop_size", "center_crop_size", "aspect_ratio", "direction")
"""Documented keys that the datasets of image-to-image models have natively too."""


def _roots(value: Any) -> list[Any]:
    """Folders, of which one may be written without a list; those with a weight stay as they are."""
    roots = [value] if isinstance(value, (str, Section)) else value
    if not isinstance(roots, list) or not all(isinstance(r, (str, Section)) for r in roots):
        raise ValueError(f"expected a folder or a list of folders, found {value!r}")
    return [home(root) if isinstance(root, str) else copied(root) for root in roots]


def _misfit(value: str) -> str:
    return {"reshape_lr": "resize_input", "reshape_hr": "resize_target"}.get(value.lower(), "make")


def color(value: str) -> str:
    """The native colour of a documented one.

    Raises:
        ValueError: there is none of that name.
    """
    known = {"rgb": "rgb", "y": "y", "gray": "gray", "grey": "gray", "rgb-lab": "lab", "lab-rgb": "lab_to_rgb"}
    if value.lower() not in known:
        raise ValueError(f"expected y, gray, RGB, RGB-LAB or LAB-RGB, found {value!r}")
    return known[value.lower()]


def _small(value: str) -> str:
    if value.lower() not in ("pad", "resize"):
        raise ValueError(f"expected pad or resize, found {value!r}")
    return value.lower()


_SWAPS = ("rand_flip_LR_HR", "rand_flip_A_B")
_SIDES = ("target", "input", "combined")
_ROOTS: Table = {
    **{f"dataroot_{name}": Takes("target", Any, _roots) for name in ("HR", "B", "gt")},
    **{f"dataroot_{name}": Takes("input", Any, _roots) for name in ("LR", "A", "lq")},
    "direction": Combined("direction; target, input", str),
    "dataroot_AB": Takes("combined", Any, _roots),
    "dataroot": Takes("combined", Any, _roots),
    "dataroot_HR_bg": Takes("background", Any, _roots),
    "dataroot_seg": Takes("maps", Any, _roots),
    "dataroot_ref": later("a reference image"),
    "subset_file_LR": Refused("inputs are found by the names of their targets; write subset_file only"),
}

SIGNED = (*translation.MODELS, "sr", "srgan", "srragan")
"""Methods whose networks may see images in [-1, 1]."""

_COMMON: Table = {
    **OWN,
    **_ROOTS,
    "mode": Combined("type", str),
    "n_workers": Takes("workers", int),
    "max_dataset_size": Combined("limit", float),
    "image_channels": Takes("channels", int),
    "input_nc": Takes("input_channels", int),
    "output_nc": Takes("target_channels", int),
    "img_loader": Refused("images are read in one way, which reads all of them; remove it", ("cv2",)),
    "outputs": Combined("type", str),
    "znorm": OnlyFor(SIGNED, Combined("model.signed, test.signed", bool)),
    "toTensor_method": later("another conversion to tensors"),
    "normalization_mean": Belongs("toTensor_method"),
    "normalization_std": Belongs("toTensor_method"),
    "normalize_first": Belongs("toTensor_method"),
    "color": Combined("input_color, target_color", str),
    **{f"color_{x}": Takes("input_color", str, color) for x in ("LR", "A")},
    **{f"color_{x}": Takes("target_color", str, color) for x in ("HR", "B")},
    "lr_downscale": Combined("kernel", bool),
    "lr_downscale_types": Combined("kernel"),
    "serial_batches": Takes("serial", bool),
    "sampler_weights": Takes("weights", list[float]),
    "quant": methods.QUANT,
    **{
        key: Refused(_VIDEO)
        for key in ("num_frames", "srcolors", "y_only", "random_reverse", "max_frameskip", "denoise_LRbic", "n_iters")
    },
    "tensor_shape": Refused(_VIDEO, ("tchw",)),
    **{f"dataroot_{part}": Refused(_VIDEO) for part in ("in", "top", "bottom", "progressive")},
}


_SIZES: Table = {
    "preprocess": Combined("preprocess", str),
    "crop_size": Takes("crop", int),
    "HR_size": Takes("crop", int),
    "load_size": Takes("load_size", int | list[int]),
    "center_crop_size": Takes("center_crop_size", int),
    "aspect_ratio": Takes("aspect_ratio", float),
    "default_none": Takes("none", str, lower),
    "dim_change": Takes("small", str, _small),
}
_GEOMETRY: Table = {
    **_SIZES,
    "use_flip": Takes("flip", bool),
    "use_rot": Takes("rotate", bool),
    "use_hrrot": Takes("rotate_free", bool, lambda on: 0.5 if on else 0.0),
    "pre_crop": Refused("only the crop of an input is ever computed; remove it"),
    "hr_downscale": Combined("shrink", bool),
    "hr_downscale_amt": Combined("shrink", float | list[float], needs="hr_downscale"),
    "hr_downscale_types": Combined("shrink_kernel", needs="hr_downscale"),
    "aug_downscale": Takes("ignore_input", float | Literal[False], float),
    **{key: Combined("swap", bool) for key in _SWAPS},
    "flip_chance": Combined("swap", float),
    "shape_change": Takes("misfit", str, _misfit),
    "pad_mode": Refused("small images are padded with their mirror image; remove it"),
}

TRAIN: Table = {
    **_COMMON,
    **_GEOMETRY,
    **stages.KEYS,
    "batch_size": Takes("batch_size", int),
    "virtual_batch_size": Combined("train.accumulate", int),
    "use_shuffle": Combined("nothing: always on", bool),
}
"""Section ``datasets.train``."""

WHOLE: Table = {
    **_COMMON,
    **{key: Refused(_WHOLE) for key in (*_GEOMETRY, *stages.KEYS, "virtual_batch_size", "crop", "flip", "rotate")},
    "batch_size": Refused("is for training; whole images are taken one at a time; remove it", (1,)),
    "use_shuffle": Refused("is for training; images are validated and tested in their order; remove it"),
}
"""Sections ``datasets.val`` and those of files for test.py."""
WHOLE_TRANSLATED: Table = {**WHOLE, **_SIZES, "crop": Takes("crop", int)}
"""The same, for image-to-image models: there the images may be resized and cut first."""

FOLDERS: Mapping[str, str] = {
    **{key: rule.to for key, rule in {**OWN, **_ROOTS}.items() if isinstance(rule, Takes) and rule.to in _SIDES},
    "a": "input",
    "b": "target",
}
"""Which images the folders of a key hold."""

_RESIZED = (*translation.DATASETS, "single")
_SIZES_HOME = _RESIZED, "image-to-image datasets, such as mode unaligned"
_PAIRS_HOME = ("paired",), "pairs of images of one size, mode aligned"
_MAPS_HOME = ("segmented",), "mode LRHRseg_bg"
_SMALLER_HOME = ("aligned", "segmented"), "datasets whose inputs are smaller than their targets"
_ALIGNED_HOME = ("aligned",), "mode aligned, for super-resolution and restoration"
_ALIGNED_ONLY = (
    *stages.KEYS, *_SWAPS, "flip_chance", "aug_downscale", "use_hrrot", "hr_downscale", "hr_downscale_amt",
    "hr_downscale_types", "shape_change", "color", "color_LR", "color_HR", "color_A", "color_B",
)  # fmt: skip
HOMES: Mapping[str, tuple[tuple[str, ...], str]] = {
    **dict.fromkeys(("load_size", "center_crop_size", "aspect_ratio", "default_none"), _SIZES_HOME),
    **dict.fromkeys(("dataroot_AB", "dataroot"), _PAIRS_HOME),
    **dict.fromkeys(("dataroot_HR_bg", "dataroot_seg"), _MAPS_HOME),
    **dict.fromkeys(_ALIGNED_ONLY, _ALIGNED_HOME),
    **dict.fromkeys(("lr_downscale", "lr_downscale_types"), _SMALLER_HOME),
    "subset_file": (("aligned", "segmented", "paired"), "pairs of images, mode aligned"),
    "serial_batches": (translation.UNALIGNED, "mode unaligned or concat_unaligned"),
    "sampler_weights": (("concat_unaligned", "aligned"), "mode concat_unaligned or concat_aligned"),
}
"""Keys that belong to some datasets only: their types, and what to call them."""

WORDS = ("none", "crop", "center_crop", "resize", "scale_width", "scale_height", "scale_shortside", "fixed")
"""What ``preprocess`` is made of."""
SIZES_OF: Mapping[str, tuple[str, ...]] = {
    "load_size": ("resize", "scale_"),
    "crop_size": ("crop", "fixed", "scale_width", "scale_height"),
    "center_crop_size": ("center_crop",),
    "aspect_ratio": ("fixed",),
}
"""How the words of ``preprocess`` begin that a size is for."""


def foreign(section: Section) -> list[str]:
    """The keys of a dataset that only this dialect has."""
    own = {*OWN, *SHARED} if section.get("type") in _RESIZED else {*OWN}
    return [key for key in section if key in TRAIN and key not in own]
