"""The documented datasets as native sections."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ...core.registry import did_you_mean
from ..options import LoaderOptions
from ..source import Section
from ..typed import hints
from . import trainner_methods as methods
from . import trainner_translation as translation
from .rules import Belongs, Combined, Job, OnlyFor, Refused, Rule, Table, Takes, copied, is_off, later, lower, method

MODES = {
    **dict.fromkeys(("aligned", "lrhr", "lrhrotf", "lrhrc"), "aligned"),
    **dict.fromkeys(("single", "lr"), "single"),
    **dict.fromkeys(("segmented", "lrhrseg_bg"), "segmented"),
    "paired": "paired",
    "unaligned": "unaligned",
    "concat_unaligned": "concat_unaligned",
}
"""Documented modes of the datasets that there are."""
MODES_LATER = (
    "concat_aligned",
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
KERNELS_LATER = (
    "nearest", "cv2_nearest", "cv2_linear", "cv2_cubic", "area", "cv2_area", "cv2_lanczos4", "cv2_linear_exact",
    "nearest_aligned", "down_up", "realistic",
)  # fmt: skip

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
    **{key: Takes(key) for key in ("combined", "a", "b", "weights", "multiple_of", "none", "antialias")},
}
"""Native options of the datasets and their loader."""


def _roots(value: Any) -> list[str]:
    """Folders, of which one may be written without a list."""
    roots = [value] if isinstance(value, str) else value
    if not isinstance(roots, list) or not all(isinstance(r, str) for r in roots):
        raise ValueError(f"expected a folder or a list of folders, found {value!r}")
    lmdb = next((r for r in roots if r.lower().rstrip("/\\").endswith(".lmdb")), None)
    if lmdb is not None:
        raise ValueError(f"{lmdb!r}: LMDB is not in this version yet; write the folder of the images")
    return [str(Path(r).expanduser()) if r.startswith("~") else r for r in roots]


def _small(value: str) -> str:
    if value.lower() not in ("pad", "resize"):
        raise ValueError(f"expected pad or resize, found {value!r}")
    return value.lower()


_ROOTS: Table = {
    **{f"dataroot_{name}": Takes("target", Any, _roots) for name in ("HR", "B", "gt")},
    **{f"dataroot_{name}": Takes("input", Any, _roots) for name in ("LR", "A", "lq")},
    "direction": Combined("direction; target, input", str),
    "dataroot_AB": Takes("combined", Any, _roots),
    "dataroot": Takes("combined", Any, _roots),
    "dataroot_HR_bg": Takes("background", Any, _roots),
    "dataroot_seg": Takes("maps", Any, _roots),
    "dataroot_ref": later("a reference image"),
    "dataroot_kernels": later("downscaling with estimated kernels"),
    "realk_scale": Belongs("dataroot_kernels"),
    "subset_file_LR": Refused("inputs are found by the names of their targets; write subset_file only"),
}

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
    "znorm": OnlyFor(translation.MODELS, Combined("model.signed, test.signed", bool)),
    "toTensor_method": later("another conversion to tensors"),
    "normalization_mean": Belongs("toTensor_method"),
    "normalization_std": Belongs("toTensor_method"),
    "normalize_first": Belongs("toTensor_method"),
    "color": later("converting colours (RGB is what you get)", "rgb"),
    **{f"color_{x}": later("converting colours (RGB is what you get)", "rgb") for x in ("LR", "HR", "A", "B")},
    "lr_downscale": Combined("kernel", bool),
    "lr_downscale_types": Combined("kernel"),
    "rand_flip_LR_HR": later("swapping input and target"),
    "rand_flip_A_B": later("swapping input and target"),
    "flip_chance": Belongs("rand_flip_LR_HR"),
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


def _feature(why: str, *keys: str, **parameters: str) -> dict[str, Rule]:
    """Keys that switch on a feature of a later version, and its ``parameters`` with the key that each belongs to."""
    return {**{key: later(why) for key in keys}, **{key: Belongs(needs) for key, needs in parameters.items()}}


_DEGRADATIONS: Table = {
    **_feature("degrading on the fly with presets", "augs_strategy", "aug_configs"),
    **{f"{kind}_{what}_preset": later("presets") for kind in ("add", "base") for what in ("blur", "resize", "noise")},
    "resize_strat": later("resizing among the degradations", "pre"),
    **_feature("ignoring the input now and then", "aug_downscale"),
    **_feature(
        "more than one downscaling", "lr_downscale2", "final_scale",
        lr_downscale_types2="lr_downscale2", final_scale_types="final_scale",
    ),
    "down_up_types": later("downscaling by enlarging"),
    **_feature(
        "blurring the input", "lr_blur", "lr_blur2", "final_blur",
        lr_blur_types="lr_blur", blur_prob="lr_blur", lr_blur_types2="lr_blur2", blur_prob2="lr_blur2",
        final_blur_prob="final_blur",
    ),
    **_feature(
        "adding noise", "lr_noise", "lr_noise2", "hr_noise", "noise_data",
        lr_noise_types="lr_noise", lr_noise_types2="lr_noise2", hr_noise_types="hr_noise", noise_data_size="noise_data",
    ),
    **_feature("compressing the input", "compression", "final_compression"),
    **_feature("shuffling degradations", "shuffle_degradations"),
    **_feature("colour fringes", "lr_fringes", lr_fringes_chance="lr_fringes"),
    **_feature(
        "adjusting levels", "lr_auto_levels", "hr_auto_levels", "auto_levels",
        lr_rand_auto_levels="lr_auto_levels", hr_rand_auto_levels="hr_auto_levels", rand_auto_levels="auto_levels",
    ),
    **_feature(
        "sharpening", "lr_unsharp_mask", "hr_unsharp_mask",
        lr_rand_unsharp="lr_unsharp_mask", hr_rand_unsharp="hr_unsharp_mask",
    ),
    **_feature("cutting out", "lr_cutout", "lr_erasing", lr_cutout_p="lr_cutout", lr_erasing_p="lr_erasing"),
}  # fmt: skip

_SIZES: Table = {
    "preprocess": Combined("preprocess", str),
    "crop_size": Takes("crop", int),
    "HR_size": Takes("crop", int),
    "load_size": Takes("load_size", int | list[int]),
    "center_crop_size": Takes("center_crop_size", int),
    "aspect_ratio": Takes("aspect_ratio", float),
    "default_none": Takes("none", str, lower),
}
_GEOMETRY: Table = {
    **_SIZES,
    "use_flip": Takes("flip", bool),
    "use_rot": Takes("rotate", bool),
    "use_hrrot": later("rotating by any angle"),
    "pre_crop": Refused("only the crop of an input is ever computed; remove it"),
    **_feature(
        "downscaling the target", "hr_downscale", hr_downscale_amt="hr_downscale", hr_downscale_types="hr_downscale"
    ),
    "shape_change": Refused("an input whose size does not fit its target is an error; remove it"),
    "dim_change": Takes("small", str, _small),
    "pad_mode": Refused("small images are padded with their mirror image; remove it"),
}

TRAIN: Table = {
    **_COMMON,
    **_GEOMETRY,
    **_DEGRADATIONS,
    "batch_size": Takes("batch_size", int),
    "virtual_batch_size": Combined("train.accumulate", int),
    "use_shuffle": Combined("nothing: always on", bool),
}
"""Section ``datasets.train``."""

WHOLE: Table = {
    **_COMMON,
    **{key: Refused(_WHOLE) for key in (*_GEOMETRY, *_DEGRADATIONS, "virtual_batch_size", "crop", "flip", "rotate")},
    "batch_size": Refused("is for training; whole images are taken one at a time; remove it", (1,)),
    "use_shuffle": Refused("is for training; images are validated and tested in their order; remove it"),
}
"""Sections ``datasets.val`` and those of files for test.py."""
WHOLE_TRANSLATED: Table = {**WHOLE, **_SIZES, "crop": Takes("crop", int)}
"""The same, for image-to-image models: there the images may be resized and cut first."""


def dataset(job: Job, name: str, others: Mapping[str, Collection[str]], *, training: bool) -> None:
    """Make ``datasets.<name>``; ``others`` are the keys of the other sections."""
    sections = job.section("datasets")
    section = sections.get(name)
    path = f"datasets.{name}"
    if not isinstance(section, Section):
        job.error(sections.where(name), f"{name}: expected a section with options, found {section!r}")
        return
    if "type" in section and not any(key in TRAIN and key not in OWN for key in section):  # native throughout
        job.put(path, copied(section), sections.where(name), name)
        return
    translated = method(job) in translation.MODELS
    table = TRAIN if training else WHOLE_TRANSLATED if translated else WHOLE
    inner = Job(job.file, job.errors, job.notes)
    inner.native = Section.make(section.place, {})
    inner.sweep(section, table, path, others)
    _kind(inner, section, path)
    _limit(inner, section)
    if inner.native.get("type") in translation.DATASETS or translated:
        translation.dataset(inner, section)
        signed = inner.read(section, "znorm", bool)
        if signed is not None:
            test = "train" not in job.file
            job.put("test.signed" if test else "model.signed", signed, section.where("znorm"), "znorm")
        job.put(path, inner.native, sections.where(name), name)
        return
    _direction(inner, section)
    _plain(inner, section)
    _kernel(inner, section, training)
    scale = job.scale()
    if training:
        _for_training(inner, section, scale)
        if inner.native.get("type") == "segmented" and not {"input", "shrink"} & {*inner.native}:
            inner.put("shrink", [1.0, 0.9, 0.8, 0.7, 0.6, 0.5], section.where(), "mode")
    elif inner.native.pop("background", None):
        job.error(section.where("dataroot_HR_bg"), "dataroot_HR_bg: is for training; remove it here")
    if inner.native.get("type") == "aligned" and scale == 1 and not inner.native.get("input"):
        job.error(section.where(), f"{path}: at scale 1 the input would be the target itself; write dataroot_LR too")
    job.put(path, inner.native, sections.where(name), name)


def _kind(inner: Job, section: Section, path: str) -> None:
    """``mode``; an input with a target beside it is a pair, whatever the mode says, so that it can be measured."""
    key = "mode" if "mode" in section else "type"
    mode = inner.read(section, key, str)
    if mode is None:
        if section.get(key) is None:
            inner.error(section.where(), f"{path}: needs mode, such as mode: aligned (there are {', '.join(MODES)})")
        return
    kind = MODES.get(mode.lower())
    if kind is None:
        is_later = mode.lower() in MODES_LATER or mode.lower().startswith("concat_")
        why = f"{mode} is not in this version yet" if is_later else f"there is no mode {mode!r}"
        near = "" if is_later else did_you_mean(mode.lower(), MODES)
        inner.error(section.where(key), f"mode: {why}.{near} There are: {', '.join(MODES)}")
        return
    if kind == "single" and "target" in inner.native and "input" in inner.native:
        kind = "aligned"
    if kind == "aligned" and (method(inner) in translation.MODELS or "combined" in inner.native):
        kind = "paired"
    wanted, root = ("input", "dataroot_LR") if kind == "single" else ("target", "dataroot_HR")
    roots = [k for k, rule in {**_ROOTS, **OWN}.items() if isinstance(rule, Takes) and rule.to == wanted]
    if all(section.get(k) is None for k in roots) and kind not in translation.DATASETS:
        inner.error(section.where(), f"{path}: mode {mode} needs {root}, the folder of the images")
    inner.put("type", kind, section.where(key), key)
    outputs = lower(inner.read(section, "outputs", str, "lrhr"))
    if outputs not in ("lrhr", "ab", "lr", "a"):
        inner.error(section.where("outputs"), f"outputs: the mode says what there is; remove it (found {outputs!r})")


def _direction(inner: Job, section: Section) -> None:
    """``BtoA`` learns the way back."""
    direction = lower(inner.read(section, "direction", str, "AtoB"))
    if direction not in ("atob", "btoa"):
        inner.error(section.where("direction"), f"direction: expected AtoB or BtoA, found {section['direction']!r}")
    native = inner.native
    if direction == "btoa" and "target" in native and "input" in native:
        (a, at_a), (b, at_b) = ((native[key], native.where(key)) for key in ("input", "target"))
        native.put("input", b, at_b)
        native.put("target", a, at_a)
    elif direction == "btoa":
        inner.error(section.where("direction"), "direction: BtoA needs both folders, dataroot_A and dataroot_B")


def _plain(inner: Job, section: Section) -> None:
    """What only image-to-image models have, and one number of channels for both images."""
    for key in ("load_size", "center_crop_size", "aspect_ratio", "none", "serial", "weights", "combined"):
        if inner.native.pop(key, None) is not None:
            rules = TRAIN.items()
            written = next(k for k, rule in rules if k in section and isinstance(rule, Takes) and rule.to == key)
            others = f"belongs to {', '.join(translation.DATASETS)} datasets, of image-to-image models; remove it"
            inner.error(section.where(written), f"{written}: {others}")
    for key, name in (("input_channels", "input_nc"), ("target_channels", "output_nc")):
        channels = inner.native.pop(key, None)
        if channels is not None:
            inner.put("channels", channels, section.where(name), name)


def _limit(inner: Job, section: Section) -> None:
    """Infinity is written ``.inf`` in YAML, and means all."""
    key = "max_dataset_size"
    value = section.get(key)
    if value is None or value == float("inf") or value == "inf":
        return
    limit = inner.read(section, key, int)
    if limit is not None:
        inner.put("limit", limit, section.where(key), key)


def _kernel(inner: Job, section: Section, training: bool) -> None:
    """Algorithms count unless ``lr_downscale`` is off; then inputs that no file has are still made, with cubic."""
    key, names = "lr_downscale_types", section.get("lr_downscale_types")
    switch = inner.read(section, "lr_downscale", bool)
    if switch is False:
        if "input" not in inner.native and "target" in inner.native:
            inner.note(section.where("lr_downscale"), "there are no inputs in files: they are made from the targets")
        return
    if is_off(names):
        return
    if isinstance(names, Section) and len({*map(repr, names.values())}) > 1:
        inner.error(section.where(key), f"{key}: weights of algorithms are not in this version yet; write a list")
    listed = [names] if isinstance(names, str) else list(names) if isinstance(names, (list, Section)) else [repr(names)]
    kernels = []
    for name in map(str, listed):
        kernel = KERNELS.get(name.lower())
        if kernel is None:
            known = f"There are: {', '.join(KERNELS)}"
            why = "is not in this version yet" if name.lower() in KERNELS_LATER else "is no algorithm"
            inner.error(section.where(key), f"{key}: {name} {why}.{did_you_mean(name.lower(), KERNELS)} {known}")
        elif kernel not in kernels:
            kernels.append(kernel)
    if len(kernels) > 1 and not training:
        inner.note(section.where(key), f"{key}: all images are downscaled with the first one, {kernels[0]}")
    if kernels:
        inner.put("kernel", kernels[0] if len(kernels) == 1 else kernels, section.where(key), key)


def _for_training(inner: Job, section: Section, scale: int | None) -> None:
    if inner.read(section, "use_shuffle", bool) is False:
        inner.error(section.where("use_shuffle"), "use_shuffle: training images always come in random order; remove it")
    preprocess = lower(inner.read(section, "preprocess", str, "crop"))
    if preprocess == "crop":
        if scale == 1 and "preprocess" not in section and "crop" in inner.native:
            inner.note(section.where(), "no preprocess is given: random crops are taken")
        return
    one = "can be used at scale 1 only, and " if preprocess == "none" or preprocess.startswith("scale_") else ""
    known = ("crop", "resize", "none", "fixed", "scale_width", "scale_height", "scale_shortside", "center_crop")
    is_known = any(part in preprocess for part in known)
    why = f"{one}belongs to image-to-image models" if is_known else f"does not exist.{did_you_mean(preprocess, known)}"
    inner.error(section.where("preprocess"), f"preprocess: {preprocess} {why}; write crop")


def accumulation(job: Job) -> None:
    """``virtual_batch_size`` and ``batch_multiplier``; the former is raised to at least one batch."""
    sections = job.section("datasets")
    train = sections.get("train")
    if not isinstance(train, Section):
        return
    batch = job.read(train, "batch_size", int, LoaderOptions().batch_size)
    virtual = job.read(train, "virtual_batch_size", int)
    if virtual is not None and batch > 0:
        place = train.where("virtual_batch_size")
        if virtual > batch and virtual % batch:
            near = f"{virtual // batch * batch} or {(virtual // batch + 1) * batch}"
            job.error(place, f"virtual_batch_size: {virtual} is not a multiple of batch_size, {batch}; write {near}")
        else:
            job.put("train.accumulate", max(1, virtual // batch), place, "virtual_batch_size")
    factor = job.read(job.file, "batch_multiplier", int)
    if factor is not None:
        job.put("train.accumulate", factor, job.file.where("batch_multiplier"), "batch_multiplier")
