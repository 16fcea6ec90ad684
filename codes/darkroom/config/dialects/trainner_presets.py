"""Presets of degradations: what is switched on, and with which parameters, unless the option file says it itself.

A preset is a file ``options/presets/NAME.yaml`` with ``kind`` (Blur, Resize or Noise) and ``config``: its ``pipeline``
holds keys of a training set, all else the parameters of one degradation each. There are three families, each with a
base preset, which gives parameters, and an additional one, such as ``bsrgan_blur`` of ``augs_strategy: bsrgan``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...core.errors import OptionErrors
from ...core.registry import did_you_mean
from ..source import Section, read
from .rules import Job, home, is_off, lower
from .trainner_spellings import natively

FAMILIES = ("blur", "resize", "noise")
SHIPPED = Path(__file__).resolve().parents[4] / "options" / "presets"

_SUFFIXES = (".yaml", ".yml", ".json")


class Words(NamedTuple):
    """What can be said of degradations."""

    pipeline: Collection[str]
    """Keys of a training set that a preset may have in its ``pipeline``."""
    names: Mapping[str, Collection[str]]
    """Of each family, the degradations that may be given parameters."""
    types: Mapping[str, str]
    """Keys that name degradations, and the family of these: there may be parameters for such a key alone."""


class Choices:
    """What the option file and its presets say about degradations, each option where it is said first.

    That is in the file itself, in the additional presets, in the base presets.
    """

    def __init__(self, job: Job, dataset: Section, words: Words) -> None:
        """Read the presets. What is wrong is noted."""
        self.job, self.dataset, self._words = job, dataset, words
        presets = _Presets(job, dataset)
        self._configs = [*presets.added(), *presets.based()]
        self._pipelines = [dataset, *(config.section("pipeline") for _, config in self._configs)]
        self._read: set[str] = set()
        self._taken: set[tuple[str, str]] = set()
        for family, config in self._configs:
            self._check_pipeline(config.section("pipeline"))
            self._check_names(config.without("pipeline"), family, types=True)
        self._own = self._parameters_of_the_file()

    def add(self, said: Section) -> None:
        """Let a section count after the dataset, before the presets."""
        self._pipelines.insert(1, said)

    def find(self, key: str) -> tuple[Any, str]:
        """The value of a key of the dataset and its place; None if nothing says it."""
        section = self._home(key)
        return section.get(key), section.where(key)

    def read(self, key: str, kind: Any, default: Any = None) -> Any:
        """The value converted to ``kind``; the default if it is absent or wrong, which is noted."""
        section = self._home(key)
        if kind is str and is_off(section.get(key)):
            return default
        return self.job.read(section, key, kind, default)

    def _home(self, key: str) -> Section:
        self._read.add(key)
        return next((s for s in self._pipelines if s.get(key) is not None), self.dataset)

    def idle(self, key: str) -> bool:
        """Whether the option file says a key that was of no use so far."""
        return not is_off(self.dataset.get(key)) and key not in self._read

    def parameters(self, native: str, family: str, types: str, names: Sequence[str], cycle: str = "") -> Section:
        """The native parameters of a degradation of a ``family``, which has these ``names``, the last one first of all.

        In each place those for the key ``types`` alone count most; then those for a name with the ``cycle``, such as
        ``iso2``; then those for a name; then those for several, such as ``iso|aniso``.
        """
        values = Section.make(self.dataset.where(), {})
        for kind, config in reversed(self._configs):
            if kind == family:
                self._take(native, config, names, cycle, values)
                self._take_of(native, config.section(types), names, cycle, values)
        self._take_of(native, self._own.section(types), names, cycle, values)
        self._taken |= {(types, name) for name in ("", *names, *(f"{name}{cycle}" for name in names))}
        return values

    def _take(self, native: str, config: Section, names: Sequence[str], cycle: str, values: Section) -> None:
        exact = [*names, *(f"{name}{cycle}" for name in names if cycle)]
        shared = [key for key in config if "|" in key and {*exact} & {*key.split("|")}]
        for key in (*shared, *exact):
            if isinstance(config.get(key), Section):
                natively(self.job, native, config[key], values)

    def _take_of(self, native: str, config: Section, names: Sequence[str], cycle: str, values: Section) -> None:
        """Of what a key that names types has: parameters for all of these, and those for one."""
        natively(self.job, native, config.without(*(k for k, v in config.items() if isinstance(v, Section))), values)
        self._take(native, config, names, cycle, values)

    def note_idle_parameters(self) -> None:
        """Tell the user of parameters in the option file that were of no use."""
        for types, config in self._own.items():
            if (types, "") not in self._taken:
                self.job.note(self._own.where(types), f"aug_configs: {types} has no effect, as there is no such stage")
                continue
            for name, said in config.items():
                if isinstance(said, Section) and not any((types, part) in self._taken for part in name.split("|")):
                    text = f"aug_configs: {name} has no effect, as it is none of {types}"
                    self.job.note(config.where(name), text)

    def _parameters_of_the_file(self) -> Section:
        """``aug_configs``, without what is wrong."""
        config = self.dataset.get("aug_configs")
        if not isinstance(config, Section):
            if not is_off(config):
                text = f"expected parameters, such as {{lr_blur_types: {{iso: {{p: 0.5}}}}}}, found {config!r}"
                self.job.error(self.dataset.where("aug_configs"), f"aug_configs: {text}")
            return Section.make(self.dataset.where("aug_configs"), {})
        for key, said in config.items():
            if key not in self._words.types:
                hint = did_you_mean(key, self._words.types)
                known = ", ".join(self._words.types)
                self.job.error(config.where(key), f"aug_configs: {key} names no types.{hint} There are: {known}")
            else:
                self._check_names(said, self._words.types[key], place=config.where(key))
        return config.only([k for k, v in config.items() if k in self._words.types and isinstance(v, Section)])

    def _check_names(self, config: Any, family: str, *, types: bool = False, place: str = "") -> None:
        """Whether everything there are parameters, of degradations of the family; with ``types``, of keys as well."""
        if not isinstance(config, Section):
            if config is not None:
                self.job.error(place, f"expected parameters, such as {{p: 0.5}}, found {config!r}")
            return
        keys = [key for key, home_family in self._words.types.items() if types and home_family == family]
        known = (*self._words.names[family], *keys)
        for key, said in config.items():
            if key in keys:
                self._check_names(said, family, place=config.where(key))
            elif types and not isinstance(said, Section) and said is not None:
                self.job.error(config.where(key), f"{key}: expected parameters, such as {{p: 0.5}}, found {said!r}")
            elif isinstance(said, Section):
                unknown = next((n for n in key.split("|") if n.removesuffix("2") not in known), None)
                if unknown is not None:
                    hint = did_you_mean(unknown, known)
                    text = f"there is no {family} {unknown!r} that could have parameters.{hint}"
                    self.job.error(config.where(key), f"{text} There are: {', '.join(known)}")

    def _check_pipeline(self, pipeline: Section) -> None:
        for key in pipeline:
            if key not in self._words.pipeline:
                hint = did_you_mean(key, self._words.pipeline)
                self.job.error(pipeline.where(key), f"pipeline: there is no option {key!r} of degradations.{hint}")


class _Presets:
    """Finds and reads the presets of a training set."""

    def __init__(self, job: Job, dataset: Section) -> None:
        """Find the folders: those of the user, then the one with the presets that come with Darkroom."""
        self.job, self.dataset = job, dataset
        name = _text(job, job.file, "presets_root") or "presets"
        folders = [path for path in (Path(home(name)), "options" / Path(home(name))) if path.is_dir()]
        if not folders and name != "presets":
            place = job.file.where("presets_root")
            job.error(place, f"presets_root: there is no folder {name}, nor options/{name}")
        there = {path.resolve() for path in folders}
        self._folders = [*folders, *([SHIPPED] if SHIPPED.is_dir() and SHIPPED not in there else [])]

    def added(self) -> Iterator[tuple[str, Section]]:
        """Each family with ``config`` of its additional preset, if there is one."""
        strategy = _text(self.job, self.dataset, "augs_strategy")
        found = False
        for family in FAMILIES:
            names = (f"{strategy}_{family}", f"{strategy}_{family}".lower()) if strategy else ()
            file = next(filter(None, map(self._file, names)), None)
            found |= file is not None
            preset = self._load(self._named(f"add_{family}_preset") or file, family)
            if preset is not None:
                for said in (preset.section("resize"), preset.section("resize2")):
                    if said and not {"down_range", "resize_range_down"} & {*said}:
                        said.put("down_range", None, said.where())  # 1/s to 2/s, whatever the base preset says
                yield family, preset
        if strategy and not found:
            known = sorted({n.rpartition("_")[0] for n in self._names()} - {"base"})
            looked = ", ".join(map(str, self._folders))
            text = f"there are no presets {strategy}_blur, {strategy}_resize or {strategy}_noise in {looked}."
            hint = did_you_mean(strategy.lower(), known)
            where = self.dataset.where("augs_strategy")
            self.job.error(where, f"augs_strategy: {text}{hint} There are: {', '.join(known)}")

    def based(self) -> Iterator[tuple[str, Section]]:
        """The same of base presets."""
        for family in FAMILIES:
            preset = self._load(self._named(f"base_{family}_preset") or self._file(f"base_{family}"), family)
            if preset is not None:
                yield family, preset

    def _names(self) -> list[str]:
        return [p.stem for folder in self._folders for p in folder.iterdir() if p.suffix in _SUFFIXES]

    def _file(self, name: str) -> Path | None:
        """Of a preset, by its name or its path, if there is one."""
        path = home(name)
        files = [path] if Path(path).suffix in _SUFFIXES else [f"{path}{suffix}" for suffix in _SUFFIXES]
        places = (folder / file for folder in (*self._folders, Path()) for file in files)
        return next((place for place in places if place.is_file()), None)

    def _named(self, key: str) -> Path | None:
        """The file of the preset that a key of the dataset names; that there is none is noted."""
        name = _text(self.job, self.dataset, key)
        file = self._file(name) if name else None
        if name and file is None:
            near = did_you_mean(name, self._names())
            looked = ", ".join(map(str, self._folders))
            self.job.error(self.dataset.where(key), f"{key}: there is no preset {name!r} in {looked}.{near}")
        return file

    def _load(self, file: Path | None, family: str) -> Section | None:
        """Section ``config`` of a preset, if it has one."""
        if file is None:
            return None
        try:
            preset = read(file)
        except OptionErrors as error:
            self.job.errors.extend(error.errors)
            return None
        if lower(preset.get("kind")) != family:
            found = preset.get("kind")
            self.job.error(preset.where("kind"), f"kind: expected {family.capitalize()}, found {found!r}")
            return None
        for unknown in preset.without("kind", "version", "metadata", "config"):
            self.job.error(preset.where(unknown), f"a preset has no {unknown!r}, only kind, version, metadata, config")
        config = preset.get("config")
        if config is not None and not isinstance(config, Section):
            self.job.error(preset.where("config"), f"config: expected keys with parameters, found {config!r}")
        return config if isinstance(config, Section) else None


def _text(job: Job, section: Section, key: str) -> str | None:
    """The text that a key says, if it is on."""
    return None if is_off(section.get(key)) else job.read(section, key, str)


def weighted(job: Job, key: str, value: Any, place: str) -> Mapping[str, float]:
    """Names with their weights: of one name, a list, or names with weights; numbers that cannot be are noted."""
    if isinstance(value, str) and value:
        return {value.lower(): 1.0}
    if isinstance(value, Section):
        shares: dict[str, float] = {}
        for name, share in value.items():
            if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share < float("inf"):
                job.error(value.where(name), f"{key}: expected the weight of {name}, found {share!r}")
            elif share:
                shares[name.lower()] = shares.get(name.lower(), 0.0) + share
        return shares
    if isinstance(value, Sequence) and all(isinstance(name, str) for name in value):
        names = [name.lower() for name in value]
        return {name: float(names.count(name)) for name in names}
    if not is_off(value):
        job.error(place, f"{key}: expected a name, a list of names, or names with weights, found {value!r}")
    return {}
