"""The documented datasets as native sections; their keys are in ``trainner_data``."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ...core.registry import did_you_mean
from ..options import LoaderOptions
from ..source import Section
from . import trainner_data as data
from . import trainner_degrade as degrade
from . import trainner_translation as translation
from .rules import Job, copied, is_off, lower, method
from .trainner_entries import kernel_option, kernel_shares
from .trainner_presets import weighted
from .trainner_stages import RESIZES

ALGORITHMS = {**data.KERNELS, **data.PLAIN_KERNELS}
"""Documented names of all kernels, and what they are natively."""


def dataset(job: Job, name: str, others: Mapping[str, Collection[str]], *, training: bool) -> None:
    """Make ``datasets.<name>`` of a file for training or for a test; ``others`` are the keys of the other sections."""
    sections = job.section("datasets")
    section = sections.get(name)
    path = f"datasets.{name}"
    if not isinstance(section, Section):
        job.error(sections.where(name), f"{name}: expected a section with options, found {section!r}")
        return
    if "type" in section and not data.foreign(section):  # native throughout
        job.put(path, copied(section), sections.where(name), name)
        return
    translated = method(job) in translation.MODELS
    learnt = training and name == "train"
    table = data.TRAIN if learnt else data.WHOLE_TRANSLATED if translated else data.WHOLE
    inner = Job(job.file, job.errors, job.notes)
    inner.native = Section.make(section.place, {})
    kind = _kind(inner, section, path, training=training)
    inner.sweep(_at_home(inner, section, kind), table, path, others)
    _limit(inner, section)
    if learnt and inner.read(section, "use_shuffle", bool) is False:
        inner.error(section.where("use_shuffle"), "use_shuffle: training images always come in random order; remove it")
    outputs = inner.read(section, "outputs", str, "LRHR")
    if outputs.lower() not in ("lrhr", "ab", "lr", "a"):
        inner.error(section.where("outputs"), f"outputs: the mode says what there is; remove it (found {outputs!r})")
    if kind is not None:
        key = "mode" if "mode" in section else "type"
        inner.put("type", kind, section.where(key), key)
        if kind in translation.DATASETS or translated:
            _resized(inner, section, kind)
        else:
            _scaled(inner, section, path, learnt=learnt)
        degraded = learnt and kind == "aligned" and degrade.degradations(job, section, inner, ALGORITHMS)
        if kind == "aligned" and inner.scale() == 1 and not (degraded or inner.native.get("input")):
            instead = ", or degradations such as lr_noise" if learnt else " too"
            text = f"at scale 1 the input would be the target itself; write dataroot_LR{instead}"
            inner.error(section.where(), f"{path}: {text}")
    signed = job.read(section, "znorm", bool) if method(job) in data.SIGNED else None
    if signed is not None:
        job.put("model.signed" if training else "test.signed", signed, section.where("znorm"), "znorm")
    job.put(path, inner.native, sections.where(name), name)


def _kind(inner: Job, section: Section, path: str, *, training: bool) -> str | None:
    """The native type, None if it is wrong; an input with a target beside it is a pair, so that it can be measured."""
    key = "mode" if "mode" in section else "type"
    mode = inner.read(section, key, str)
    if mode is None:
        if section.get(key) is None:
            known = ", ".join(data.MODES)
            inner.error(section.where(), f"{path}: needs mode, such as mode: aligned (there are {known})")
        return None
    kind = data.MODES.get(mode.lower())
    if kind is None:
        is_later = mode.lower() in data.MODES_LATER or mode.lower().startswith("concat_")
        why = f"{mode} is not in this version yet" if is_later else f"there is no mode {mode!r}"
        near = "" if is_later else did_you_mean(mode.lower(), data.MODES)
        inner.error(section.where(key), f"mode: {why}.{near} There are: {', '.join(data.MODES)}")
        return None
    there = {folder for k, folder in data.FOLDERS.items() if not is_off(section.get(k))}
    translated = method(inner) in translation.MODELS
    if kind == "single" and {"target", "input"} <= there:
        kind = "aligned"
    if kind == "aligned" and (translated or "combined" in there):
        kind = "paired"
    instead = _instead(inner, kind, training=training)
    if instead:
        inner.error(section.where(key), f"mode: {instead}, not {mode}")
        return None
    _check_folders(inner, section, f"{path}: mode {mode}", kind, there)
    return kind


def _instead(inner: Job, kind: str, *, training: bool) -> str:
    """What the method, or a test, takes instead of the dataset; nothing if it takes that one."""
    model = method(inner)
    unpaired = kind in translation.UNALIGNED
    if not training:
        return "a test runs on single or aligned images" if unpaired else ""
    if model in translation.UNPAIRED:
        return "" if unpaired else f"model {model} learns from unaligned or concat_unaligned images"
    pairs = unpaired or (kind == "segmented" and model in translation.MODELS)
    return f"model {model} learns from aligned images" if pairs else ""


def _check_folders(inner: Job, section: Section, what: str, kind: str, there: Collection[str]) -> None:
    """Whether there are the folders that the dataset needs, and no others."""
    translated = method(inner) in translation.MODELS
    side = next((key for key in ("dataroot_AB", "dataroot") if not is_off(section.get(key))), "mode")
    if kind == "paired" and not translated and inner.scale() != 1:
        text = f"images of one size are for scale: 1; here it is {inner.scale()}"
        inner.error(section.where(side), f"{side}: {text}")
        return
    if kind == "paired" and "combined" in there:
        if {"input", "target"} & {*there}:
            inner.error(section.where(side), f"{side}: has inputs and targets in it; remove the other folders")
        return
    needed = ["input", "target"] if kind in translation.DATASETS else ["target"]
    if kind == "single" and not _backwards(inner, section):
        needed = ["input"]
    ends = {"input": "A", "target": "B"} if translated else {"input": "LR", "target": "HR"}
    lacking = [f"dataroot_{ends[name]}" for name in needed if name not in there]
    if lacking:
        instead = "; or dataroot_AB, that of images side by side" if kind == "paired" else ""
        inner.error(section.where(), f"{what} needs {' and '.join(lacking)}, the folder of the images{instead}")


def _at_home(inner: Job, section: Section, kind: str | None) -> Section:
    """The section without the keys that belong to other datasets, which is noted."""
    strange = [key for key in data.HOMES if key in section and kind is not None and kind not in data.HOMES[key][0]]
    for key in strange:
        if not is_off(section[key]):
            inner.error(section.where(key), f"{key}: belongs to {data.HOMES[key][1]}; remove it")
    return section.without(*strange)


def _backwards(inner: Job, section: Section) -> bool:
    """Whether the way back is to be learnt; what is wrong about it is noted."""
    direction = inner.read(section, "direction", str, "AtoB")
    if direction.lower() not in ("atob", "btoa"):
        inner.error(section.where("direction"), f"direction: expected AtoB or BtoA, found {direction!r}")
    return bool(direction.lower() == "btoa")


def _resized(inner: Job, section: Section, kind: str) -> None:
    """Datasets of image-to-image models have names, sizes, directions and channels of their own."""
    native = inner.native
    _rename(native, "crop", "crop_size")
    if kind in translation.UNALIGNED:
        _rename(native, "input", "a")
        _rename(native, "target", "b")
    elif kind == "single" and _backwards(inner, section):
        _rename(native, "target", "input")
    if section.get("direction") is not None and kind in translation.DATASETS:
        native.put("direction", "BtoA" if _backwards(inner, section) else "AtoB", section.where("direction"))
    _preprocess(inner, section)
    if kind == "single":
        native.pop("target_channels", None)
        _rename(native, "input_channels", "channels")
    elif "channels" in native:
        for key in ("input_channels", "target_channels"):
            if key not in native:
                native.put(key, native["channels"], native.where("channels"), native.named("channels"))
        native.pop("channels")


def _rename(native: Section, old: str, new: str) -> None:
    """Call an option by another name; its place, and what the user calls it, stay."""
    if old in native:
        native.put(new, native[old], native.where(old), native.named(old))
        native.pop(old)


def _preprocess(inner: Job, section: Section) -> None:
    """What is done to the images; if nothing is said, what the sizes are for, which is noted."""
    native = inner.native
    chosen = lower(inner.read(section, "preprocess", str))
    if chosen is None:
        words = [word for key, word in (("load_size", "resize"), ("crop_size", "crop")) if key in native]
        chosen = "_and_".join(words) or None
        if chosen is not None and section.get("preprocess") is None:
            inner.note(section.where(), f"no preprocess is given: it is {chosen}")
    if chosen is None:
        return
    native.put("preprocess", chosen, section.where("preprocess"))
    words = chosen.split("_and_")
    unknown = next((word for word in words if word not in data.WORDS), None)
    if unknown is not None:
        text = f"there is no {unknown!r}.{did_you_mean(unknown, data.WORDS)} There are: {', '.join(data.WORDS)}"
        inner.error(section.where("preprocess"), f"preprocess: {text}")
        return
    for key, uses in data.SIZES_OF.items():
        if key in native and not any(word.startswith(uses) for word in words):
            inner.note(native.where(key), f"{native.named(key)} has no effect with preprocess: {chosen}")


def _scaled(inner: Job, section: Section, path: str, *, learnt: bool) -> None:
    """Datasets of the other models: inputs are smaller than their targets by the scale, and may be made of them."""
    native, scale = inner.native, inner.scale()
    if _backwards(inner, section):
        if "target" in native and "input" in native:
            (a, at_a), (b, at_b) = ((native[key], native.where(key)) for key in ("input", "target"))
            native.put("input", b, at_b)
            native.put("target", a, at_a)
        else:
            inner.error(section.where("direction"), "direction: BtoA needs both folders, dataroot_A and dataroot_B")
    for key, name in (("input_channels", "input_nc"), ("target_channels", "output_nc")):
        channels = native.pop(key, None)
        if channels is not None:
            inner.put("channels", channels, section.where(name), name)
    _kernel(inner, section, learnt)
    _colors(inner, section)
    if learnt:
        _check_preprocess(inner, section, scale)
        _target_sizes(inner, section)
        _swap(inner, section)
        _concatenated(inner, section)
        if native["type"] == "segmented" and not {"input", "shrink"} & {*native}:
            inner.put("shrink", [1.0, 0.9, 0.8, 0.7, 0.6, 0.5], section.where(), "mode")
    elif native.pop("background", None):
        inner.error(section.where("dataroot_HR_bg"), "dataroot_HR_bg: is for training; remove it here")


def _check_preprocess(inner: Job, section: Section, scale: int | None) -> None:
    preprocess = lower(inner.read(section, "preprocess", str, "crop"))
    if preprocess == "crop":
        if scale == 1 and "preprocess" not in section and "crop" in inner.native:
            inner.note(section.where(), "no preprocess is given: random crops are taken")
        return
    one = "can be used at scale 1 only, and " if preprocess == "none" or preprocess.startswith("scale_") else ""
    is_known = any(word in preprocess for word in data.WORDS)
    near = did_you_mean(preprocess, data.WORDS)
    why = f"{one}belongs to image-to-image models" if is_known else f"does not exist.{near}"
    inner.error(section.where("preprocess"), f"preprocess: {preprocess} {why}; write crop")


def _limit(inner: Job, section: Section) -> None:
    """Infinity is written ``.inf`` in YAML, and means all."""
    key = "max_dataset_size"
    value = section.get(key)
    if value is None or value == float("inf") or value == "inf":
        return
    limit = inner.read(section, key, int)
    if limit is not None:
        inner.put("limit", limit, section.where(key), key)


def _colors(inner: Job, section: Section) -> None:
    """``color`` is that of both images, unless another key says that of one."""
    value, place = inner.read(section, "color", str), section.where("color")
    for option in ("input_color", "target_color"):
        if value and option not in inner.native:
            try:
                inner.put(option, data.color(value), place, "color")
            except ValueError as error:
                inner.error(place, f"color: {error}")


def _target_sizes(inner: Job, section: Section) -> None:
    """``hr_downscale``: targets are made smaller by one of several factors."""
    if not inner.read(section, "hr_downscale", bool, False):
        return
    factors = inner.read(section, "hr_downscale_amt", float | list[float], 2.0)
    factors = factors if isinstance(factors, list) else [factors]
    key = "hr_downscale_amt" if "hr_downscale_amt" in section else "hr_downscale"
    if not factors or min(factors) < 1:
        inner.error(section.where(key), f"{key}: expected factors of 1 or more, found {factors}")
    else:
        inner.put("shrink", [1 / factor for factor in factors], section.where(key), key)
    kernels = _kernel_shares(inner, section, "hr_downscale_types", degraded=False)
    if kernels:
        inner.put("shrink_kernel", list(kernels), section.where("hr_downscale_types"), "hr_downscale_types")


def _swap(inner: Job, section: Section) -> None:
    """``rand_flip_LR_HR``: now and then input and target change places."""
    keys = ("rand_flip_LR_HR", "rand_flip_A_B")
    on = [key for key in keys if inner.read(section, key, bool)]
    if on:
        inner.put("swap", inner.read(section, "flip_chance", float, 0.05), section.where(on[0]), on[0])
    elif section.get("flip_chance") is not None and not {*keys} & {*section}:
        inner.note(section.where("flip_chance"), f"flip_chance has no effect, as there is no {keys[0]}")


def _concatenated(inner: Job, section: Section) -> None:
    """``concat_aligned``: the samples of a batch are of one folder, which is chosen by ``sampler_weights``."""
    if not str(section.get("mode", "")).lower().startswith("concat_"):
        if "weights" in inner.native:
            inner.error(inner.native.where("weights"), "sampler_weights: belongs to mode concat_aligned; remove it")
        return
    place = section.where("mode")
    inner.put("batches_from", "one", place, "mode")
    targets, weights = inner.native.get("target"), inner.native.pop("weights", None)
    if not isinstance(targets, list) or weights is None:
        return
    at = section.where("sampler_weights")
    if any(isinstance(path, Section) for path in targets):
        inner.error(at, "sampler_weights: the folders have weights already; remove one of both")
        return
    if len(weights) != len(targets):
        inner.error(at, f"sampler_weights: expected one for each of {len(targets)} folders, found {len(weights)}")
        return
    pairs = zip(targets, weights, strict=True)
    folders = [Section.make(at, {"path": path, "weight": weight}) for path, weight in pairs]
    inner.native.put("target", folders, inner.native.where("target"), inner.native.named("target"))


def _kernel(inner: Job, section: Section, learnt: bool) -> None:
    """Algorithms count unless ``lr_downscale`` is off; then inputs that no file has are still made, with cubic."""
    key = "lr_downscale_types"
    if inner.read(section, "lr_downscale", bool) is False:
        if "input" not in inner.native and "target" in inner.native:
            inner.note(section.where("lr_downscale"), "there are no inputs in files: they are made from the targets")
        return
    kernels = _kernel_shares(inner, section, key, degraded=learnt and inner.native["type"] == "aligned")
    if not kernels:
        return
    if len(kernels) > 1 and not learnt:
        inner.note(section.where(key), f"{key}: all images are downscaled with the first one, {next(iter(kernels))}")
    inner.put("kernel", kernel_option(kernels, section.where(key)), section.where(key), key)


def _kernel_shares(inner: Job, section: Section, key: str, *, degraded: bool) -> dict[str, float]:
    """Native kernels that a key names, and how often each is taken; what is more than a kernel is a degradation."""
    shares = weighted(inner, key, section.get(key), section.where(key))
    for name in shares:
        if name not in ALGORITHMS and not (degraded and name in (*RESIZES, "clean")):
            hint = did_you_mean(name, ALGORITHMS)
            inner.error(section.where(key), f"{key}: {name} is no algorithm.{hint} There are: {', '.join(ALGORITHMS)}")
    return kernel_shares(shares, ALGORITHMS)


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
