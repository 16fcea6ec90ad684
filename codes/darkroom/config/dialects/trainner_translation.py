"""The documented options of image-to-image methods: which losses judge what, and networks of several kinds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...core.phases import select
from ..source import Section
from .rules import Combined, Job, Rule, Table, Takes, copied, home, is_off, lower, method, only

MODELS = ("pix2pix", "cyclegan", "wbc")
"""The methods."""
UNPAIRED = ("cyclegan", "wbc")
DATASETS = ("paired", "unaligned", "concat_unaligned")
"""Datasets that resize, cut and swap."""


@dataclass(frozen=True, slots=True)
class Representation:
    """What one kind of losses of white-box cartoonization compares, and how it is written."""

    selector: str
    """The key with the names of its losses."""
    default: tuple[str, ...]
    scale: str
    """The key of how much all of them count."""
    factor: float
    """Its default."""
    of: str
    to: str
    mark: str
    """What the names of its losses end in."""


REPRESENTATIONS = (
    Representation("surf_losses", (), "surface_scale", 0.1, "fake_blur", "real_blur", "surf"),
    Representation("text_losses", (), "texture_scale", 1.0, "fake_gray", "real_gray", "text"),
    Representation("struct_losses", ("fea",), "struct_scale", 1.0, "fake_B", "superpixels", "struct"),
    Representation("cont_losses", ("fea",), "content_scale", 1.0, "fake_B", "real_A", "cont"),
    Representation("reg_losses", ("tv",), "reg_scale", 1.0, "fake_B", "real_B", "reg"),
    Representation("idt_losses", ("pix",), "lambda_identity", 0.0, "idt_B", "real_B", "idt"),
)
_CRITICS = {"T": ("fake_gray", "real_gray", "texture_scale"), "S": ("fake_blur", "real_blur", "surface_scale")}
"""What the discriminators of white-box cartoonization judge."""


def _gamma(value: list[float]) -> list[float]:
    """In hundredths, as they are documented."""
    if len(value) != 2 or not 0 < value[0] <= value[1]:
        raise ValueError(f"expected two rising numbers above 0, such as [100, 120], found {value}")
    return [part / 100 for part in value]


_WBC: dict[str, Rule] = {
    **{r.selector: Combined("losses: of and to", list[str]) for r in REPRESENTATIONS},
    **{r.scale: Combined("losses: scale", float) for r in REPRESENTATIONS if r.scale != "lambda_identity"},
    "sp_n_segments": Takes("model.segments", int),
    "sp_max_size": Takes("model.max_size", int),
    "sp_reduction": Takes("model.reduction", str, str.lower),
    "sp_algo": Takes("model.algorithm", str, str.lower),
    "sp_gamma_range": Takes("model.gamma", list[float], _gamma),
}
TRAIN: Table = {
    **only("wbc", _WBC),
    **only(UNPAIRED, {"lambda_identity": Combined("losses: scale of those of identity", float)}),
    **only("cyclegan", {f"lambda_{x}": Combined("losses: scale of those of one direction", float) for x in "AB"}),
    "display_freq": Takes("display.every", int),
    "overwrite_disp_imgs": Takes("display.overwrite", bool, needs="display_freq"),
}
"""Keys of section ``train``."""
TOP: Table = only(MODELS, {"pool_size": Combined("losses: pool of the adversarial ones", int)})
"""Keys of the top of the file."""


PATH: Table = {
    **only("cyclegan", {f"pretrain_model_{n}": Combined("path.pretrain", str) for n in ("G_A", "G_B", "D_A", "D_B")}),
    **only("wbc", {f"pretrain_model_{n}": Combined("path.pretrain", str) for n in ("D_S", "D_T")}),
}
"""Keys of section ``path``."""


def dataset(inner: Job, section: Section) -> None:
    """Names, sizes and channels as these datasets, and ``single`` in tests, have them."""
    native, kind = inner.native, inner.native.get("type")
    if kind in ("unaligned", "concat_unaligned"):
        for old, new in (("input", "a"), ("target", "b")):
            if old in native:
                place = native.where(old)
                native.put(new, native.pop(old), place)
            elif new not in native:
                inner.error(section.where(), f"mode {kind} needs dataroot_{new.upper()}, a folder of images")
    if "crop" in native:
        place = native.where("crop")
        native.put("crop_size", native.pop("crop"), place)
    preprocess = lower(inner.read(section, "preprocess", str))
    if preprocess is None and "crop_size" in native:
        preprocess = "resize_and_crop" if "load_size" in native else "crop"
        inner.note(section.where(), f"no preprocess is given: it is {preprocess}")
    if preprocess is not None:
        native.put("preprocess", preprocess, section.where("preprocess"))
    direction = inner.read(section, "direction", str)
    if direction is not None and kind in DATASETS:
        known = {"atob": "AtoB", "btoa": "BtoA"}
        if direction.lower() not in known:
            inner.error(section.where("direction"), f"direction: expected AtoB or BtoA, found {direction!r}")
        native.put("direction", known.get(direction.lower(), direction), section.where("direction"))
    _channels(native, kind)


def _channels(native: Section, kind: Any) -> None:
    """``image_channels`` are those of both images, unless ``input_nc`` or ``output_nc`` says more."""
    if kind in DATASETS:
        both = native.pop("channels", None)
        for key in ("input_channels", "target_channels") if both is not None else ():
            native.setdefault(key, both)
    else:
        native.pop("target_channels", None)
        if "input_channels" in native:
            native["channels"] = native.pop("input_channels")


def spread(job: Job, train: Section, made: Sequence[Section]) -> list[Section]:
    """The losses, each for every pair of images that the method compares by it."""
    kind = method(job)
    if kind == "cyclegan":
        return _cycles(job, train, made)
    if kind == "wbc":
        return _representations(job, train, made)
    if kind == "pix2pix":
        for entry in (e for e in made if e["type"] == "gan"):
            entry.put("given", "input", entry.place)
            _pool(job, entry)
    return list(made)


def _pool(job: Job, entry: Section) -> None:
    size = job.read(job.file, "pool_size", int)
    if size is not None:
        entry.put("pool", size, job.file.where("pool_size"), "pool_size")


def _copy(entry: Section, mark: str, of: str, to: str, scale: float, **more: Any) -> Section:
    """The loss between two other images, under a name of its own."""
    new: Section = copied(entry)
    values = {"name": f"{entry['name']}_{mark}", "of": of, "to": to, "scale": scale, **more}
    for key, value in values.items():
        new.put(key, value, entry.place)
    return new


def _cycles(job: Job, train: Section, made: Sequence[Section]) -> list[Section]:
    """Cycle consistency in both directions, identity, and two critics."""
    there, back = (job.read(train, f"lambda_{x}", float, 1.0) for x in "AB")
    identity = job.read(train, "lambda_identity", float, 0.0)
    entries = []
    for entry in made:
        if entry["type"] == "gan":
            pair = [
                _copy(entry, "A", "fake_B", "real_B", 1.0, critic="D_A"),
                _copy(entry, "B", "fake_A", "real_A", 1.0, critic="D_B"),
            ]
            for one in pair:
                _pool(job, one)
            entries += pair
            continue
        entries += [_copy(entry, "A", "rec_A", "real_A", there), _copy(entry, "B", "rec_B", "real_B", back)]
        if identity > 0:
            entries.append(_copy(entry, "idt_A", "idt_A", "real_B", identity * back))
            entries.append(_copy(entry, "idt_B", "idt_B", "real_A", identity * there))
    return entries


def _representations(job: Job, train: Section, made: Sequence[Section]) -> list[Section]:
    """The losses that each representation selects, and a critic each for surface and texture."""
    plain = {entry["name"]: entry for entry in made if entry["type"] != "gan"}
    entries = []
    used: set[str] = set()
    for r in REPRESENTATIONS:
        scale = job.read(train, r.scale, float, r.factor)
        if not scale:
            continue
        selectors = job.read(train, r.selector, list[str], [s for s in r.default if any(s in n for n in plain)])
        try:
            names = select(r.selector, selectors, plain)
        except ValueError as error:
            job.error(train.where(r.selector), str(error))
            continue
        used.update(names)
        entries += [_copy(plain[name], r.mark, r.of, r.to, scale) for name in names]
    for name in plain.keys() - used:
        text = f"{name} is selected by none of {', '.join(r.selector for r in REPRESENTATIONS)}, so it has no effect"
        job.note(plain[name].place, text)
    for entry in (e for e in made if e["type"] == "gan"):
        for mark, (of, to, key) in _CRITICS.items():
            factor = next(r.factor for r in REPRESENTATIONS if r.scale == key)
            one = _copy(entry, mark, of, to, job.read(train, key, float, factor), critic=f"D_{mark}")
            _pool(job, one)
            entries.append(one)
    if not any(entry.get("to") == "superpixels" for entry in entries):
        job.put("model.structure", False, train.where(), "struct_losses")
    return [*_warm_up(job), *entries]


def _warm_up(job: Job) -> list[Section]:
    """The loss of the iterations before all others: the image is to stay what it is (Wang and Yu 2020, section 4.1)."""
    model = job.native.get("model")
    if not isinstance(model, Section) or not model.get("warm_up"):
        return []
    place = model.where("warm_up")
    entry = {"name": "warm-up-l1", "type": "l1", "of": "raw", "to": "real_A"}
    return [Section.make(place, entry, dict.fromkeys(entry, place))]


def networks(job: Job) -> None:
    """One critic for colour, one for gray (WBC); one that also sees the condition (pix2pix)."""
    critic = job.native.get("network_D")
    if not isinstance(critic, Section):
        return
    if method(job) == "wbc":
        place = job.file.where("network_D")
        for mark, more in (("S", {}), ("T", {"in_nc": 1})):
            job.native.put(f"network_D_{mark}", Section.make(critic.place, {**critic, **more}, critic.places), place)
        job.native.pop("network_D")
    elif method(job) == "pix2pix" and "in_nc" not in critic:
        generator = job.native.section("network_G")
        channels = [generator.get(key, 3) for key in ("in_nc", "out_nc")]
        if all(isinstance(n, int) for n in channels):
            critic.put("in_nc", sum(channels), critic.place)


def metrics(job: Job, entries: Sequence[Section]) -> None:
    """Without pairs, what is made of A is compared with B."""
    if method(job) in UNPAIRED:
        for entry in entries:
            entry.put("of", "fake_B", entry.place)
            entry.put("to", "real_B", entry.place)


def weights(job: Job, *, training: bool) -> None:
    """``pretrain_model_G_A`` and the like; a test runs one generator."""
    section = job.section("path")
    written = [key for key in PATH if not is_off(section.get(key))]
    if method(job) not in UNPAIRED:
        return
    if training:
        for key in written:
            job.put(f"path.pretrain.{key.removeprefix('pretrain_model_')}", _file(job, key), section.where(key), key)
        return
    generators = [key for key in written if key.startswith("pretrain_model_G")]
    if len(generators) == 1:
        key = generators[0]
        job.put("path.pretrain.G", _file(job, key), section.where(key), key)
    elif generators:
        text = f"{' and '.join(generators)}: a test runs one generator; keep the one of the direction that you want"
        job.error(section.where(generators[1]), text)


def _file(job: Job, key: str) -> str:
    return home(job.read(job.section("path"), key, str, ""))


def form(job: Job) -> str:
    """The form of the adversarial loss that a method has without being asked: that of its paper."""
    return "standard" if method(job) in MODELS else "relativistic"


def testing(job: Job) -> None:
    """The guided filter belongs to the results of white-box cartoonization."""
    if method(job) == "wbc" and "guided_filter" not in job.native.section("test"):
        job.put("test.guided_filter", 5e-3, job.file.where("model"), "model")
