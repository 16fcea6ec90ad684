"""The documented degradations of a dataset, and their presets, as the section ``degrade``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ...core.registry import did_you_mean
from ..source import Section
from .rules import Combined, Job, Table, home, is_off, lower
from .trainner_presets import FAMILIES, Choices, weighted

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
    **{f"{name}": f"{name}_noise" for name in ("gaussian", "poisson", "speckle", "camera")},
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


class _Kind(NamedTuple):
    """A stage in the documented keys."""

    name: str
    switch: str
    """The key that turns it on; that of the types itself if it is the same one."""
    types: str
    """The key of what there is to choose from; no key for stages of one kind."""
    chance: str
    """The key of the probability, if there is one."""
    native: Mapping[str, str]
    """Documented types, and what they are natively."""
    family: str
    """Whose presets have its parameters."""
    cycle: str = ""
    """What is added to the name of a type to find the parameters of this stage in a preset."""
    group: str = ""


def _one(name: str, switch: str, chance: str, native: str) -> _Kind:
    return _Kind(name, switch, "", chance, {name: native}, "noise")


STAGES = (
    _Kind("blur", "lr_blur", "lr_blur_types", "blur_prob", BLURS, "blur"),
    _Kind("resize", "lr_downscale", "lr_downscale_types", "", {}, "resize"),
    _Kind("noise", "lr_noise", "lr_noise_types", "", NOISES, "noise"),
    _Kind("compression", "compression", "compression", "", NOISES, "noise"),
    _one("auto_levels", "lr_auto_levels", "lr_rand_auto_levels", "auto_levels"),
    _one("unsharp", "lr_unsharp_mask", "lr_rand_unsharp", "unsharp"),
    _one("fringes", "lr_fringes", "lr_fringes_chance", "fringes"),
    _Kind("blur2", "lr_blur2", "lr_blur_types2", "blur_prob2", BLURS, "blur", "2"),
    _Kind("resize2", "lr_downscale2", "lr_downscale_types2", "", {}, "resize", "2"),
    _Kind("noise2", "lr_noise2", "lr_noise_types2", "", NOISES, "noise", "2"),
)
LAST = (
    _Kind("final_compression", "final_compression", "final_compression", "", NOISES, "noise", group="compression"),
    _Kind("final_scale", "final_scale", "final_scale_types", "", {}, "resize", group="scale"),
    _Kind("final_blur", "final_blur", "final_blur", "final_blur_prob", BLURS, "blur", group="scale"),
)
AFTER = (
    _one("cutout", "lr_cutout", "lr_cutout_p", "cutout"),
    _one("erasing", "lr_erasing", "lr_erasing_p", "erasing"),
)
TARGET = (
    _Kind("noise", "hr_noise", "hr_noise_types", "", NOISES, "noise"),
    _one("auto_levels", "hr_auto_levels", "hr_rand_auto_levels", "auto_levels"),
    _one("unsharp", "hr_unsharp_mask", "hr_rand_unsharp", "unsharp"),
)
_KINDS = (*STAGES, *LAST, *AFTER, *TARGET)
_PIPELINE = (
    "resize_strat", "shuffle_degradations", "down_up_types", "dataroot_kernels", "realk_scale", "noise_data",
    "noise_data_size", *(key for kind in _KINDS for key in (kind.switch, kind.types, kind.chance) if key),
)  # fmt: skip
"""Keys that presets may have."""
_DOWNSCALE = ("lr_downscale", "lr_downscale_types")
"""Keys that mean the making of inputs that no file has, unless resizing is a stage."""

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
    **{kind.switch: Combined(f"degrade: {kind.name}") for kind in _KINDS if kind.switch not in _DOWNSCALE},
    **{k.types: Combined(f"degrade: of {k.name}") for k in _KINDS if k.types and k.types not in _DOWNSCALE},
    **{kind.chance: Combined(f"degrade: probability of {kind.name}", float) for kind in _KINDS if kind.chance},
}
"""Keys of a training set that make the section."""


def degradations(job: Job, section: Section, inner: Job, kernels: Mapping[str, str]) -> None:
    """Make ``degrade`` of what the training set ``section`` says; ``inner.native`` is that set, natively.

    ``kernels`` are the documented names of those that an image is resized with, and what they are natively.
    """
    asked = [key for key in section if key in KEYS and not is_off(section[key])]
    if not asked:
        return
    maker = _Maker(inner, Choices(inner, section, _PIPELINE), section, kernels)
    lists = {
        "first": maker.downscaling(),
        "stages": maker.stages(STAGES),
        "last": maker.stages(LAST),
        "after": maker.stages(AFTER),
        "target": maker.stages(TARGET),
    }
    lists = {name: stages for name, stages in lists.items() if stages}
    place = section.where(asked[0])
    if not lists:
        return
    job.ensure("degrade", place)
    for name, stages in lists.items():
        job.put(f"degrade.{name}", stages, place, name)
    if maker.starts_with_target:
        job.put("degrade.start", "target", place, "resize_strat")
        inner.native.pop("kernel", None)
    for key, to, kind in (("shuffle_degradations", "shuffle", bool), ("degrade_on", "run_on", str)):
        value = maker.choices.read(key, kind)
        if value is not None:
            job.put(f"degrade.{to}", value, maker.choices.find(key)[1], key)


class _Maker:
    """Makes the stages of one training set."""

    def __init__(self, job: Job, choices: Choices, section: Section, kernels: Mapping[str, str]) -> None:
        self.job, self.choices, self.section, self.kernels = job, choices, section, kernels
        strategy, place = lower(choices.read("resize_strat", str, "pre")), choices.find("resize_strat")[1]
        self.inside = "in" in strategy.split("_")
        """Whether resizing is among the stages."""
        if not {"pre", "in"} & {*strategy.split("_")}:
            job.error(place, f"resize_strat: expected pre or in, found {strategy!r}")
        self.starts_with_target = self.inside and "input" not in job.native
        self._legacy_levels()

    def _legacy_levels(self) -> None:
        """``auto_levels: lr, hr or both`` is the older way to say two of the switches."""
        side = lower(self.job.read(self.section, "auto_levels", str))
        if side is None:
            return
        place = self.section.where("auto_levels")
        if side not in ("lr", "hr", "both"):
            self.job.error(place, f"auto_levels: expected lr, hr or both, found {side!r}")
        chance = self.job.read(self.section, "rand_auto_levels", float, 1.0)
        said = Section.make(place, {})
        for name in ("lr", "hr") if side == "both" else (side,):
            said.put(f"{name}_auto_levels", True, place)
            said.put(f"{name}_rand_auto_levels", chance, self.section.where("rand_auto_levels"))
        self.choices.add(said)

    def downscaling(self) -> list[Section]:
        """How inputs are made before all stages, where no kernel alone does it."""
        value, place = self.choices.find("lr_downscale_types")
        on, _ = self.choices.find("lr_downscale")
        if self.inside or is_off(value) or on is False:
            return []
        special = {*weighted(self.job, "lr_downscale_types", value, place)} & {*RESIZES}
        if not special:
            return []
        if "input" in self.job.native:
            self.job.error(place, f"lr_downscale_types: {min(special)} makes all inputs; remove dataroot_LR")
        self.starts_with_target = True
        return [self._stage_of("downscale", self._resizes("lr_downscale_types", "", exact=True), place)]

    def stages(self, kinds: Sequence[_Kind]) -> list[Section]:
        """Those that are switched on."""
        return [stage for kind in kinds if (stage := self._stage(kind)) is not None]

    def _stage(self, kind: _Kind) -> Section | None:
        on, place = self.choices.find(kind.switch)
        if is_off(on):
            if on is None and kind.types and not is_off(self.section.get(kind.types)):
                self.job.note(
                    self.section.where(kind.types), f"{kind.types} has no effect, as there is no {kind.switch}"
                )
            return None
        resizes = not kind.native
        if resizes and not self.inside:
            if kind.switch in self.section and kind.switch not in _DOWNSCALE:
                self.job.note(place, f"{kind.switch} has no effect without resize_strat: in")
            return None
        if not kind.types:
            (name,) = kind.native
            return self._stage_of(kind.name, [self._choice(kind, name, 1.0, place)], place, kind)
        value, place = self.choices.find(kind.types)
        if is_off(value) or value is True:
            self.job.error(place, f"{kind.switch}: needs {kind.types}, such as {kind.types}: [{self._example(kind)}]")
            return None
        if resizes:
            choices = self._resizes(kind.types, kind.cycle, exact=kind.name == "final_scale")
        else:
            shares = weighted(self.job, kind.types, value, place)
            choices = [self._choice(kind, name, share, place) for name, share in shares.items()]
        return self._stage_of(kind.name, choices, place, kind)

    def _example(self, kind: _Kind) -> str:
        return next(iter(kind.native), "linear")

    def _stage_of(
        self, name: str, choices: Sequence[Sequence[Section]], place: str, kind: _Kind | None = None
    ) -> Section:
        stage = Section.make(place, {"name": name}, {"name": place})
        if kind is not None and kind.chance:
            value, at = self.choices.find(kind.chance)
            if value is not None:
                stage.put("probability", value, at, kind.chance)
        if kind is not None and kind.group:
            stage.put("group", kind.group, place)
        stage.put("of", [choice for several in choices for choice in several], place)
        return stage

    def _choice(self, kind: _Kind, name: str, share: float, place: str) -> list[Section]:
        """The degradation with its parameters; where it is applied now and then only, nothing beside it."""
        plain = "dither" if name.startswith("fs_dither") else name
        native = kind.native.get(plain)
        if native is None:
            known = f"There are: {', '.join(kind.native)}"
            hint = did_you_mean(name, kind.native)
            self.job.error(place, f"{kind.types}: {name} is none of them.{hint} {known}")
            return []
        parameters = self.choices.parameters(kind.family, kind.types or kind.switch, name, kind.cycle)
        if native == "noise_patches":
            self._put(parameters, "folder", "noise_data", str)
            self._put(parameters, "size", "noise_data_size", int)
        return self._sometimes(native, share, parameters, place)

    def _put(self, parameters: Section, option: str, key: str, kind: Any) -> None:
        value = self.choices.read(key, kind)
        if value is not None:
            parameters.put(option, home(value) if kind is str else value, self.choices.find(key)[1], key)

    def _sometimes(self, native: str, share: float, parameters: Section, place: str) -> list[Section]:
        chance = self.job.read(parameters, "p", float, 1.0)
        if not 0 <= chance <= 1:
            self.job.error(parameters.where("p"), f"p: expected 0 to 1, found {chance:g}")
        entry = Section.make(
            place, {"type": native, "weight": share * chance}, dict.fromkeys(("type", "weight"), place)
        )
        for option, value in parameters.without("p").items():
            entry.put(option, value, parameters.where(option), parameters.named(option))
        rest = Section.make(place, {"type": "clean", "weight": share * (1 - chance)})
        return [entry, rest] if chance < 1 else [entry]

    def _resizes(self, types: str, cycle: str, *, exact: bool) -> list[list[Section]]:
        """Resizing by the documented algorithms that a key names; kernels alone go to the final size if ``exact``."""
        value, place = self.choices.find(types)
        shares = weighted(self.job, types, value, place)
        kernels = {self.kernels[name]: share for name, share in shares.items() if name in self.kernels}
        made = [self._kernels(types, cycle, kernels, place, exact=exact)] if kernels else []
        for name, share in shares.items():
            if name not in (*self.kernels, *RESIZES, "clean"):
                known = (*self.kernels, *RESIZES)
                hint = did_you_mean(name, known)
                self.job.error(place, f"{types}: {name} is no algorithm.{hint} There are: {', '.join(known)}")
            elif name not in self.kernels:
                parameters = self.choices.parameters("resize", types, name, cycle)
                if name == "down_up":
                    self._down_up(parameters, self.choices.parameters("resize", types, "resize", cycle))
                elif name == "realistic":
                    self._realistic(parameters, types, place, exact=exact)
                made.append(self._sometimes(name, share, parameters, place))
        return made

    def _kernels(
        self, types: str, cycle: str, shares: Mapping[str, float], place: str, *, exact: bool
    ) -> list[Section]:
        parameters = Section.make(place, {}) if exact else self.choices.parameters("resize", types, "resize", cycle)
        parameters.pop("down_up_min", None)
        parameters.put("kernels", list(shares), place, types)
        if len({*shares.values()}) > 1:
            parameters.put("shares", list(shares.values()), place, types)
        return self._sometimes("final_scale" if exact else "resize", sum(shares.values()), parameters, place)

    def _down_up(self, parameters: Section, resize: Section) -> None:
        """``down_up_min`` may stand with either."""
        for said in (parameters, resize):
            if "down_up_min" in said and "least" not in parameters:
                parameters.put("least", said["down_up_min"], said.where("down_up_min"), "down_up_min")
        parameters.pop("down_up_min", None)
        value, place = self.choices.find("down_up_types")
        kernels = weighted(self.job, "down_up_types", value, place)
        unknown = next((name for name in kernels if name not in self.kernels), None)
        if unknown is not None:
            hint = did_you_mean(unknown, self.kernels)
            self.job.error(place, f"down_up_types: {unknown} is no kernel.{hint} There are: {', '.join(self.kernels)}")
        elif kernels:
            parameters.put("kernels", [self.kernels[name] for name in kernels], place, "down_up_types")

    def _realistic(self, parameters: Section, types: str, place: str, *, exact: bool) -> None:
        folder = self.choices.read("dataroot_kernels", str)
        if folder is None:
            self.job.error(place, f"{types}: realistic needs dataroot_kernels, the folder of estimated kernels")
            return
        parameters.put("folder", home(folder), self.choices.find("dataroot_kernels")[1], "dataroot_kernels")
        scale = self.job.scale() if exact else 4
        scale = self.choices.read("realk_scale", int, scale)
        if scale is not None:
            parameters.put("kernel_scale", scale, self.choices.find("realk_scale")[1], "realk_scale")
