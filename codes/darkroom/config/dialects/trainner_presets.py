"""Presets of degradations: what is switched on, and with which parameters, unless the option file says it itself.

A preset is a file ``options/presets/NAME.yaml`` with ``kind`` (Blur, Resize or Noise) and ``config``: its ``pipeline``
holds keys of a training set, all else the parameters of one degradation each. There are three families, each with a
base preset, which gives parameters, and an additional one, such as ``bsrgan_blur`` of ``augs_strategy: bsrgan``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...core.errors import OptionErrors
from ...core.registry import did_you_mean
from ..source import Section, read
from .rules import Job, copied, home, is_off, lower

FAMILIES = ("blur", "resize", "noise")
SHIPPED = Path(__file__).resolve().parents[4] / "options" / "presets"

_SUFFIXES = (".yaml", ".yml", ".json")


class Choices:
    """What the option file and its presets say about degradations, each option where it is said first.

    That is in the file itself, in the additional presets, in the base presets.
    """

    def __init__(self, job: Job, dataset: Section, pipeline: Collection[str]) -> None:
        """Read the presets; ``pipeline`` are the keys that they may switch. What is wrong is noted."""
        self.job, self.dataset = job, dataset
        folder = job.read(job.file, "presets_root", str, "presets")
        folders = [Path(home(folder)), Path("options") / folder, *([SHIPPED] if folder == "presets" else [])]
        self._folders = [path for path in folders if path.is_dir()]
        if not self._folders:
            job.error(
                job.file.where("presets_root"), f"presets_root: there is no folder {folder}, nor options/{folder}"
            )
        self._configs = [*self._added(folder), *self._based()]
        self._pipelines = [dataset, *(preset.section("pipeline") for _, preset in self._configs)]
        for section in self._pipelines[1:]:
            self._check(section, pipeline)

    def add(self, said: Section) -> None:
        """Let a section count after the dataset, before the presets."""
        self._pipelines.insert(1, said)

    def find(self, key: str) -> tuple[Any, str]:
        """The value of a key of the dataset and its place; None if nothing says it."""
        section = next((s for s in self._pipelines if s.get(key) is not None), None)
        return (None, self.dataset.where()) if section is None else (section[key], section.where(key))

    def read(self, key: str, kind: Any, default: Any = None) -> Any:
        """The value converted to ``kind``; the default if it is absent or wrong, which is noted."""
        section = next((s for s in self._pipelines if s.get(key) is not None), self.dataset)
        return self.job.read(section, key, kind, default)

    def parameters(self, family: str, types: str, name: str, cycle: str = "") -> Section:
        """The parameters of a degradation ``name`` of a family that the key ``types`` names.

        Those for ``types`` alone count most, then those for the name with the ``cycle``, then those for the name.
        """
        own = self.dataset.section("aug_configs").section(types)
        values = Section.make(self.dataset.where(), {})
        configs = [own, *(config for kind, config in self._configs if kind == family)]
        for config in reversed(configs):
            shared = [key for key in config if "|" in key and name in key.split("|")]
            self._take(values, config, [*shared, name, *([name + cycle] if cycle else [])])
            self._take(values, config.section(types), [name])
        return values

    def _take(self, values: Section, config: Section, keys: Sequence[str]) -> None:
        """Add what each of the ``keys`` holds to the ``values``."""
        for key in keys:
            found = config.get(key)
            if isinstance(found, Section):
                for option, value in found.items():
                    values.put(option, copied(value), found.where(option), option)
            elif found is not None:
                self.job.error(config.where(key), f"{key}: expected parameters, such as {{p: 0.5}}, found {found!r}")

    def _added(self, folder: str) -> Iterator[tuple[str, Section]]:
        strategy = self.job.read(self.dataset, "augs_strategy", str)
        found = 0
        for family in FAMILIES:
            key = f"add_{family}_preset"
            name = self.job.read(self.dataset, key, str)
            preset = self._load(name, family, key) if name else None
            if strategy and not name:
                preset = self._load(f"{strategy.lower()}_{family}", family, "")
            if preset is not None:
                found += 1
                yield family, preset
        if strategy and not found:
            names = {p.stem.rpartition("_")[0] for f in self._folders for p in f.iterdir() if p.suffix in _SUFFIXES}
            known = ", ".join(sorted(names - {"base"}))
            where = self.dataset.where("augs_strategy")
            hint = did_you_mean(strategy.lower(), names)
            text = f"there are no presets {strategy}_blur, {strategy}_resize or {strategy}_noise in {folder}."
            self.job.error(where, f"augs_strategy: {text}{hint} There are: {known}")

    def _based(self) -> Iterator[tuple[str, Section]]:
        for family in FAMILIES:
            key = f"base_{family}_preset"
            name = self.job.read(self.dataset, key, str)
            preset = self._load(name or f"base_{family}", family, key if name else "")
            if preset is not None:
                yield family, preset

    def _load(self, name: str, family: str, key: str) -> Section | None:
        """Section ``config`` of a preset, by its name or path; it may be absent if no ``key`` of the file names it."""
        path = Path(home(name))
        candidates = [path] if path.suffix in _SUFFIXES else []
        candidates += [folder / f"{name}{suffix}" for folder in self._folders for suffix in _SUFFIXES]
        file = next((candidate for candidate in candidates if candidate.is_file()), None)
        if file is None:
            if key:
                near = did_you_mean(name, [p.stem for folder in self._folders for p in folder.iterdir()])
                looked = ", ".join(map(str, self._folders))
                self.job.error(self.dataset.where(key), f"{key}: there is no preset {name!r} in {looked}.{near}")
            return None
        try:
            preset = read(file)
        except OptionErrors as error:
            self.job.errors.extend(error.errors)
            return None
        kind = lower(preset.get("kind"))
        if kind != family:
            self.job.error(preset.where("kind"), f"kind: expected {family.capitalize()}, found {preset.get('kind')!r}")
        for unknown in set(preset) - {"kind", "version", "metadata", "config"}:
            self.job.error(preset.where(unknown), f"a preset has no {unknown!r}, only kind, version, metadata, config")
        return preset.section("config")

    def _check(self, pipeline: Section, known: Collection[str]) -> None:
        for key in pipeline:
            if key not in known:
                hint = did_you_mean(key, known)
                self.job.error(pipeline.where(key), f"pipeline: there is no option {key!r} of degradations.{hint}")


def weighted(job: Job, key: str, value: Any, place: str) -> Mapping[str, float]:
    """Names with their weights: of one name, a list, or names with weights; numbers that cannot be are noted."""
    if isinstance(value, str):
        return {value.lower(): 1.0}
    if isinstance(value, Section):
        shares = {}
        for name, share in value.items():
            if isinstance(share, bool) or not isinstance(share, (int, float)) or share < 0:
                job.error(value.where(name), f"{key}: expected the weight of {name}, found {share!r}")
            elif share:
                shares[str(name).lower()] = float(share)
        return shares
    if isinstance(value, Sequence) and all(isinstance(name, str) for name in value):
        return {name.lower(): float(list(value).count(name)) for name in value}
    if not is_off(value):
        job.error(place, f"{key}: expected a name, a list of names, or names with weights, found {value!r}")
    return {}
