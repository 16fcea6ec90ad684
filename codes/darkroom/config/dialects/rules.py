"""What a dialect is made of: tables that say what becomes of each foreign key, and the job of applying them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.registry import did_you_mean
from ..source import Section
from ..typed import convert


class Rule(ABC):
    """What becomes of a key. A key is understood, refused with a reason, or unknown: it is never ignored."""

    @abstractmethod
    def apply(self, job: Job, section: Section, key: str) -> None:
        """Deal with ``section[key]``, which is not null."""

    @abstractmethod
    def says(self) -> str:
        """A line for the reference of options."""


@dataclass(frozen=True, slots=True)
class Takes(Rule):
    """The value goes to one native option."""

    to: str
    """Path of the native option, such as ``train.iterations``."""
    kind: Any = Any
    """What the value must be, as an annotation."""
    change: Callable[[Any], Any] | None = None
    """Makes the native value of it; a ValueError says what was expected and found."""
    needs: str = ""
    """The key that switches on what this one belongs to."""

    def apply(self, job: Job, section: Section, key: str) -> None:
        """See ``Rule``."""
        if self.needs and not job.asks(section, self.needs, key):
            return
        value = job.read(section, key, self.kind)
        if value is None:
            return
        try:
            native = self.change(value) if self.change else copied(value)
            job.put(self.to, native, section.where(key), key)
        except ValueError as error:
            job.error(section.where(key), f"{key}: {error}")

    def says(self) -> str:
        """See ``Rule``."""
        return self.to


@dataclass(frozen=True, slots=True)
class Combined(Rule):
    """The value is read together with that of other keys, by code."""

    to: str
    """What they make, for the reference."""
    kind: Any = Any
    """What the value must be, for the reference; the code says it again where it reads it."""
    needs: str = ""
    """The key that switches on what this one belongs to."""

    def apply(self, job: Job, section: Section, key: str) -> None:
        """See ``Rule``."""
        if self.needs:
            job.asks(section, self.needs, key)

    def says(self) -> str:
        """See ``Rule``."""
        return self.to


@dataclass(frozen=True, slots=True)
class Refused(Rule):
    """The key has no meaning here, at least not yet; a value that switches the feature off is fine."""

    why: str
    off: tuple[Any, ...] = ()
    """Further values that ask for nothing."""

    def apply(self, job: Job, section: Section, key: str) -> None:
        """See ``Rule``."""
        value = section[key]
        if not is_off(value) and not any(type(o) is type(value) and o == lower(value) for o in self.off):
            job.error(section.where(key), f"{key}: {self.why}")

    def says(self) -> str:
        """See ``Rule``."""
        return f"refused: {self.why}"


@dataclass(frozen=True, slots=True)
class Belongs(Rule):
    """A parameter of a refused feature: the key that switches the feature on is what is refused."""

    needs: str

    def apply(self, job: Job, section: Section, key: str) -> None:
        """See ``Rule``."""
        job.asks(section, self.needs, key)

    def says(self) -> str:
        """See ``Rule``."""
        return f"refused with {self.needs}"


Table = Mapping[str, Rule]


def later(what: str, *off: Any) -> Refused:
    """The rule for a feature of a later version."""
    return Refused(f"{what}: not in this version yet; remove it", off)


def is_off(value: Any) -> bool:
    """Whether a value switches off what it is the value of: null, false, 0, nothing in it."""
    return value is None or value is False or (not isinstance(value, bool) and value in (0, "", [], {}))


def shorten(value: Any) -> str:
    """``value`` as it is shown in a message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]} ..."


def lower(value: Any) -> Any:
    """Names are the same in capitals."""
    return value.lower() if isinstance(value, str) else value


def copied(value: Any) -> Any:
    """A copy with the places of everything."""
    if isinstance(value, Section):
        return Section.make(
            value.place, {k: copied(v) for k, v in value.items()}, dict(value.places), dict(value.names)
        )
    return [copied(v) for v in value] if isinstance(value, (list, tuple)) else value


