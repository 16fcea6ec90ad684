"""The option files of the traiNNer family, which users of this kind of tool know, as native sections."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...core.registry import did_you_mean
from ..source import Section
from . import trainner_data as data
from . import trainner_datasets as datasets
from . import trainner_extras as extras
from . import trainner_losses as loss
from . import trainner_methods as methods
from . import trainner_optim as optim
from . import trainner_tables as tables
from . import trainner_translation as translation
from .rules import Job, Table, copied, is_off, lower

TRAIN: Table = {**tables.TRAIN, **loss.KEYS, **optim.KEYS}
"""Section ``train``."""

KEYS: Mapping[str, Table] = {
    "": tables.TOP,
    "datasets.train": data.TRAIN,
    "datasets.val": data.WHOLE,
    "train": TRAIN,
    "path": tables.PATH,
    "logger": tables.LOGGER,
    "network_G": tables.NETWORK,
    "train.perceptual_opt": loss.PERCEPTUAL,
    "cem_config": extras.CEM,
    "network_G.flow": methods.FLOW,
    "val": methods.VAL,
}
"""Every documented key of a training file by section, and what becomes of it: for the reference of options."""

_METRICS: Mapping[str, Mapping[str, str]] = {
    "psnr": {},
    "ssim": {},
    "psnr_y": {"name": "psnr_y", "type": "psnr", "channel": "y"},
    "ssim_y": {"name": "ssim_y", "type": "ssim", "channel": "y"},
    "lpips": {},
    "ms-ssim": {},
    "dists": {},
    "fid": {},
}
_SECTIONS: Mapping[str, Table] = {"path": tables.PATH, "logger": tables.LOGGER, "train": TRAIN}


def recognises(file: Section) -> bool:
    """Whether the file has a key that only this dialect has."""
    return any(_foreign(file))


def _foreign(file: Section) -> Iterator[str]:
    top = {**tables.TOP, **tables.TOP_OF_TEST}
    yield from (key for key in file if key in top and key not in tables.OWN[""])
    for name, table in _SECTIONS.items():
        yield from (key for key in file.section(name) if key in table and key not in tables.OWN[name])
    for dataset in file.section("datasets").values():
        if isinstance(dataset, Section):
            yield from data.foreign(dataset)
    for name in ("network_G", "network_D"):
        yield from (key for key in file.section(name) if key in tables.NETWORK and key != "type")


def translate(file: Section, errors: list[str], notes: list[str]) -> Section:
    """The native file that says the same; ``file`` stays as it is.

    What is wrong goes to ``errors``, each with its place; what the user should know goes to ``notes``.
    """
    job = Job(file, errors, notes)
    for key in tables.NATIVE:
        if key in file:
            job.native.put(key, copied(file[key]), file.where(key))
    if not _model(job):
        return job.native
    job.file = file = translation.supported(job)
    training = "train" in file or "train" in job.section("datasets")
    homes = {name: table for name, table in KEYS.items() if name in ("", "datasets.train", *_SECTIONS)}
    top = tables.TOP if training else tables.TOP_OF_TEST
    job.sweep(file, top, "", {n: t for n, t in homes.items() if n})
    _network(job, "network_G")
    for name, table in _SECTIONS.items():
        if training or name == "path":
            job.sweep(job.section(name), table, name, {n: t for n, t in homes.items() if n != name})
    for name in job.section("datasets"):
        others = {n: t for n, t in homes.items() if n != "datasets.train"}
        datasets.dataset(job, name, others, training=training)
    train = job.section("train")
    own_losses = bool(job.native.get("losses")) and job.file.get("network_D") is not None
    adversarial = training and (own_losses or loss.gan_weight(job, train) > 0)
    _unshuffle(job)
    extras.consistency(job, training=training)
    translation.weights(job, training=training)
    adversarial = _critic(job, train, adversarial=adversarial)
    _strict(job)
    if training:
        _training(job, train, adversarial=adversarial)
    else:
        _testing(job)
    methods.flow(job, train, training=training)
    return job.native


def _model(job: Job) -> bool:
    """Whether it is a model that can be translated."""
    place = job.file.where("model")
    section = copied(job.file.section("model"))
    name = section.get("type")
    if not isinstance(name, str):
        job.error(place, f"the file needs model, such as model: sr{f'; found {name!r}' if name is not None else ''}")
        return False
    known = tables.MODELS.get(name.lower())
    if known is None:
        is_later = name.lower() in tables.MODELS_LATER
        why = f"{name} is not in this version yet" if is_later else f"there is no model {name!r}"
        near = "" if is_later else did_you_mean(name.lower(), tables.MODELS)
        job.error(place, f"model: {why}.{near} There are: {', '.join(sorted({*tables.MODELS.values()}))}")
        return False
    section.put("type", known, section.where("type"))
    job.native.put("model", section if isinstance(job.file["model"], Section) else known, place)
    return True


def _critic(job: Job, train: Section, *, adversarial: bool) -> bool:
    """``network_D``, if there is one; without an adversarial loss, documented or native, it has nothing to do."""
    there = any(key.startswith("network_D") and value is not None for key, value in job.file.items())
    if adversarial and there:
        _network(job, "network_D")
        _size(job)
        return True
    if adversarial:
        job.error(train.where("gan_type"), "gan_type: needs a network_D, the discriminator that is to be fooled")
        return False
    idle = ["network_D"] if there else []
    idle += [key for key in train if key.endswith("_D") and key in optim.KEYS]
    pretrain = job.native.section("path").section("pretrain")
    idle += [f"pretrain_model_{name}" for name in [*pretrain] if name.startswith("D") and pretrain.pop(name)]
    if idle:
        place = job.file.where(idle[0] if idle[0] in job.file else "train")
        job.note(place, f"there is no gan_weight, so there is no discriminator: not used: {', '.join(idle)}")
    return False


def _network(job: Job, key: str) -> None:
    value = job.file.get(key)
    if value is None:
        return
    section = job.file.section(key)
    names = [k for k in ("which_model_G", "which_model_D", "type") if k in section]
    wrong = "which_model_D" if key.endswith("G") else "which_model_G"
    if wrong in names:
        job.error(section.where(wrong), f"{wrong}: this is {key}; write {wrong[:-1]}{key[-1]}")
        return
    for name in names:
        kind = job.read(section, name, str)
        if kind is not None:
            kind = tables.NETWORK_NAMES.get(key, {}).get(kind.lower(), kind.lower())
            job.put(f"{key}.type", kind, section.where(name), name)
    if not names:
        job.error(section.where(), f"{key}: needs {wrong[:-1]}{key[-1]}, the name of a network, such as esrgan")
    for name, option in section.items():
        rule = tables.NETWORK.get(name)
        if option is None:
            continue
        if rule is not None:
            rule.apply(job, section, name)
        else:
            job.put(f"{key}.{tables.NETWORK_ALIASES.get(name, name)}", copied(option), section.where(name), name)
    hidden = job.read(section, "G_arch", str)
    if hidden is not None:
        width = tables.HIDDEN.get(hidden.lower())
        if width is None:
            job.error(section.where("G_arch"), f"G_arch: expected ESRGAN or PPON, found {hidden!r}")
        job.put(f"{key}.hidden", width, section.where("G_arch"), "G_arch")


def _unshuffle(job: Job) -> None:
    """In the documented language ``network_G.scale`` is that of the network behind the unshuffling."""
    if not job.switch(job.file, "use_unshuffle"):
        return
    network = job.native.section("network_G")
    scale = job.read(job.file, "scale", int, 1)
    inner = network.get("scale")
    key = "unshuffle_scale" if "unshuffle_scale" in job.file else "use_unshuffle"
    factor = job.read(job.file, "unshuffle_scale", int, inner // scale if isinstance(inner, int) and scale else 1)
    if factor < 2:
        job.error(job.file.where(key), f"{key}: it needs unshuffle_scale, 2 or 4, or a network_G.scale above scale")
        return
    if inner is not None and inner != scale * factor:
        text = f"expected scale times unshuffle_scale, {scale * factor}, or nothing, found {inner!r}"
        job.error(network.where("scale"), f"network_G.scale: {text}")
    job.put("network_G.unshuffle", factor, job.file.where(key), key)
    job.native["network_G"].pop("scale", None)


def _size(job: Job) -> None:
    """A discriminator that is built for one size is built for the crops."""
    network = job.native.get("network_D")
    train = job.native.section("datasets").section("train")
    side = next((key for key in ("crop", "crop_size") if key in train), None)
    if isinstance(network, Section) and network.get("type") in tables.SIZED and "size" not in network and side:
        network.put("size", train[side], train.where(side))


def _strict(job: Job) -> None:
    """``strict`` of a network counts if weights are loaded into it."""
    for name in "GD":
        section = job.file.section(f"network_{name}")
        strict = job.read(section, "strict", bool)
        if strict is not None and any(path.startswith(name) for path in job.native.section("path").section("pretrain")):
            job.put("path.strict", strict, section.where("strict"), f"network_{name}.strict")


def _training(job: Job, train: Section, *, adversarial: bool) -> None:
    if all(train.get(key) is None for key in ("niter", "iterations", "phase3_s")):
        job.error(train.where(), "train: needs niter, the number of iterations")
    datasets.accumulation(job)
    loss.losses(job, train)
    translation.networks(job)
    optim.optimizer(job, train, "G")
    if adversarial:
        optim.optimizer(job, train, "D")
        ratio = job.read(train, "D_update_ratio", int)
        if ratio is not None:
            job.put("optim_G.every", ratio, train.where("D_update_ratio"), "D_update_ratio")
    extras.phases(job, train, adversarial=adversarial)
    extras.extras(job, train, adversarial=adversarial)
    optim.clipping(job, train)
    optim.schedule(job, train)
    methods.stages(job, train)
    _averages(job, train)
    key = "metrics"
    metrics = _metrics(job, train, train.get(key), luma=False)
    translation.metrics(job, metrics)
    if metrics:
        job.put("validate.metrics", metrics, train.where(key), key)
    _logging(job)
    _display(job, train)
    _debug(job)


def _averages(job: Job, train: Section) -> None:
    for key, section in (("use_ema", "ema"), ("use_swa", "swa")):
        if job.switch(job.file, key):
            job.read(job.file, key, bool)
            job.ensure(section, job.file.where(key))
    if not job.switch(job.file, "use_swa"):
        return
    share = job.read(train, "swa_start_iter_rel", float)
    niter = job.read(train, "niter", int)
    if share is None and train.get("swa_start_iter") is None and "start" not in job.native["swa"]:
        job.note(job.file.where("use_swa"), "there is no swa_start_iter_rel: the average starts at 0.75 of the run")
    if share is not None and niter:
        place = train.where("swa_start_iter_rel")
        job.put("swa.start", int(share * niter), place, "swa_start_iter_rel")


def _metrics(job: Job, section: Section, names: Any, *, luma: bool) -> list[Section]:
    """Entries for ``psnr,ssim,lpips``; ``luma`` measures PSNR and SSIM of Y as well. The border is the scale."""
    place = section.where("metrics")
    if is_off(names):
        return []
    listed = names.split(",") if isinstance(names, str) else names
    if not isinstance(listed, list):
        job.error(place, f"metrics: expected names such as psnr,ssim,lpips; found {names!r}")
        return []
    scale = job.read(job.file, "scale", int, 1)
    wanted: list[str] = []
    for name in (str(n).strip().lower() for n in listed):
        if name not in _METRICS:
            hint = did_you_mean(name, _METRICS)
            job.error(place, f"metrics: there is no metric {name!r}.{hint} There are: {', '.join(_METRICS)}")
            continue
        wanted += [n for n in (name, f"{name}_y") if n in _METRICS and n not in wanted and (luma or n == name)]
    entries = [{"type": n, **_METRICS[n], "crop_border": scale if scale > 1 else 0} for n in wanted]
    return [Section.make(place, entry, dict.fromkeys(entry, place)) for entry in entries]


def _logging(job: Job) -> None:
    """TensorBoard files are below the root; how often, is said in iterations."""
    place = job.file.where("use_tb_logger")
    on = job.read(job.file, "use_tb_logger", bool, False)
    native = job.native.section("logger")
    if "use_tb_logger" in job.file or "tensorboard" not in native:
        job.put("logger.tensorboard", on, place, "use_tb_logger")
    name = job.read(job.file, "name", str)
    if on and name and "tensorboard_dir" not in native:
        root = job.read(job.section("path"), "root", str, ".")
        job.put("logger.tensorboard_dir", (Path(root) / "tb_logger" / name).as_posix(), place, "use_tb_logger")
    section = job.section("logger")
    rate = job.read(section, "tb_sample_rate", int, 1)
    lines = job.native.section("logger").get("every", 200)
    if rate > 1 and lines > 0:
        place = section.where("tb_sample_rate")
        job.put("logger.tensorboard_every", math.lcm(rate, lines) // lines, place, "tb_sample_rate")


def _display(job: Job, train: Section) -> None:
    """Sheets of training images."""
    key = "display_freq"
    every = job.read(train, key, int) if job.switch(train, key) else None
    if every is not None:
        job.put("display.every", every, train.where(key), key)


def _debug(job: Job) -> None:
    """A name with ``debug`` in it shortens all intervals."""
    name = job.file.get("name")
    if not isinstance(name, str) or "debug" not in name:
        return
    save = 10**7 if "debug_nochkp" in name else 8
    place = job.file.where("name")
    for path, value in (("validate.every", 8), ("logger.every", 2), ("checkpoint.every", save)):
        section, _, key = path.partition(".")
        job.ensure(section, place).put(key, value, place)
    job.ensure("logger", place).put("tensorboard", False, place)
    text = f"the name contains 'debug': validation every 8 iterations, a line every 2, a checkpoint every {save:,}"
    job.note(place, f"{text}, no TensorBoard")


def _testing(job: Job) -> None:
    """Section ``test``."""
    file = job.file
    mode = lower(job.read(file, "test_mode", str, "normal"))
    if mode not in ("normal", "chop", "x8"):
        near = did_you_mean(mode, ("normal", "chop", "x8"))
        job.error(file.where("test_mode"), f"test_mode: expected normal, chop or x8, found {mode!r}.{near}")
    if mode == "x8":
        job.put("test.self_ensemble", True, file.where("test_mode"), "test_mode")
    if mode == "chop":
        _tiles(job)
    translation.testing(job)
    metrics = _metrics(job, file, file.get("metrics"), luma=True)
    if metrics:
        job.put("test.metrics", metrics, file.where("metrics"), "metrics")


def _tiles(job: Job) -> None:
    """``chop_step`` is the distance of patches as a share of their side."""
    file = job.file
    key = "chop_patch_size"
    side = job.read(file, key, int, 200)
    job.put("test.tile", side, file.where(key if key in file else "test_mode"), key)
    step = job.read(file, "chop_step", float)
    if step is None:
        return
    if not 0 < step <= 1:
        job.error(file.where("chop_step"), f"chop_step: expected a share of the patch from 0.5 to 1, found {step}")
        return
    job.put("test.overlap", round(side * (1 - step)), file.where("chop_step"), "chop_step")
