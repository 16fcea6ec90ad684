"""``network_G: auto``: what a network is, told by the weights that it starts from.

What is found is written into the section before it is checked, so that everything after sees a network that the file
could have named itself, and native.yml and the training states hold it.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..archs import ARCHS
from ..archs.spandrel import SpandrelNetwork
from ..config.planner import Planner
from ..config.source import Section, plain
from ..core.errors import DarkroomError
from ..core.network import Network
from ..engine.experiment import find_state
from ..inference.weights import identify

AUTO = "auto"
"""The type that stands for whatever the weights are."""
SPANDREL = "spandrel"
"""The type whose options are found in the weights too, as far as the section does not say them."""
SHOWN = 30
"""Options that a note lists."""


def recognisable() -> list[type[Network]]:
    """The networks that can be known by their weights: ours that have a way to do so, then spandrel's."""
    classes = dict.fromkeys(c for name in ARCHS if inspect.isclass(c := ARCHS[name]) and issubclass(c, Network))
    knowing = [c for c in classes if any("recognise" in vars(base) for base in c.__mro__ if base is not Network)]
    return sorted(knowing, key=lambda c: c is SpandrelNetwork)


def resolved(p: Planner, key: str, name: str, notes: list[str]) -> Section:
    """The section ``key`` of the network ``name``, with what the network's weights tell, if it asks for that.

    What the section itself says counts more than what is found. Errors go to ``p``.
    """
    section = p.file.section(key)
    kind = section.get("type")
    pretrain = p.file.section("path").section("pretrain").get(name)
    if kind == AUTO and pretrain is None:
        where = section.where("type")
        p.error(where, f"{key}: auto needs path.pretrain_model_{name}, the weights that tell what the network is")
    if pretrain is None or kind not in (AUTO, SPANDREL):
        return section
    try:
        found = _found(p.file, key, Path(str(pretrain)).expanduser(), section, notes)
        if kind == SPANDREL:
            _check_arch(section, found, pretrain)
    except DarkroomError as error:
        p.error(section.where("type"), f"{key}: {error}")
        return section
    options = {**found.get("options", {}), **plain(section.get("options") or {})}
    merged = {**found, **section.without("type"), **({"options": options} if options else {}), "type": found["type"]}
    shown = [f"{n}: {v}" for n, v in plain(merged).items() if n != "type"]
    notes.append(f"{key}: {merged['type']}, as {pretrain} tells: {', '.join(shown[:SHOWN])}")
    return Section.make(section.place, {n: _section(section, v) for n, v in merged.items()}, section.places)


def _found(file: Section, key: str, weights: Path, section: Section, notes: list[str]) -> dict[str, Any]:
    """The native section of the network in ``weights``; if they are gone, as the state to go on from remembers it."""
    if not weights.exists() and (remembered := _remembered(file, key)) is not None:
        notes.append(f"{key}: {weights} is not there; the network is as the training state says")
        return remembered
    candidates = recognisable() if section["type"] == AUTO else [SpandrelNetwork]
    scale = None if {"scale", "options"} & {*section} else file.get("scale", 1)  # else the section decides
    network, arguments = identify(weights, candidates, scale)
    return {"type": next(name for name in ARCHS if ARCHS[name] is type(network)), **arguments}


def _remembered(file: Section, key: str) -> dict[str, Any] | None:
    path = file.section("path")
    resume, root = path.get("resume_state"), Path(str(path.get("root", "."))).expanduser()
    if resume is None:
        return None
    _, state = find_state(root / "experiments" / str(file.get("name")), str(resume), lambda message: None)
    native: Mapping[str, Any] = json.loads(state["options"]) if state else {}
    return native.get(key)


def _check_arch(section: Section, found: Mapping[str, Any], weights: Any) -> None:
    wanted = section.get("arch")
    if wanted is not None and wanted != found.get("arch"):
        raise DarkroomError(f"{weights} holds a network {found.get('arch')}, not {wanted}; write type: auto, or that")


def _section(around: Section, value: Any) -> Any:
    """Mappings as sections, as the rest of a file has them."""
    return Section.make(around.place, dict(value)) if isinstance(value, Mapping) else value
