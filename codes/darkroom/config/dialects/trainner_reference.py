"""The documented keys for people and for editors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import trainner_data as data
from . import trainner_tables as tables
from .rules import Combined, Rule, Table, Takes
from .trainner import KEYS

Schema = dict[str, Any]

HEAD = """# Documented keys

Written by `python -m darkroom options --schema`; a test fails when it is stale.

The keys that users of this family of tools know, and the native options that they become ([all of these](options.md)).
`python train.py -opt FILE --dry-run` prints a whole file in its native form. Names are the same in capitals; `null`
means that a key is not given. A key that is refused may be there with a value that switches its feature off.
"""


def documented_page() -> str:
    """The text of docs/options-documented.md."""
    parts = [HEAD]
    pages = {**KEYS, "": {**tables.TOP, **_understood(tables.TOP_OF_TEST)}}
    for name, table in pages.items():
        own = tables.OWN.get(name, data.OWN if name.startswith("datasets") else ())
        rows = [f"| `{key}` | {rule.says()} |" for key, rule in table.items() if key not in own]
        title = f"Section `{name}`" if name else "The top of the file"
        parts.append("\n".join([f"## {title}", "", "| key | becomes |", "|---|---|", *rows, ""]))
    return "\n".join(parts)


def documented_schema(properties: Mapping[str, Any], network: Schema, dataset: Schema) -> Schema:
    """``properties`` of a JSON schema that knows both spellings; the arguments are the schemas of the native one."""
    sections = {name: dict(schema.get("properties", {})) for name, schema in properties.items()}
    top = {**_described({**tables.TOP_OF_TEST, **_understood(tables.TOP)}), **properties}
    networks = {**network, "properties": {**network["properties"], **_described(tables.NETWORK)}}
    for name in ("train", "path", "logger"):
        known = {**_described(KEYS[name]), **sections.get(name, {})}
        top[name] = {"type": ["object", "null"], "properties": known, "additionalProperties": False}
    optional = _described(KEYS["train.perceptual_opt"])
    top["train"]["properties"]["perceptual_opt"] = {"type": ["object", "null"], "properties": optional}
    for name in ("network_G", "network_D"):
        top[name] = {"anyOf": [{"type": "string"}, {"type": "null"}, networks]}
    train, whole = (
        {**dataset, "properties": {**_described(t), **dataset["properties"]}} for t in (data.TRAIN, data.WHOLE)
    )
    datasets = {"type": "object", "properties": {"train": train}, "additionalProperties": whole}
    return {"properties": {**top, "datasets": datasets}}


def _refused(rule: Rule) -> bool:
    return not isinstance(rule, (Takes, Combined))


def _understood(table: Table) -> dict[str, Rule]:
    return {key: rule for key, rule in table.items() if not _refused(rule)}


def _described(table: Table) -> Schema:
    return {key: _schema(rule) for key, rule in table.items()}


def _schema(rule: Rule) -> Schema:
    from pydantic import TypeAdapter

    if _refused(rule):
        return {"description": rule.says(), "deprecated": True}
    kind: Any = rule.kind if isinstance(rule, (Takes, Combined)) else Any
    optional: Any = Any if kind is Any else kind | None
    schema = TypeAdapter(optional).json_schema()
    return {**{k: v for k, v in schema.items() if k != "default"}, "description": f"becomes {rule.says()}"}
