"""What a stage of degradations has to choose from, natively: of documented names, weights and parameters."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ...core.registry import did_you_mean
from ..source import Section
from .rules import Job, home
from .trainner_presets import Choices, weighted
from .trainner_stages import RESIZES, Kind


def kernel_shares(shares: Mapping[str, float], kernels: Mapping[str, str]) -> dict[str, float]:
    """The native kernels among documented algorithms, and how often each is taken."""
    found: dict[str, float] = {}
    for name, share in shares.items():
        if name in kernels:
            found[kernels[name]] = found.get(kernels[name], 0.0) + share
    return found


def kernel_option(shares: Mapping[str, float], place: str) -> Any:
    """The option ``kernel`` of a dataset."""
    if len({*shares.values()}) > 1:
        return Section.make(place, {**shares})
    return next(iter(shares)) if len(shares) == 1 else [*shares]


class Entries:
    """Makes the entries ``of`` of stages."""

    def __init__(self, job: Job, choices: Choices, kernels: Mapping[str, str]) -> None:
        """Take what is said; ``kernels`` are the documented names of kernels, and what they are natively."""
        self.job, self.choices, self.kernels = job, choices, kernels

    def of(self, kind: Kind, name: str, share: float, place: str) -> list[Section]:
        """The degradation with its parameters; where it is applied now and then only, nothing beside it."""
        native = kind.native.get("fs_dither" if name.startswith("fs_dither") else name)
        types = kind.types or kind.switch
        if native is None:
            self._unknown(types, name, kind.native, place)
            return []
        synonyms = [other for other, same in kind.native.items() if same == native and other != name]
        parameters = self.choices.parameters(native, kind.family, types, [*synonyms, name], kind.cycle)
        if native == "noise_patches":
            self._put(parameters, "folder", "noise_data", str)
            self._put(parameters, "size", "noise_data_size", int)
            if "folder" not in parameters:
                self.job.error(place, f"{types}: patches needs noise_data, the folder of noise patches")
        return self._sometimes(native, share, parameters, place)

    def _unknown(self, key: str, name: str, known: Collection[str], place: str) -> None:
        self.job.error(place, f"{key}: {name} is unknown.{did_you_mean(name, known)} There are: {', '.join(known)}")

    def _put(self, parameters: Section, option: str, key: str, kind: Any) -> None:
        value = self.choices.read(key, kind)
        if value is not None:
            parameters.put(option, home(value) if kind is str else value, self.choices.find(key)[1], key)

    def _sometimes(self, native: str, share: float, parameters: Section, place: str) -> list[Section]:
        chance = self.job.read(parameters, "p", float, 1.0)
        if not 0 <= chance <= 1:
            self.job.error(parameters.where("p"), f"p: expected 0 to 1, found {chance:g}")
        said = {"type": native, "weight": share * chance}
        entry = Section.make(place, said, dict.fromkeys(said, place))
        for option, value in parameters.without("p").items():
            if option in said:
                self.job.error(parameters.where(option), f"degradation {native!r} has no option {option!r}")
            else:
                entry.put(option, value, parameters.where(option), parameters.named(option))
        rest = Section.make(place, {"type": "clean", "weight": share * (1 - chance)})
        return [entry, rest] if chance < 1 else [entry]

    def resizes(self, types: str, cycle: str, *, exact: bool) -> list[list[Section]]:
        """Resizing by the documented algorithms that a key names; kernels alone go to the final size if ``exact``."""
        value, place = self.choices.find(types)
        shares = weighted(self.job, types, value, place)
        kernels = kernel_shares(shares, self.kernels)
        made = [self._kernels(types, cycle, kernels, place, exact=exact)] if kernels else []
        self.check_algorithms(types, shares, place)
        for name, share in shares.items():
            if name in (*RESIZES, "clean"):
                parameters = self.choices.parameters(name, "resize", types, [name], cycle)
                if name == "down_up":
                    self._down_up(parameters, self.choices.parameters("resize", "resize", types, ["resize"], cycle))
                elif name == "realistic":
                    self._realistic(parameters, types, place, exact=exact)
                made.append(self._sometimes(name, share, parameters, place))
        return made

    def check_algorithms(self, types: str, names: Collection[str], place: str) -> None:
        """Note algorithms that there are not."""
        for name in names:
            if name not in (*self.kernels, *RESIZES, "clean"):
                self._unknown(types, name, (*self.kernels, *RESIZES), place)

    def _kernels(
        self, types: str, cycle: str, shares: Mapping[str, float], place: str, *, exact: bool
    ) -> list[Section]:
        native, names = ("final_scale", []) if exact else ("resize", ["resize"])
        parameters = self.choices.parameters(native, "resize", types, names, cycle).without("down_up_min")
        self._put_kernels(parameters, shares, place, types)
        return self._sometimes(native, sum(shares.values()), parameters, place)

    def _put_kernels(self, parameters: Section, shares: Mapping[str, float], place: str, key: str) -> None:
        parameters.put("kernels", [*shares], place, key)
        if len({*shares.values()}) > 1:
            parameters.put("shares", [*shares.values()], place, key)

    def _down_up(self, parameters: Section, resize: Section) -> None:
        """``down_up_min`` may stand with either."""
        for said in (parameters, resize):
            if "down_up_min" in said and "least" not in parameters:
                parameters.put("least", said["down_up_min"], said.where("down_up_min"), "down_up_min")
        parameters.pop("down_up_min", None)
        value, place = self.choices.find("down_up_types")
        shares = weighted(self.job, "down_up_types", value, place)
        for name in shares:
            if name not in self.kernels:
                self._unknown("down_up_types", name, self.kernels, place)
        if shares:
            self._put_kernels(parameters, kernel_shares(shares, self.kernels), place, "down_up_types")

    def _realistic(self, parameters: Section, types: str, place: str, *, exact: bool) -> None:
        self._put(parameters, "folder", "dataroot_kernels", str)
        if "folder" not in parameters:
            self.job.error(place, f"{types}: realistic needs dataroot_kernels, the folder of estimated kernels")
            return
        self._put(parameters, "kernel_scale", "realk_scale", int)
        scale = self.job.scale() if exact else 4
        if "kernel_scale" not in parameters and scale is not None:
            parameters.put("kernel_scale", scale, place)
        given, goal = parameters.get("kernel_scale"), self.job.scale()
        if given is not None and goal is not None and given > goal:
            text = f"{types}: kernels of scale {given} would make images smaller than scale: {goal} allows, so they are"
            self.job.note(place, f"{text} resized instead; write realk_scale: {goal}, with kernels of that scale")
