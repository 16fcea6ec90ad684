"""docs/options.md and docs/options.schema.json, from the signatures of everything that an option file can name."""

from __future__ import annotations

import json
from typing import Any

from ..archs import ARCHS
from ..config.describe import component_schema, component_text, section_schema, section_text
from ..config.dialects import documented_page, documented_schema
from ..config.options import (
    SECTIONS,
    LoaderOptions,
    MetricOptions,
    PlayerOptions,
    RunOptions,
    ScheduleOptions,
    TermOptions,
)
from ..core.model import MODELS
from ..core.phases import Phase
from ..core.registry import Registry
from ..core.terms import LOSSES
from ..data import DATASETS
from ..metrics import METRICS
from ..optim.optimizers import OPTIMIZERS
from ..optim.schedules import SCHEDULES

__all__ = ["documented_page", "options_page", "schema_text"]

HEAD = """# All options

Written by `python -m darkroom options --schema` from the signatures in the code; a test fails when it is stale.

An option file may be written in the documented keys of this family of tools (see the templates under `options/` and
[the table of documented keys](options-documented.md)) or in the native sections below; `python train.py -opt FILE
--dry-run` prints any file in its native form with every default. Where a section holds `type`, the other options are
those of the component that it names.
"""

SHARED_SECTIONS: dict[str, type] = {
    "top of the file": RunOptions,
    "datasets.train: beside the dataset's own": LoaderOptions,
    "losses: beside the loss's own": TermOptions,
    "optim_G, optim_D, ...: beside the optimizer's own": PlayerOptions,
    "schedule, schedule_D, ...: beside the schedule's own": ScheduleOptions,
    "validate.metrics: beside the metric's own": MetricOptions,
    "phases: each entry": Phase,
}

REGISTRIES: dict[str, tuple[Registry[Any], tuple[str, ...]]] = {
    "Models (`model`)": (MODELS, ("G", "D")),
    "Networks (`network_G`, `network_D`, ...)": (ARCHS, ()),
    "Losses (`losses`)": (LOSSES, ()),
    "Datasets (`datasets`)": (DATASETS, ()),
    "Metrics (`validate.metrics`)": (METRICS, ()),
    "Optimizers (`optim_G`, `optim_D`, ...)": (OPTIMIZERS, ("params",)),
    "Schedules (`schedule`)": (SCHEDULES, ()),
}


def options_page() -> str:
    """The text of docs/options.md."""
    parts = [HEAD, "## Sections\n"]
    parts += [section_text(name, cls) for name, cls in {**SHARED_SECTIONS, **SECTIONS}.items()]
    for title, (registry, given) in REGISTRIES.items():
        parts += [f"## {title}\n", component_text(registry, given)]
    return "\n".join(parts).rstrip() + "\n"


def schema_text() -> str:
    """The text of docs/options.schema.json: both spellings, for completion and checking in editors."""
    top = section_schema(RunOptions)["properties"]
    properties: dict[str, Any] = {
        **top,
        **{name: section_schema(cls) for name, cls in SECTIONS.items()},
        "losses": {"type": "array", "items": _with(component_schema(LOSSES), TermOptions)},
        "phases": {"type": "array", "items": section_schema(Phase)},
        "schedule": _with(component_schema(SCHEDULES), ScheduleOptions),
    }
    patterns = {
        "^optim_": _with(component_schema(OPTIMIZERS, given=("params",)), PlayerOptions),
        "^schedule_": _with(component_schema(SCHEDULES), ScheduleOptions),
    }
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Darkroom option file",
        "type": "object",
        **documented_schema(properties, component_schema(ARCHS), _with(component_schema(DATASETS), LoaderOptions)),
        "patternProperties": patterns,
    }
    return json.dumps(schema, indent=1, sort_keys=False) + "\n"


def _with(schema: dict[str, Any], shared: type) -> dict[str, Any]:
    return {**schema, "properties": {**section_schema(shared)["properties"], **schema["properties"]}}
