"""The documented options of single training methods as options of ``model``."""

from __future__ import annotations

from collections.abc import Mapping

from ..source import Section
from .rules import Combined, Job, OnlyFor, Refused, Rule, Table, Takes, is_off, method, only

_OLDER = ("train_phase", "phase1_s", "phase2_s", "phase3_s")
_PPON: dict[str, Rule] = {
    "ppon_stages": Takes("model.ppon_stages", tuple[int, int]),
    **{f"p{n}_losses": Takes(f"model.p{n}_losses", list[str]) for n in (1, 2, 3)},
    "train_phase": Combined("model.ppon_stages", int),
    "phase1_s": Combined("model.ppon_stages", int),
    "phase2_s": Combined("model.ppon_stages", int),
    "phase3_s": Combined("model.ppon_stages, train.iterations", int),
}

_SRFLOW: dict[str, Rule] = {
    "fl_weight": Combined("losses: weight of nll", float),
    "l1_weight": Refused("it never had an effect; write pixel_criterion: l1 and pixel_weight"),
    "lr_filter_": Combined("optim_G.groups: lr of G.RRDB", float),
    "train_RRDB_delay": Takes("model.train_RRDB_delay", float),
}
TRAIN: Table = {**only("ppon", _PPON), **only("srflow", _SRFLOW)}
"""Keys of section ``train``."""

TOP: Table = only(
    "srflow",
    {
        "val": Combined("model.heats, model.n_sample"),
        "heat": Refused("write val: {heats: [0.9], n_sample: 1}"),
    },
)
"""Keys of the top of the file."""
VAL: Table = {"heats": Takes("model.heats", list[float]), "n_sample": Takes("model.n_sample", int)}
"""Section ``val`` of SRFlow."""
_VAL_OF_TEST: Table = {"heats": Takes("test.heats", list[float]), "n_sample": Takes("test.n_sample", int)}

NETWORK: Table = only(
    "srflow",
    {
        "flow": Combined("network_G: K, L, hidden_channels, additional, split, correct_splits, blocks"),
        "train_RRDB_delay": Takes("model.train_RRDB_delay", float),
        "train_RRDB": Refused("it never had an effect; train_RRDB_delay: 0 trains the encoder from the start"),
    },
)
"""Keys of section ``network_G``."""

SUBMODULE = OnlyFor(("srflow",), Combined("path.pretrain", bool | str))
"""``path.load_submodule``: pretrain_model_G is of the encoder."""
QUANT = OnlyFor(("srflow",), Combined("network_G.quant", float))
"""``datasets.train.quant``."""

_AS_IT_IS = "here the flow is always made so"
FLOW: Table = {
    "K": Takes("network_G.K", int),
    "L": Takes("network_G.L", int),
    "hidden_channels": Takes("network_G.hidden_channels", int),
    "additionalFlowNoAffine": Takes("network_G.additional", int),
    "noInitialInj": Refused(_AS_IT_IS, (True,)),
    "coupling": Refused(f"{_AS_IT_IS}, with CondAffineSeparatedAndCond", ("condaffineseparatedandcond",)),
    "fea_up0": Refused(_AS_IT_IS, (True,)),
    "split": Combined("network_G.split, network_G.correct_splits"),
    "stackRRDB": Combined("network_G.blocks"),
    "augmentation": Combined("model.noise"),
}
"""Section ``network_G.flow`` of SRFlow."""
_INNER: Mapping[str, Table] = {
    "split": {"enable": Takes("network_G.split", bool), "correct_splits": Takes("network_G.correct_splits", bool)},
    "stackRRDB": {"blocks": Takes("network_G.blocks", list[int]), "concat": Refused(_AS_IT_IS, (True,))},
    "augmentation": {"noiseQuant": Takes("model.noise", bool)},
}

TOP_OF_TEST: Table = only("ppon", {"ppon_phase": Takes("test.image", int | str, lambda phase: _image(phase))})
"""Keys of the top of a file for test.py."""


