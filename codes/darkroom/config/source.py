"""Option files: YAML or JSON with // comments, numbers like 1e-4, no key twice, and where each key stands."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import yaml

from ..core.errors import OptionErrors


class Section(dict[str, Any]):
    """A mapping of the file that knows where its keys stand."""

    place: str
    """``file:line`` of the section itself."""
    places: dict[str, str]
    """``file:line`` of each key."""
    names: dict[str, str]
    """What the user calls a key, where that is another name."""

    @classmethod
    def make(
        cls,
        place: str,
        values: dict[str, Any],
        places: dict[str, str] | None = None,
        names: dict[str, str] | None = None,
    ) -> Section:
        """A section that no file spells out, at the place that it comes from."""
        section = cls(values)
        section.place, section.places, section.names = place, places or {}, names or {}
        return section

    def where(self, key: str | None = None) -> str:
        """``file:line`` of ``key``, or of the section."""
        return self.places.get(key, self.place) if key else self.place

    def named(self, key: str) -> str:
        """What the user calls ``key``."""
        return self.names.get(key, key)

    def told(self, message: str, what: str = "") -> str:
        """``message`` with its place: that of the key that it begins with, if any, by the user's name for it.

        ``what`` is said of a message about none of the keys.
        """
        key, colon, rest = message.partition(": ")
        if colon and key in self.places:
            return f"{self.where(key)}: {self.named(key)}: {rest}"
        return f"{self.where()}: {what + ': ' if what else ''}{message}"

    def only(self, keys: Collection[str]) -> Section:
        """The part with these keys, in its own order."""
        return self.make(self.place, {k: v for k, v in self.items() if k in keys}, self.places, self.names)

    def without(self, *keys: str) -> Section:
        """The part without these keys."""
        return self.only([k for k in self if k not in keys])

    def section(self, key: str) -> Section:
        """The section under ``key``; empty if there is none, ``{type: value}`` if the file abbreviates it."""
        value = self.get(key)
        if isinstance(value, Section):
            return value
        return self.make(self.where(key), {} if value is None else {"type": value})

    def put(self, key: str, value: Any, place: str, name: str = "") -> None:
        """Set ``key``, as said at ``place``, where it is called ``name``."""
        self[key] = value
        self.places[key] = place
        if name:
            self.names[key] = name


class _Loader(yaml.SafeLoader):
    file: str


def _mapping(loader: _Loader, node: yaml.MappingNode) -> Section:
    section = Section.make(f"{loader.file}:{node.start_mark.line + 1}", {})
    for key_node, value_node in node.value:
        key = str(loader.construct_object(key_node, deep=True))
        if key in section:
            raise yaml.MarkedYAMLError(problem=f"{key!r} is given twice", problem_mark=key_node.start_mark)
        section.put(
            key, loader.construct_object(value_node, deep=True), f"{loader.file}:{key_node.start_mark.line + 1}"
        )
    return section


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)

_JSON_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|\t')


def strip_comments(text: str) -> str:
    """JSON without its // comments (those in strings stay) and tabs, line for line."""
    return _JSON_TOKEN.sub(lambda m: m[0] if m[0].startswith('"') else " ", text)


def parse(text: str, file: str) -> Any:
    """The value of a YAML text; mappings become ``Section``s.

    Raises:
        OptionErrors: the text is not YAML, or gives a key twice.
    """
    loader = _Loader(text)
    loader.file = file
    try:
        return loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{file}:{mark.line + 1}" if mark else file
        problem = "indent with spaces, not tabs" if "'\\t'" in str(error.problem) else error.problem or error.context
        raise OptionErrors([f"{where}: {problem}"]) from None
    except yaml.YAMLError as error:
        raise OptionErrors([f"{file}: not YAML: {error}"]) from None
    finally:
        loader.dispose()


def read(path: Path) -> Section:
    """The option file at ``path``.

    Raises:
        OptionErrors: it does not exist, is not text, not YAML/JSON, or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        near = ", ".join(sorted(p.name for p in path.parent.glob("*.yml"))) if path.parent.is_dir() else ""
        there = f" In that folder there are: {near}" if near else f" There is no folder {path.parent} either."
        raise OptionErrors([f"{path}: no such option file.{there}"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise OptionErrors([f"{path}: cannot be read: {error}"]) from None
    if path.suffix.lower() == ".json":
        text = strip_comments(text)
    data = parse(text, str(path))
    if not isinstance(data, Section):
        raise OptionErrors([f"{path}:1: expected options such as 'name: my_run', found {type(data).__name__}"])
    return data


def override(file: Section, settings: Sequence[str]) -> None:
    """Apply ``--set train.niter=100`` settings; what they name is made where it is not there.

    Raises:
        OptionErrors: a setting is not ``key=value`` or goes through a value that has no keys.
    """
    errors = []
    for setting in settings:
        place = f"--set {setting}"
        keys, equals, text = setting.partition("=")
        if not equals or not keys:
            errors.append(f"{place}: expected KEY=VALUE, such as train.niter=100")
            continue
        *path, last = keys.split(".")
        target: Any = file
        for key in path:
            target = _enter(target, key, place)
        value = parse(text, place)
        if isinstance(target, Section):
            target.put(last, value, place)
        elif isinstance(target, list) and last.isdigit() and int(last) < len(target):
            target[int(last)] = value
        else:
            errors.append(f"{place}: {'.'.join(path)} has no keys to set")
    if errors:
        raise OptionErrors(errors)


def _enter(target: Any, key: str, place: str) -> Any:
    if isinstance(target, Section):
        if target.get(key) is None:
            target.put(key, Section.make(place, {}), place)
        return target[key]
    if isinstance(target, list) and key.isdigit() and int(key) < len(target):
        return target[int(key)]
    return None


def plain(value: Any) -> Any:
    """``value`` with sections as plain dicts: for JSON, YAML and states."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


def changes(old: Any, new: Any, path: str = "") -> list[str]:
    """One line per option that differs between two plain option trees: ``train.iterations: 100 -> 200``."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = dict.fromkeys([*old, *new])
        dotted = {k: f"{path}.{k}" if path else str(k) for k in keys}
        return [line for k in keys for line in changes(old.get(k), new.get(k), dotted[k])]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [line for i, (a, b) in enumerate(zip(old, new, strict=True)) for line in changes(a, b, f"{path}.{i}")]
    return [] if old == new else [f"{path}: {old} -> {new}"]
