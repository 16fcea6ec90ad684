"""What EdgeConnect's programs choose: options, and files."""

from __future__ import annotations

from typing import Any

from darkroom.build.inpainting import newest
from darkroom.config.dialects.edgeconnect import KEYS

from . import Case, adapter
from .recipes import Absent


@adapter("edgeconnect_config")
def defaults(case: Case) -> dict[str, Any]:
    """What a missing key means."""
    return {f"default_config/{key}": KEYS[key].default for key in case.data["default_config"]}


@adapter("anime_checkpoint_selection")
def files(case: Case) -> dict[str, Any]:
    """By the number, as the manual promises; the original chooses by the spelling."""
    table, picked = case.data["table"], case.data["numeric_pick"]
    return {
        f"numeric_pick/{n}/{key}": newest(row["files"], *key.split("_"))
        for n, row in enumerate(table)
        for key in picked[n]
    }


@adapter("anime_skip_phase2")
def coin(case: Case) -> dict[str, Any]:
    """The original tosses numpy's coin, ours is torch's, of the iteration: see test_edgeconnect.py."""
    raise Absent(f"{len(case.data['draws'])} draws of another generator")
