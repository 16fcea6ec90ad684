"""The documented losses, each a type key and a weight key and perhaps more, as entries of ``losses``.

A loss counts when its weight is above 0 and its type is set. Only one of the two is a slip, not a choice. Entries are
named as the log names them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...core.registry import did_you_mean
from ..source import Section
from . import trainner_extras as extras
from . import trainner_methods as methods
from . import trainner_translation as translation
from .rules import Combined, Job, Refused, Rule, Table, Takes, is_off, later, lower, method

Entry = dict[str, Any]
Options = Mapping[str, Any]
"""Values of the further keys of a loss, by key."""


@dataclass(frozen=True, slots=True)
class Documented:
    """How a loss is written."""

    kind: str
    """The key that says which one."""
    weight: str
    """The key of its weight."""
    make: Callable[[str, Options], list[Entry]]
    """Entries for a kind in lower case; a ValueError says what was expected and found."""
    options: Mapping[str, tuple[Any, str]] = field(default_factory=dict)
    """Further keys: the annotation of the value, and the argument of the loss that it makes."""
    coarse: bool = False
    """Whether under frequency separation it judges the coarse part of the images."""


def _after(prefix: str, kind: str) -> str:
    """``l1`` of ``multiscale-l1``."""
    if not kind.startswith(prefix) or kind == prefix:
        raise ValueError(f"expected {prefix} and the name of a pixel criterion, such as {prefix}l1, found {kind!r}")
    return kind.removeprefix(prefix)


def _one_of(kind: str, *known: str) -> str:
    if kind not in known:
        raise ValueError(f"expected {' or '.join(known)}, found {kind!r}.{did_you_mean(kind, known)}")
    return kind


def _pixel(kind: str, o: Options) -> list[Entry]:
    if kind.startswith("multiscale-"):
        return _multiscale(kind, o)
    return [{"name": f"pix-{kind}", "type": kind}]


def _multiscale(kind: str, o: Options) -> list[Entry]:
    del o
    return [{"name": f"pix-{kind}", "type": "multiscale", "criterion": _after("multiscale-", kind)}]


def _hfen(kind: str, o: Options) -> list[Entry]:
    del o
    criterion = {"rel_l1": "relativel1", "rel_l2": "relativel1"}.get(kind, kind)  # the second as the first, as ever
    return [{"name": f"hfen-{criterion}", "type": "hfen", "criterion": criterion}]


def _tv(kind: str, o: Options) -> list[Entry]:
    four = _one_of(kind, "normal", "4d") == "4d"
    if o.get("tv_norm") not in (1, 2):
        raise ValueError(f"it also needs tv_norm, 1 or 2; found {o.get('tv_norm')!r}")
    name = f"{'dtv' if four else 'tv'}-l{o['tv_norm']}"
    return [{"name": name, "type": "tv", "directions": 4 if four else 2, "norm": o["tv_norm"]}]


def _contextual(kind: str, o: Options) -> list[Entry]:
    _one_of(kind, "contextual")
    layers = {"layers": o["cx_vgg_layers"]} if o.get("cx_vgg_layers") else {}
    return [{"name": "contextual", "type": "contextual", **layers}]


def _lpips(kind: str, o: Options) -> list[Entry]:
    _one_of(kind, "net-lin", "net")
    net = lower(o.get("lpips_net") or "vgg")
    return [{"name": f"fea-lpips-{kind}-{net}", "type": "lpips", "net": net, "linear": kind == "net-lin"}]


def _profile(kind: str, o: Options) -> list[Entry]:
    del o
    kinds = ("gpl", "cpl") if _one_of(kind, "spl", "gpl", "cpl") == "spl" else (kind,)
    return [{"name": k, "type": k} for k in kinds]


def _gradient(kind: str, o: Options) -> list[Entry]:
    del o
    directions = 4 if kind.startswith("grad-4d-") else 2
    return [{"name": kind, "type": "grad", "directions": directions, "criterion": _after(f"grad-{directions}d-", kind)}]


def _on_smaller(prefix: str) -> Callable[[str, Options], list[Entry]]:
    def make(kind: str, o: Options) -> list[Entry]:
        del o
        return [{"name": kind, "type": prefix, "criterion": _after(f"{prefix}-", kind)}]

    return make


def _plain(*kinds: str) -> Callable[[str, Options], list[Entry]]:
    def make(kind: str, o: Options) -> list[Entry]:
        del o
        return [{"name": kind, "type": _one_of(kind, *kinds)}]

    return make


LOSSES = (
    Documented("pixel_criterion", "pixel_weight", _pixel, coarse=True),
    Documented("ms_criterion", "ms_weight", _multiscale, coarse=True),
    Documented("hfen_criterion", "hfen_weight", _hfen, coarse=True),
    Documented("tv_type", "tv_weight", _tv, {"tv_norm": (int, "norm")}, coarse=True),
    Documented("cx_type", "cx_weight", _contextual, {"cx_vgg_layers": (dict[str, float], "layers")}),
    Documented("lpips_type", "lpips_weight", _lpips, {"lpips_net": (str, "net")}),
    Documented("spl_type", "spl_weight", _profile, coarse=True),
    Documented("of_type", "of_weight", _plain("overflow"), coarse=True),
    Documented("color_criterion", "color_weight", _on_smaller("color")),
    Documented("avg_criterion", "avg_weight", _on_smaller("avg")),
    Documented("grad_type", "grad_weight", _gradient, coarse=True),
    Documented("ssim_type", "ssim_weight", _plain("ssim", "ms-ssim"), coarse=True),
    Documented("fft_type", "fft_weight", _plain("fft")),
    Documented("fdpl_type", "fdpl_weight", _plain("fdpl"), coarse=True),
)
"""Losses of one type and one weight, in the order of the log."""

PERCEPTUAL: Table = {
    "feature_network": Takes("network", str, lower),
    "perceptual_layers": Takes("layers", dict[str, float]),
    "style_layers": Takes("style_layers", dict[str, float]),
    "use_input_norm": Takes("use_input_norm", bool),
    "remove_pooling": Takes("remove_pooling", bool),
    "change_padding": Takes("change_padding", bool),
    "pretrained_path": Takes("weights", str),
    "rotations": later("rotating what the feature network sees"),
    "flips": later("flipping what the feature network sees"),
    "requires_grad": Refused("the feature network is not trained; remove it"),
}
"""Section ``train.perceptual_opt``."""

MODES = {n: n for n in ("vanilla", "lsgan", "hinge", "wgan", "wgan-gp")} | {"wgangp": "wgan-gp"}
"""Documented values of ``gan_type``."""
_GAN_TYPE = "gan_type"


def _keys() -> dict[str, Rule]:
    rules: dict[str, Rule] = {}
    for loss in LOSSES:
        rules |= {loss.kind: Combined("losses", str), loss.weight: Combined("losses", float)}
        rules |= {key: Combined("losses", kind, needs=loss.weight) for key, (kind, _) in loss.options.items()}
    return rules


KEYS: Table = {
    **_keys(),
    **{key: Combined("losses", float) for key in ("feature_weight", "style_weight", "range_weight", "gan_weight")},
    "feature_criterion": Combined("losses", str),
    "perceptual_opt": Combined("losses", needs="feature_criterion"),
    "feature_network": Combined("losses", str, needs="feature_criterion"),
    _GAN_TYPE: Combined("losses", str),
    "gan_opt": Combined("losses", needs="gan_weight"),
    "gp_weight": Combined("losses", float, needs="gan_weight"),
    "gan_featmaps": Combined("losses: feature_weight of the adversarial loss; network_D.get_feats", bool, "gan_weight"),
    "dis_feature_criterion": Combined("losses: feature_criterion of the adversarial loss", str, "gan_featmaps"),
    "dis_feature_weight": Combined("losses: feature_weight of the adversarial loss", float, "gan_featmaps"),
    "D_update_ratio": Combined("optim_G.every", int, needs="gan_weight"),
    "D_init_iters": Combined("phases", int, needs="gan_weight"),
}
"""The keys of losses in section ``train``."""


def weight_of(job: Job, train: Section, kind: str, weight: str) -> float:
    """The weight of a loss; 0 if it is off, or if only one of its two keys is there, which is noted."""
    value = job.read(train, weight, float, 0.0)
    if value < 0:
        job.error(train.where(weight), f"{weight}: expected 0 or more, found {value}")
    elif value and kind not in train:
        job.error(
            train.where(weight), f"{weight}: says how much, but not what: {kind} is missing; write it, or {weight}: 0"
        )
    elif weight not in train and not is_off(train.get(kind)):
        job.error(
            train.where(kind), f"{kind}: says what, but not how much: {weight} is missing; write it, or remove {kind}"
        )
    elif not is_off(train.get(kind)):
        return max(0.0, value)
    return 0.0


def _entry(train: Section, values: Entry, kind: str, weight: str) -> Section:
    """An entry at the place of the key ``kind``, its weight at that of ``weight``."""
    place = train.where(kind)
    places = {**dict.fromkeys(values, place), "weight": train.where(weight)}
    return Section.make(place, values, places, {"type": kind, "weight": weight})


def _judged(job: Job, train: Section, *, coarse: bool) -> Entry:
    """Which tensors a loss between images compares, where they are not the output and the target."""
    if coarse and extras.separates(job, train):
        return {"of": "output_low", "to": "target_low"}
    return {"of": "fitted"} if extras.adapts(job) else {}


def _made(job: Job, train: Section, loss: Documented) -> list[Section]:
    weight = weight_of(job, train, loss.kind, loss.weight)
    kind = job.read(train, loss.kind, str) if weight else None
    if kind is None:
        return []
    options = {key: job.read(train, key, annotation) for key, (annotation, _) in loss.options.items()}
    try:
        made = loss.make(kind.lower(), options)
    except ValueError as error:
        job.error(train.where(loss.kind), f"{loss.kind}: {error}")
        return []
    judged = _judged(job, train, coarse=loss.coarse)
    entries = [_entry(train, {**values, **judged, "weight": weight}, loss.kind, loss.weight) for values in made]
    for entry in entries:
        entry.places |= {argument: train.where(key) for key, (_, argument) in loss.options.items()}
    return entries


def _perceptual(job: Job, train: Section) -> list[Section]:
    """One entry for content and style, as the log has one value for both."""
    kind = "feature_criterion"
    either = "feature_weight" in train or "style_weight" not in train
    content = weight_of(job, train, kind, "feature_weight") if either else 0.0
    style = weight_of(job, train, kind, "style_weight") if "style_weight" in train else 0.0
    criterion = job.read(train, kind, str) if content or style else None
    if criterion is None:
        return []
    options = train.get("perceptual_opt") or Section.make(train.where(), {})
    if not isinstance(options, Section):
        job.error(train.where("perceptual_opt"), f"perceptual_opt: expected a section, found {options!r}")
        return []
    inner = Job(job.file, job.errors, job.notes)
    inner.sweep(options, PERCEPTUAL, "perceptual_opt", {})
    if "feature_network" in train:
        PERCEPTUAL["feature_network"].apply(inner, train, "feature_network")
    network = inner.native.get("network", "vgg19")
    values: Entry = {"name": f"fea-{network}-{criterion.lower()}", "type": "perceptual", "criterion": criterion.lower()}
    values |= _judged(job, train, coarse=False)
    values |= {"weight": 1.0, "feature_weight": content, "style_weight": style} if style else {"weight": content}
    entry = _entry(
        train, {**values, "network": network, **inner.native}, kind, "feature_weight" if content else "style_weight"
    )
    entry.places |= inner.native.places
    return [entry]


def _range(job: Job, train: Section) -> list[Section]:
    """The one loss that has no type."""
    key = "range_weight"
    weight = job.read(train, key, float, 0.0)
    judged = _judged(job, train, coarse=True)
    return [_entry(train, {"name": "range", "type": "range", **judged, "weight": weight}, key, key)] if weight else []


def gan_weight(job: Job, train: Section) -> float:
    """The weight of the adversarial loss; 0 if there is none."""
    return weight_of(job, train, _GAN_TYPE, "gan_weight")


def _gan(job: Job, train: Section) -> list[Section]:
    weight = gan_weight(job, train)
    kind = (job.read(train, _GAN_TYPE, str) or "").lower()
    if not weight or not kind:
        return []
    if kind in ("nsgan", "srpgan"):
        job.error(
            train.where(_GAN_TYPE), f"gan_type: {kind} is for discriminators that end in a sigmoid; write vanilla"
        )
        return []
    if kind not in MODES:
        near = did_you_mean(kind, MODES)
        job.error(train.where(_GAN_TYPE), f"gan_type: expected one of {', '.join(MODES)}, found {kind!r}.{near}")
        return []
    if method(job) == "sftgan":
        return [_with_classes(job, train, MODES[kind], weight)]
    entry = _entry(train, {"name": "gan", "type": "gan", "mode": MODES[kind]}, _GAN_TYPE, "gan_weight")
    if extras.separates(job, train):
        entry |= {"of": "output_high", "to": "target_high"}
    _gan_options(job, train, entry)
    entry["weight"] = weight
    penalty = job.read(train, "gp_weight", float)
    if penalty is not None:
        entry.put("gp_weight", penalty, train.where("gp_weight"))
    policies = extras.critics_view(job, train)
    if policies:
        entry.put("augment", policies, train.where("dapolicy" if "dapolicy" in train else "diffaug"))
    if job.switch(train, "gan_featmaps"):
        _feature_matching(job, train, entry)
    return [entry]


def _with_classes(job: Job, train: Section, mode: str, weight: float) -> Section:
    """SFTGAN's adversarial loss, whose critic also tells the category."""
    for key in ("gan_featmaps", "diffaug"):
        if job.switch(train, key):
            job.error(train.where(key), f"{key}: model sftgan has no such option; remove it")
    options = train.get("gan_opt")
    if isinstance(options, Section) and lower(options.get("form", "standard")) != "standard":
        job.error(options.where("form"), "form: model sftgan has the standard form only; write standard, or remove it")
    return _entry(train, {"name": "gan", "type": "acd", "mode": mode, "weight": weight}, _GAN_TYPE, "gan_weight")


