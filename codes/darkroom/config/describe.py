"""The reference of all options, written from the signatures: docs/options.md for people, a JSON schema for editors."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import re
import textwrap
import typing
from collections.abc import Callable, Mapping
from typing import Any

from ..core.registry import Registry
from .typed import hints, parameters


def fields_text(cls: type) -> dict[str, str]:
    """The strings under the fields of a dataclass."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    body = typing.cast("ast.ClassDef", tree.body[0]).body
    texts = {}
    for node, after in itertools.pairwise(body):
        is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and is_text:
            texts[node.target.id] = " ".join(str(after.value.value).split())  # type: ignore[attr-defined]
    return texts


def arguments_text(factory: Callable[..., Any]) -> dict[str, str]:
    """What the ``Args:`` parts of a constructor's and its class's docstrings say of each parameter."""
    texts: dict[str, str] = {}
    init = factory.__init__ if inspect.isclass(factory) else None
    for documented in (factory, init):
        doc = inspect.getdoc(documented) or ""
        block = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)+)", doc, re.MULTILINE)
        if block is None:
            continue
        for entry in re.split(r"\n(?=    \w+:)", textwrap.indent(textwrap.dedent(block[1]).strip("\n"), "    ")):
            name, _, text = entry.strip().partition(":")
            if name in parameters(factory):
                texts[name] = " ".join(text.split())
    if dataclasses.is_dataclass(factory):
        texts |= fields_text(typing.cast("type", factory))
    return texts


def type_text(annotation: Any) -> str:
    """``float | 'auto' | None`` for an annotation."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return " | ".join(repr(a) for a in args)
    if annotation is type(None):
        return "null"
    if origin is not None and "Union" in str(origin):
        return " | ".join(type_text(a) for a in args)
    if origin in (tuple, list):
        inner = [a for a in args if a is not Ellipsis]
        return f"[{', '.join(type_text(a) for a in inner)}{', ...' if Ellipsis in args else ''}]"
    if origin is not None:
        return f"{{{type_text(args[0])}: {type_text(args[1])}}}" if len(args) == 2 else "mapping"
    return {"str": "text"}.get(getattr(annotation, "__name__", str(annotation)), getattr(annotation, "__name__", "any"))


def default_text(value: Any) -> str:
    """A default as it would be written in the file."""
    if value is inspect.Parameter.empty:
        return "**required**"
    if isinstance(value, tuple):
        return f"`[{', '.join(str(v) for v in value)}]`"
    if value is None or isinstance(value, bool):
        return f"`{ {None: 'null', True: 'true', False: 'false'}[value] }`"
    if isinstance(value, Mapping) or type(value).__name__.startswith("_HAS_DEFAULT"):
        return f"`{dict(value) if isinstance(value, Mapping) else {}}`"
    return f"`{value}`"


def _row(name: str, annotation: Any, default: Any, text: str) -> str:
    meaning = text.replace("|", "\\|").replace("``", "`")
    cells = (f"`{name}`", type_text(annotation).replace("|", "\\|"), default_text(default), meaning)
    return f"| {' | '.join(cells)} |"


def _table(factory: Callable[..., Any], texts: Mapping[str, str], given: tuple[str, ...] = ()) -> list[str]:
    shown = {n: p for n, p in parameters(factory).items() if n not in given}
    if not shown:
        return ["No options.", ""]
    known = hints(factory)
    rows = [_row(n, known.get(n, Any), p.default, texts.get(n, "")) for n, p in shown.items()]
    return ["| option | value | default | meaning |", "|---|---|---|---|", *rows, ""]


def section_text(name: str, cls: type) -> str:
    """The part of the reference about a section of the framework's own."""
    lines = [f"### {name}", "", summary(cls), "", *_table(cls, fields_text(cls))]
    return "\n".join(lines)


def component_text(registry: Registry[Any], given: tuple[str, ...], glossary: Mapping[str, str]) -> str:
    """The part of the reference about all components of a kind; names of one constructor stand together.

    ``glossary`` says what parameters mean that many constructors have.
    """
    names: dict[Any, list[str]] = {}
    for name in registry:
        names.setdefault(registry[name], []).append(name)
    lines = []
    for factory, all_names in names.items():
        lines += [f"### {', '.join(f'`{n}`' for n in all_names)}", "", summary(factory), "", *_constructor(factory)]
        lines += _table(factory, {**glossary, **arguments_text(factory)}, given)
    return "\n".join(lines)


def summary(factory: Callable[..., Any]) -> str:
    """The first paragraph of the docstring, in Markdown."""
    target = factory.func if isinstance(factory, functools.partial) else factory
    return " ".join((inspect.getdoc(target) or "").split("\n\n")[0].split()).replace("``", "`")


def _constructor(factory: Callable[..., Any]) -> list[str]:
    """What the constructor says of its parameters, unless it does so one by one."""
    written = inspect.isclass(factory) and not dataclasses.is_dataclass(factory) and "__init__" in vars(factory)
    text = inspect.cleandoc(factory.__init__.__doc__ or "") if written else ""
    prose = [p for p in text.split("\n\n") if p and not p.startswith(("Args:", "Raises:"))]
    return [line for p in prose for line in (" ".join(p.split()).replace("``", "`"), "")]


def parameter_schemas(
    factory: Callable[..., Any], texts: Mapping[str, str], given: tuple[str, ...] = ()
) -> dict[str, Any]:
    """A JSON schema of each parameter, with its meaning as the description."""
    from pydantic import TypeAdapter

    schemas = {}
    for name in parameters(factory):
        if name in given:
            continue
        schema = _inlined(TypeAdapter(hints(factory).get(name, Any)).json_schema())
        schemas[name] = {**schema, **({"description": texts[name]} if name in texts else {})}
    return schemas


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without definitions of its own, which only the root of a file may have."""
    definitions = schema.get("$defs", {})

    def inline(value: Any) -> Any:
        if isinstance(value, dict):
            name = value.get("$ref", "").rpartition("/")[2]
            return inline(definitions[name]) if name else {k: inline(v) for k, v in value.items() if k != "$defs"}
        return [inline(v) for v in value] if isinstance(value, list) else value

    return typing.cast("dict[str, Any]", inline(schema))


def section_schema(cls: type) -> dict[str, Any]:
    """The JSON schema of a section of the framework's own."""
    return {"type": "object", "description": summary(cls), "properties": parameter_schemas(cls, fields_text(cls))}


def component_schema(registry: Registry[Any], key: str = "type", given: tuple[str, ...] = ()) -> dict[str, Any]:
    """The JSON schema of ``{type: name, ...}``: with a name, its options are offered."""
    choices = []
    for name in registry:
        factory = registry[name]
        options = parameter_schemas(factory, arguments_text(factory), given)
        choices.append(
            {"if": {"properties": {key: {"const": name}}, "required": [key]}, "then": {"properties": options}}
        )
    return {"type": "object", "properties": {key: {"enum": [*registry]}}, "allOf": choices}
