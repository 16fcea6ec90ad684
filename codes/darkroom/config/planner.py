"""Checks sections of an option file against the signatures of what they name, and collects what is wrong."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ..core.errors import OptionErrors
from ..core.registry import Registry
from .source import Section, plain
from .typed import bind, parameters

T = TypeVar("T")

SHARED = ("scale",)
"""Options at the top of the file that reach every component with a parameter of that name."""


@dataclass(frozen=True)
class Plan:
    """A component that is known to be constructible."""

    type: str
    factory: Any
    """Its class or function."""
    arguments: Mapping[str, Any]
    section: Section
    """Where the arguments stand."""
    given: Collection[str] = ()

    @property
    def where(self) -> str:
        """``file:line`` of the section."""
        return self.section.where()

    def make(self, **given: Any) -> Any:
        """Construct it; ``given`` are the arguments that the program supplies.

        Raises:
            OptionErrors: the values are right one by one but not together.
        """
        try:
            return self.factory(**given, **self.arguments)
        except ValueError as error:
            raise OptionErrors([self.section.told(str(error), self.type)]) from error

    def native(self) -> dict[str, Any]:
        """The section as it could be written with every default."""
        shown = {n: p.default for n, p in parameters(self.factory).items() if n not in self.given}
        required = {n: v for n, v in shown.items() if v is not inspect.Parameter.empty}
        return {"type": self.type, **_presentable({**required, **self.arguments})}


class Planner:
    """Checks the sections of one file; nothing is built here."""

    def __init__(self, file: Section, errors: Sequence[str] = ()) -> None:
        """``file`` is the whole native file, for the options that are shared; ``errors`` are those found before."""
        self.file, self.errors = file, list[str]()
        self._before = list(errors)

    def component(
        self, registry: Registry[Any], section: Section, given: Collection[str] = (), beside: type | None = None
    ) -> Plan | None:
        """``{type: name, **arguments}`` for ``registry[name](**given, **arguments)``.

        ``beside`` are the options that the section has besides, for hints.
        """
        rest = section.without("type")
        name = section.get("type")
        if not isinstance(name, str):
            self.errors.append(
                f"{section.where('type')}: a {registry.kind} needs 'type', the name of one: {_known(registry)}"
            )
            return None
        try:
            factory = registry[name]
        except KeyError as error:
            named = section.named("type")
            self.errors.append(f"{section.where('type')}: {f'{named}: ' if named != 'type' else ''}{error.args[0]}")
            return None
        shared = {k: self.file[k] for k in SHARED if k in self.file and k in parameters(factory) and k not in rest}
        before = len(self.errors)
        arguments = bind(factory, rest, self.errors, {*given, *shared}, f"{registry.kind} {name!r}", _fields(beside))
        if len(self.errors) > before:
            return None
        places = {**section.places, **{k: self.file.where(k) for k in shared}}
        place = Section.make(section.place, dict(section), places, section.names)
        return Plan(name, factory, {**shared, **arguments}, place, given)

    def options(self, cls: type[T], section: Section, what: str = "") -> T | None:
        """The typed options of a section of the framework's own."""
        before = len(self.errors)
        arguments = bind(
            cls, section, self.errors, what=what or f"section {cls.__name__.removesuffix('Options').lower()!r}"
        )
        if len(self.errors) > before:
            return None
        try:
            return cls(**arguments)
        except ValueError as error:
            self.errors.append(section.told(str(error)))
            return None

    def split(self, cls: type[T], section: Section) -> tuple[T | None, Section]:
        """The typed options that a section shares with a component, and what is left for the component."""
        own = _fields(cls)
        return self.options(cls, section.only(own)), section.without(*own)

    def entries(self, key: str, section: Section | None = None) -> list[Section]:
        """The entries of a list of sections, which stands in a section or at the top of the file."""
        section = self.file if section is None else section
        value = section.get(key) or []
        if not isinstance(value, list) or not all(isinstance(v, Section) for v in value):
            place = section.where(key)
            self.error(place, f"{key}: expected a list of entries such as - {{type: l1}}, found {value!r}")
            return []
        return value

    def error(self, where: str, message: str) -> None:
        """Note that something at ``where`` is wrong."""
        self.errors.append(f"{where}: {message}")

    def check(self) -> None:
        """Go on only if nothing is wrong.

        Raises:
            OptionErrors: all that is wrong so far.
        """
        if self._before:
            # What was wrong before is missing now: that something is needed may only follow from it.
            raise OptionErrors([*self._before, *(e for e in self.errors if " needs " not in e)])
        if self.errors:
            raise OptionErrors(self.errors)


def _fields(cls: type | None) -> set[str]:
    return {f.name for f in dataclasses.fields(cls)} if cls is not None else set()


def native(options: Any) -> dict[str, Any]:
    """A dataclass of options as the section that would give it."""
    return _presentable(dataclasses.asdict(options))


def _presentable(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: plain(v) for k, v in values.items()}


def _known(registry: Registry[Any]) -> str:
    return ", ".join(registry)