def _gan_options(job: Job, train: Section, entry: Section) -> None:
    """``gan_opt: {form: relativistic | standard, cap_at_real: true}``."""
    options = train.get("gan_opt") or Section.make(train.where(_GAN_TYPE), {})
    if not isinstance(options, Section):
        job.error(train.where("gan_opt"), f"gan_opt: expected a section such as {{form: standard}}, found {options!r}")
        return
    for key in options:
        if key not in ("form", "cap_at_real"):
            near = did_you_mean(key, ["form", "cap_at_real"])
            job.error(options.where(key), f"there is no option {key!r} in gan_opt.{near}")
    form = lower(job.read(options, "form", str, translation.form(job)))
    if form not in ("relativistic", "standard"):
        job.error(options.where("form"), f"form: expected relativistic or standard, found {form!r}")
    entry.put("form", form, options.where("form"))
    if "cap_at_real" in options:
        entry.put("cap_at_real", job.read(options, "cap_at_real", bool, False), options.where("cap_at_real"))


def _feature_matching(job: Job, train: Section, entry: Section) -> None:
    """``dis_feature_weight`` is absolute; natively the weight of the entry multiplies all that is in it."""
    place = train.where("gan_featmaps")
    weight = job.read(train, "dis_feature_weight", float, 1e-4)
    entry.put("feature_weight", weight / entry["weight"], train.where("dis_feature_weight"))
    criterion = job.read(train, "dis_feature_criterion", str, "l1").lower()
    entry.put("feature_criterion", criterion, train.where("dis_feature_criterion"))
    network = job.native.get("network_D")
    if isinstance(network, Section):
        network.setdefault("get_feats", True)
        network.places.setdefault("get_feats", place)