def flow(job: Job, train: Section, *, training: bool) -> None:
    """SRFlow: the sections ``network_G.flow`` and ``val``, and a rate of its own for the encoder."""
    if method(job) != "srflow":
        return
    network = job.file.section("network_G")
    for section, table, name in _sections(job, network, VAL if training else _VAL_OF_TEST):
        job.sweep(section, table, name, {})
    if not training:
        return
    images = job.file.section("datasets").section("train")
    quant = job.read(images, "quant", float)
    if quant is not None:
        job.put("network_G.quant", quant, images.where("quant"), "quant")
    rate = job.read(train, "lr_filter_", float)
    if rate is not None:
        place = train.where("lr_filter_")
        group = Section.make(place, {"lr": rate}, {"lr": place})
        job.put("optim_G.groups", Section.make(place, {"G.RRDB": group}, {"G.RRDB": place}), place, "lr_filter_")
    if not is_off(job.section("path").get("load_submodule")):
        pretrain = job.native.section("path").section("pretrain")
        if "G" in pretrain:
            pretrain.put("G.RRDB", pretrain.pop("G"), job.section("path").where("pretrain_model_G"))


def likelihood(job: Job, train: Section) -> list[Section]:
    """The loss that SRFlow has without being asked."""
    if method(job) != "srflow":
        return []
    place = train.where("fl_weight")
    entry = {"name": "nll_loss", "type": "nll", "of": "nll", "weight": job.read(train, "fl_weight", float, 1.0)}
    return [Section.make(place, entry, dict.fromkeys(entry, place))]


def _sections(job: Job, network: Section, val: Table) -> list[tuple[Section, Table, str]]:
    flow_options = network.section("flow")
    found = [(flow_options, FLOW, "network_G.flow"), (job.section("val"), val, "val")]
    for name, table in _INNER.items():
        value = flow_options.get(name)
        if isinstance(value, Section):
            found.append((value, table, f"network_G.flow.{name}"))
        elif value is not None:
            job.error(flow_options.where(name), f"{name}: expected a section, found {value!r}")
    return found


def _image(phase: int | str) -> str:
    names = {"1": "content", "2": "structure", "3": "perceptual"}
    name = names.get(str(phase).lower().removeprefix("p"))
    if name is None:
        raise ValueError(f"expected 1, 2 or 3 (or p1, p2, p3), found {phase!r}")
    return name


def stages(job: Job, train: Section) -> None:
    """PPON: the older keys for ``ppon_stages``, and restarts of the schedule where a stage begins."""
    if method(job) != "ppon":
        return
    if any(train.get(key) is not None for key in _OLDER):
        _older(job, train)
    model = job.native["model"]
    begins = model.get("ppon_stages") if isinstance(model, Section) else None
    schedule = job.native.section("schedule")
    if not begins or schedule.get("type") != "step_restart":
        return
    begins = sorted({int(start) for start in begins if int(start) > 0})
    restarts = schedule.get("restarts")
    if restarts is None:
        sizes = schedule.get("step_sizes") or []
        within = begins[: max(0, len(sizes) - 1)]
        job.put("schedule.restarts", within, train.where("ppon_stages"), "ppon_stages")
    elif not set(begins[: len(restarts)]) <= {int(r) for r in restarts}:
        text = f"the learning rate restarts at {list(restarts)}, but stages begin at {begins}"
        job.note(train.where("restarts"), f"restarts: {text}; a stage best begins with a restart")


def _older(job: Job, train: Section) -> None:
    """``phase1_s`` and ``phase2_s`` say where a phase ends, ``phase3_s`` where the run does; -1 leaves it out."""
    if train.get("ppon_stages") is not None:
        job.error(train.where("ppon_stages"), f"ppon_stages: says what {', '.join(_OLDER)} say too; remove one of them")
        return
    first = job.read(train, "train_phase", int, 1)
    if first not in (1, 2, 3):
        job.error(train.where("train_phase"), f"train_phase: expected 1, 2 or 3, found {first}")
        return
    ends = [job.read(train, f"phase{n}_s", int, -1) if n >= first else -1 for n in (1, 2, 3)]
    structure = max(0, ends[0])
    perception = max(structure, ends[1])
    place = train.where(next(key for key in _OLDER if train.get(key) is not None))
    if ends[2] < 0:
        perception = max(perception, job.read(train, "niter", int, perception))
    elif train.get("niter") is None:
        job.put("train.iterations", ends[2], train.where("phase3_s"), "phase3_s")
    job.put("model.ppon_stages", [structure, perception], place, "phase1_s")
