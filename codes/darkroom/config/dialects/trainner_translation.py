"""The documented options of image-to-image methods: which losses judge what, and networks of several kinds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...core.phases import select
from ..source import Section
from .rules import Combined, Job, OnlyFor, Rule, Table, Takes, copied, home, is_off, method, only

MODELS = ("pix2pix", "cyclegan", "wbc")
"""The methods."""
UNPAIRED = ("cyclegan", "wbc")
UNALIGNED = ("unaligned", "concat_unaligned")
"""Their datasets."""
DATASETS = ("paired", *UNALIGNED)
"""Datasets that resize, cut and swap."""
NETWORKS = ("G_A", "G_B", "D_A", "D_B", "D_S", "D_T")
"""Networks that may have native sections of their own instead of ``network_G`` and ``network_D``."""


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
    "sp_reduction": Takes("model.reduction", str, lambda kind: None if kind.lower() == "none" else kind.lower()),
    "sp_algo": Takes("model.algorithm", str, str.lower),
    "sp_gamma_range": Takes("model.gammas", list[float], _gamma),
}
TRAIN: Table = {
    **only("wbc", _WBC),
    **only(UNPAIRED, {"lambda_identity": Combined("losses: scale of those of identity", float)}),
    **only("cyclegan", {f"lambda_{x}": Combined("losses: scale of those of one direction", float) for x in "AB"}),
    "display_freq": Combined("display.every", int),
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


_STRANGE = ("use_cem", "use_atg", "use_unshuffle", "use_frequency_separation")
"""Features that these methods do not have."""
_STRANGE_IN_TRAIN = {"pix2pix": ("fs",), "cyclegan": ("fs", "mixup"), "wbc": ("fs", "mixup")}
"""The same in section ``train``; ``mixup`` is of an image and its target."""


def supported(job: Job) -> Section:
    """The file without what these methods do not have, which is noted."""
    model, file, train = method(job), job.file, job.file.get("train")
    if model not in MODELS:
        return file
    scale = job.scale()
    if scale not in (None, 1):
        job.error(file.where("scale"), f"scale: model {model} keeps the size of images; write 1, not {scale}")
    rest = _without(job, file, _STRANGE)
    if isinstance(train, Section):
        rest.put("train", _without(job, train, _STRANGE_IN_TRAIN[model]), file.where("train"))
    return rest


def _without(job: Job, section: Section, strange: Sequence[str]) -> Section:
    written = [key for key in strange if not is_off(section.get(key))]
    for key in written:
        job.error(section.where(key), f"{key}: model {method(job)} has no such option; remove it")
    return section.without(*written)


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


def _factor(job: Job, train: Section, key: str, default: float) -> float:
    """How much something counts."""
    value: float = job.read(train, key, float, default)
    if value < 0:
        job.error(train.where(key), f"{key}: expected 0 or more, found {value:g}")
    return max(value, 0.0)


def _cycles(job: Job, train: Section, made: Sequence[Section]) -> list[Section]:
    """Cycle consistency in both directions, identity, and two critics."""
    there, back = (_factor(job, train, f"lambda_{x}", 1.0) for x in "AB")
    identity = _factor(job, train, "lambda_identity", 0.0)
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
        copies = [
            _copy(entry, "A", "rec_A", "real_A", there),
            _copy(entry, "B", "rec_B", "real_B", back),
            _copy(entry, "idt_A", "idt_A", "real_B", identity * back),
            _copy(entry, "idt_B", "idt_B", "real_A", identity * there),
        ]
        entries += [copy for copy in copies if copy["scale"] > 0]
    return entries


def _representations(job: Job, train: Section, made: Sequence[Section]) -> list[Section]:
    """The losses that each representation selects, and a critic each for surface and texture."""
    plain = {entry["name"]: entry for entry in made if entry["type"] != "gan"}
    scales = {r.scale: _factor(job, train, r.scale, r.factor) for r in REPRESENTATIONS}
    entries = []
    used: set[str] = set()
    for r in REPRESENTATIONS:
        names = _selected(job, train, r, [*plain])
        if scales[r.scale]:
            used.update(names)
            entries += [_copy(plain[name], r.mark, r.of, r.to, scales[r.scale]) for name in names]
        elif names and r.selector in train:
            job.note(train.where(r.selector), f"{r.selector} has no effect, as {r.scale} is 0")
    for name in (name for name in plain if name not in used):
        text = f"{name} is selected by none of {', '.join(r.selector for r in REPRESENTATIONS)}, so it has no effect"
        job.note(plain[name].place, text)
    for entry in (e for e in made if e["type"] == "gan"):
        for mark, (of, to, key) in _CRITICS.items():
            one = _copy(entry, mark, of, to, scales[key], critic=f"D_{mark}")
            _pool(job, one)
            entries.append(one)
    if not any(entry.get("to") == "superpixels" for entry in entries):
        job.put("model.structure", False, train.where(), "struct_losses")
    return [*_warm_up(job), *entries]


def _selected(job: Job, train: Section, r: Representation, losses: Sequence[str]) -> list[str]:
    """The names of the losses that judge a representation: those that are asked for, or those of the default."""
    asked: list[str] | None = job.read(train, r.selector, list[str])
    if asked is None:
        there = [s for s in r.default if any(s in name for name in losses)]
        if r.default and not there and not is_off(train.get(r.scale)):
            text = f"{r.scale} has no effect, as there is no loss {' or '.join(r.default)}; {r.selector} names others"
            job.note(train.where(r.scale), text)
        return select(r.selector, there, losses)
    try:
        return select(r.selector, asked, losses)
    except ValueError as error:
        job.error(train.where(r.selector), str(error))
        return []


def _warm_up(job: Job) -> list[Section]:
    """The loss of the iterations before all others: the image is to stay what it is (Wang and Yu 2020, section 4.1)."""
    model = job.native.get("model")
    if not isinstance(model, Section) or not model.get("warm_up"):
        return []
    place = model.where("warm_up")
    entry = {"name": "warm-up-l1", "type": "l1", "of": "raw", "to": "real_A"}
    return [Section.make(place, entry, dict.fromkeys(entry, place))]


def networks(job: Job) -> None:
    """Channels that fit; one critic for colour, one for gray (WBC); one that also sees the condition (pix2pix)."""
    model = method(job)
    generator, critic = (job.native.section(f"network_{name}") for name in "GD")
    if model not in MODELS or generator.get("type") in (None, "auto"):
        return
    given, made = (generator.get(key, 3) for key in ("in_nc", "out_nc"))
    if not isinstance(given, int) or not isinstance(made, int):
        return
    _check_channels(job, generator, given, made)
    if "type" not in critic:
        return
    judged = given + made if model == "pix2pix" else made
    if critic.get("in_nc", judged) != judged:
        text = f"expected {judged}, the channels of what it judges, found {critic['in_nc']}"
        job.error(critic.where("in_nc"), f"network_D.in_nc: {text}; write {judged}, or remove it")
    if judged != 3:
        critic.put("in_nc", judged, critic.place)
    if model == "wbc":
        place = job.file.where("network_D")
        for mark, more in (("S", {}), ("T", {"in_nc": 1})):
            job.native.put(f"network_D_{mark}", Section.make(critic.place, {**critic, **more}, critic.places), place)
        job.native.pop("network_D")


def _check_channels(job: Job, generator: Section, given: int, made: int) -> None:
    """Whether the generator takes and makes images such as those of the dataset."""
    if method(job) == "wbc" and (given, made) != (3, 3):
        job.error(
            generator.where(), f"network_G: cartoons have colours, so in_nc and out_nc are 3, not {given} and {made}"
        )
    if method(job) == "cyclegan" and given != made:
        text = f"both generators are of one kind, so in_nc, {given}, and out_nc, {made}, should be one number"
        job.error(generator.where("in_nc"), f"network_G: {text}")
    images = job.native.section("datasets").section("train")
    for key, name, option, count in (
        ("input_channels", "input_nc", "in_nc", given),
        ("target_channels", "output_nc", "out_nc", made),
    ):
        found = images.get(key, 3)
        if isinstance(found, int) and found != count:
            place = images.where(key) if key in images else generator.where(option)
            text = f"the images have {found}, but network_G has {option}: {count}; write the same number in both"
            job.error(place, f"{images.named(key) if key in images else name}: {text}")


def metrics(job: Job, entries: Sequence[Section]) -> None:
    """Without pairs, what is made of A is compared with B."""
    if method(job) in UNPAIRED:
        for entry in entries:
            entry.put("of", "fake_B", entry.place)
            entry.put("to", "real_B", entry.place)


def weights(job: Job, *, training: bool) -> None:
    """``pretrain_model_G_A`` and the like; a test runs one generator."""
    section = job.section("path")
    own = [key for key, rule in PATH.items() if isinstance(rule, OnlyFor) and method(job) in rule.models]
    written = [key for key in own if not is_off(section.get(key))]
    if training:
        for key in ("pretrain_model_G", "pretrain_model_D"):
            several = [name for name in own if name.startswith(key)]
            if several and not is_off(section.get(key)):
                text = f"model {method(job)} has several; write {' and '.join(several)}"
                job.error(section.where(key), f"{key}: {text}")
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
