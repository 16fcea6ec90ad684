"""From sections to typed arguments. The signature of the class is the schema: there is no second list of options."""

from __future__ import annotations

import functools
import inspect
import json
import typing
from collections.abc import Callable, Collection
from typing import Any

from ..core.registry import did_you_mean
from .source import Section, plain


@functools.cache
def parameters(factory: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters that an option file may name, by name."""
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {n: p for n, p in inspect.signature(factory).parameters.items() if p.kind not in variadic}


@functools.cache
def hints(factory: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of those parameters."""
    target = factory.func if isinstance(factory, functools.partial) else factory
    return typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)


def bind(
    factory: Callable[..., Any],
    section: Section,
    errors: list[str],
    given: Collection[str] = (),
    what: str = "",
    beside: Collection[str] = (),
) -> dict[str, Any]:
    """The keyword arguments for ``factory`` that ``section`` states, converted; what is wrong goes to ``errors``.

    ``given`` names the parameters that the program supplies, which the file therefore may not; ``beside`` the options
    that the section may have for others, to hint at.
    """
    what = what or factory.__name__
    allowed = {n: p for n, p in parameters(factory).items() if n not in given}
    arguments = {}
    for key, value in section.items():
        if key not in allowed:
            hint = did_you_mean(key, [*allowed, *beside]) or f" It takes: {', '.join(allowed) or 'nothing'}."
            errors.append(f"{section.where(key)}: {what} has no option {key!r}.{hint}")
            continue
        try:
            arguments[key] = convert(value, hints(factory).get(key, Any))
        except ValueError as error:
            errors.append(f"{section.where(key)}: {section.named(key)}: {error}")
    errors += [
        f"{section.where()}: {what} needs {name!r}"
        for name, parameter in allowed.items()
        if parameter.default is inspect.Parameter.empty and name not in section
    ]
    return arguments


def convert(value: Any, annotation: Any) -> Any:
    """``value`` as an instance of ``annotation``, without guessing: no string becomes a number, no number a bool.

    Raises:
        ValueError: it cannot be one; the message says what was expected and found.
    """
    from pydantic import ValidationError

    if annotation is Any:
        return value
    text = json.dumps(_integral(plain(value)), default=str)
    try:
        return _adapter(annotation).validate_json(text, strict=True)
    except ValidationError as error:
        raise ValueError(_explain(error)) from None


@functools.cache
def _adapter(annotation: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(annotation)


def _integral(value: Any) -> Any:
    """5e5 is an integer to its writer; where a float is wanted, an int will do."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {k: _integral(v) for k, v in value.items()}
    return [_integral(v) for v in value] if isinstance(value, list) else value


_WORDS = {
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid boolean": "true or false",
    "a valid string": "a text",
    **dict.fromkeys(("a valid array", "a valid list", "a valid tuple"), "a list such as [0, 1]"),
    **dict.fromkeys(("an object", "a valid dictionary"), "keys with values"),
}
"""Ours for the type checker's."""
_OF_KEYS = {"unexpected_keyword_argument": "no such key", "missing": "this key", "missing_argument": "this key"}
"""What is wrong with keys of a value."""


def _explain(error: Any) -> str:
    """``expected a number or 'auto', found '0.01'`` from pydantic's list of problems."""
    problems: dict[str, list[str]] = {}
    for problem in error.errors(include_url=False):
        inner = "".join(f"[{part}]" for part in problem["loc"] if isinstance(part, int))
        message = problem["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
        message = _WORDS.get(message, message)
        if problem["type"] in _OF_KEYS:
            inner, message = f"{inner}[{problem['loc'][-1]}]", _OF_KEYS[problem["type"]]
        expected = problems.setdefault(f"{inner}, found {problem['input']!r}", [])
        if message not in expected:
            expected.append(message)
    return "; ".join(_phrase(where, expected) for where, expected in problems.items())


def _phrase(where: str, expected: list[str]) -> str:
    index, _, found = where.partition(", found ")
    return f"{index + ': ' if index else ''}expected {' or '.join(expected)}, found {found}"