class Job:
    """The translation of one file: what there is so far, and what is wrong."""

    def __init__(self, file: Section, errors: list[str], notes: list[str]) -> None:
        """``file`` is only read; ``errors`` and ``notes`` are added to."""
        self.file, self.errors, self.notes = file, errors, notes
        self.native = Section.make(file.place, {})
        self._said: dict[str, str] = {}

    def error(self, place: str, text: str) -> None:
        """Note that something at ``place`` is wrong."""
        if f"{place}: {text}" not in self.errors:
            self.errors.append(f"{place}: {text}")

    def note(self, place: str, text: str) -> None:
        """Tell the user something that is not wrong."""
        if f"{place}: {text}" not in self.notes:
            self.notes.append(f"{place}: {text}")

    def section(self, name: str) -> Section:
        """The section of the file of that name; empty if there is none."""
        value = self.file.get(name)
        if isinstance(value, Section):
            return value
        if value is not None:
            self.error(self.file.where(name), f"{name}: expected a section with options, found {value!r}")
        return Section.make(self.file.where(name), {})

    def read(self, section: Section, key: str, kind: Any, default: Any = None) -> Any:
        """The value of a key, converted to ``kind``; the default if it is absent, null or wrong, which is noted."""
        value = section.get(key)
        if value is None:
            return default
        try:
            return convert(value, kind)
        except ValueError as error:
            self.error(section.where(key), f"{key}: {error}")
            return default

    def scale(self) -> int | None:
        """The scale of the file, 1 if it has none; None if it is wrong, which is noted."""
        return 1 if self.file.get("scale") is None else self.read(self.file, "scale", int)

    def switch(self, section: Section, key: str) -> bool | None:
        """Whether a key, of the section or else of the top of the file, is on; None if it is nowhere."""
        for place in (section, self.file):
            if key in place:
                return not is_off(place[key])
        return None

    def asks(self, section: Section, switch: str, key: str) -> bool:
        """Whether what ``key`` belongs to is on; if nothing says that it is or is not, the user is told."""
        on = self.switch(section, switch)
        if on is None:
            self.note(section.where(key), f"{key} has no effect, as there is no {switch}")
        return bool(on)

    def ensure(self, path: str, place: str) -> Section:
        """The native section at ``path``, made where it is not there."""
        target = self.native
        for name in path.split("."):
            if not isinstance(target.get(name), Section):
                kind = {"type": target[name]} if isinstance(target.get(name), str) else {}  # a component's name alone
                target.put(name, Section.make(place, kind, dict.fromkeys(kind, place)), place)
            target = target[name]
        return target

    def put(self, path: str, value: Any, place: str, key: str) -> None:
        """Set the native option at ``path``, as ``key`` of the file says; two keys that disagree are wrong."""
        outer, _, last = path.rpartition(".")
        target = self.ensure(outer, place) if outer else self.native
        if last in target and target[last] != value:
            other = self._said.get(path, path)
            text = f"{key}: says {shorten(value)}, but {other} ({target.where(last)}) says {shorten(target[last])}"
            self.error(place, f"{text}; remove one of them")
            return
        target.put(last, value, place, key)
        self._said.setdefault(path, key)

    def sweep(self, section: Section, table: Table, name: str, others: Mapping[str, Collection[str]]) -> None:
        """Apply the rule of each key. ``others`` are the keys of the other sections, for keys in a wrong one."""
        for key, value in section.items():
            rule = table.get(key)
            if rule is None:
                where = f"section {name!r}" if name else "the top of the file"
                self.error(section.where(key), f"there is no option {key!r} in {where}.{_hint(key, table, others)}")
            elif value is not None:
                rule.apply(self, section, key)


def _hint(key: str, table: Table, others: Mapping[str, Collection[str]]) -> str:
    home = next((n for n, keys in others.items() if key in keys), None)
    if home is not None:
        return f" It belongs to {f'section {home!r}' if home else 'the top of the file'}."
    return did_you_mean(key, table) or " If it is a note of your own, make it a comment: # ..."


def home(path: str) -> str:
    """``path`` with ``~`` as the user's folder; all others as they are written."""
    return str(Path(path).expanduser()) if path.startswith("~") else path


def method(job: Job) -> str:
    """The name of the training method, in lower case."""
    return str(job.file.section("model").get("type", "")).lower()


@dataclass(frozen=True, slots=True)
class OnlyFor(Rule):
    """A rule for some training methods; with the others the key is wrong."""

    models: tuple[str, ...]
    rule: Rule

    def apply(self, job: Job, section: Section, key: str) -> None:
        """See ``Rule``."""
        if method(job) in self.models:
            self.rule.apply(job, section, key)
        elif not is_off(section[key]) and section[key] != "none":
            job.error(section.where(key), f"{key}: belongs to model: {' or '.join(self.models)}; remove it")

    def says(self) -> str:
        """See ``Rule``."""
        return f"{self.rule.says()} (model: {', '.join(self.models)})"


def only(models: str | tuple[str, ...], rules: Mapping[str, Rule]) -> dict[str, Rule]:
    """The rules, for these training methods only."""
    return {key: OnlyFor((models,) if isinstance(models, str) else models, rule) for key, rule in rules.items()}
