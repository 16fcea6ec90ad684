"""How a reference vector is run through Darkroom. One module per kind of component, one adapter per family of cases.

An adapter takes a ``Case`` and returns the outputs that it computed, by the names of the vector. ``test_golden.py``
compares them. An adapter for a component that does not exist yet raises ``Missing``, and the case is skipped by name.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = Path(os.environ.get("DARKROOM_GOLDEN_DIR", ROOT / "golden"))
IMAGES = Path(os.environ.get("DARKROOM_GOLDEN_IMAGES", ROOT.parents[1] / "shared" / "golden" / "images"))

Adapter = Callable[["Case"], Mapping[str, Any]]
ADAPTERS: dict[str, Adapter] = {}


class Missing(Exception):
    """The component of a case does not exist here yet."""


@dataclass(frozen=True)
class Case:
    """A JSON file of the reference vectors and the arrays beside it."""

    path: Path

    @property
    def data(self) -> dict[str, Any]:
        return json.loads(self.path.read_text(encoding="utf-8"))

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        beside = self.path.with_suffix(".npz")
        return dict(np.load(beside)) if beside.exists() else {}

    @property
    def recipe(self) -> ModuleType:
        """The numpy-only recipe reader of the case's folder (sr/recipe_v1.py or i2i/recipe.py)."""
        folders = (self.path.parent, ROOT / "golden" / self.path.parent.name)
        file = next(f for n in ("recipe_v1.py", "recipe.py") for d in folders if (f := d / n).exists())
        spec = importlib.util.spec_from_file_location(f"golden_{file.parent.name}_{file.stem}", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


def adapter(*families: str) -> Callable[[Adapter], Adapter]:
    """The function runs the cases of these families (the JSON field ``family``; for i2i, the case's name)."""

    def decorate(function: Adapter) -> Adapter:
        for family in families:
            assert family not in ADAPTERS, f"two adapters for {family}"
            ADAPTERS[family] = function
        return function

    return decorate


def load_adapters() -> None:
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
