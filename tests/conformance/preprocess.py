"""Sizes that ``preprocess`` makes, and the places that its crops may have: case ``preprocess_sizes`` (i2i).

Compared at ``multiple_of: 1`` but for ``none``, because the original makes no other side a multiple of 4; and with
``small: keep`` for crops, because it lets them be smaller. Not compared: ``scale_shortside``, which is broken there
(see test_preprocess.py), positions that it draws but does not use, and a side of 1, where it fails.
"""

from __future__ import annotations

from typing import Any

from darkroom.data.preprocess import Preprocess, Window

from . import Case, adapter


class Extreme:
    """In place of a generator: always the first, or always the last."""

    def __init__(self, last: bool) -> None:
        self.last = last

    def integers(self, count: int) -> int:
        return count - 1 if self.last else 0


@adapter("preprocess_sizes")
def preprocess_sizes(case: Case) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, table in case.data["table"].items():
        options = {{"default_none": "none"}.get(key, key): value for key, value in table["options"].items()}
        if not options["preprocess"].startswith("scale_shortside"):
            multiple = 4 if options["preprocess"] == "none" else 1
            small = "keep" if options["preprocess"] == "crop" else "pad"
            rule = Preprocess(**options, multiple_of=multiple, small=small)
            found |= _rows(f"table/{name}/rows", table["rows"], rule)
    return found | _rows("none_rounding", case.data["none_rounding"], Preprocess("none"))


def _rows(place: str, rows: list[dict[str, Any]], rule: Preprocess) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for n, row in enumerate(rows):
        if "error" in row:
            continue
        width, height = row["in"]
        first, last = (rule.plan((height, width), Extreme(end)) for end in (False, True))
        found |= {f"{place}/{n}/out": first.size[::-1], f"{place}/{n}/out_at_crop_pos_max": last.size[::-1]}
        window = last.steps[-1] if last.steps else None
        if isinstance(window, Window) and rule.words[-1] == "crop":
            found[f"{place}/{n}/crop_pos_max"] = (window.left, window.top)
    return found