def losses(job: Job, train: Section) -> None:
    """Put the documented losses, in the order of the log, before those of a native section ``losses``."""
    pixel, *others = (_made(job, train, loss) for loss in LOSSES)
    made = [
        *methods.likelihood(job, train),
        *pixel,
        *_perceptual(job, train),
        *(entry for entries in others for entry in entries),
    ]
    made += [*_range(job, train), *_gan(job, train)]
    means = job.read(job.file, "diff_means", str)
    if means is not None:  # it is at the top of the file
        for entry in (entry for entry in made if entry["type"] == "fdpl"):
            entry.put("diff_means", means, job.file.where("diff_means"))
    made = translation.spread(job, train, made)
    own = job.native.get("losses") or []
    if not made and not own and not job.errors:
        none = [key for key in train if key.endswith("_weight") and train[key] == 0 and key in KEYS]
        text = "there is nothing to learn from: every loss has weight 0 or none is given"
        where = train.where(none[0] if none else None)
        job.error(where, f"{none[0] if none else 'train'}: {text}; write such as pixel_criterion: l1, pixel_weight: 1")
    if not isinstance(own, list):
        job.error(job.native.where("losses"), f"losses: expected a list of entries, found {own!r}")
        own = []
    place = made[0].place if made else job.native.where("losses")
    if made or own:
        job.native.put("losses", [*made, *own], place)
