"""Data of EdgeConnect: cases ``edgeconnect_dataset*`` and ``edgeconnect_canny`` (i2i)."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from darkroom.data.images import write
from darkroom.data.masked import Masked
from darkroom.filters.canny import canny, gray

from . import Case, adapter

KINDS = {1: "block", 2: "half", 3: "external", 4: "external_block", 5: "external_block_half", 6: "paired"}


class Recorded:
    """In place of a generator: Python's and numpy's, asked as the original asks them."""

    def __init__(self, seed: int, kind: int) -> None:
        self.python, self.numpy = random.Random(seed), np.random.RandomState(seed)
        self.kind, self.calls = kind, 0

    def random(self) -> float:
        return self.python.random()

    def integers(self, low: int, high: int | None = None) -> int:
        low, high = (0, low) if high is None else (low, high)
        self.calls += 1
        if self.calls == 1:  # the shape of the mask
            shapes = {4: lambda: self.numpy.binomial(1, 0.5), 5: lambda: self.numpy.randint(1, 4) - 1}
            return shapes[self.kind]() if self.kind in shapes else 0
        if (low, high) == (0, 2):  # mirrored or not
            return self.numpy.binomial(1, 0.5)
        return self.python.randint(low, high - 1)


@adapter("edgeconnect_dataset")
def dataset(case: Case) -> dict[str, Any]:
    arrays, found = case.arrays, {}
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{name}.png" for name in arrays if name.startswith("file_")}
        for name, path in files.items():
            write(path, arrays[name])
        for name, item in case.data["config"]["items"].items():
            made, kind = _dataset(item, {name: str(path) for name, path in files.items()})
            tensors = made.item(0, Recorded(item["seed"], kind))
            image, mask, edge = (tensors[key].numpy() for key in made.yields)
            luma = gray(image.transpose(1, 2, 0))[None]
            outputs = {"image_u8": image, "gray": luma, "edge": edge / 255, "mask": mask / 255}
            found |= {f"{name}/{key}": value for key, value in outputs.items() if f"{name}/{key}" in arrays}
            means = {"edge_mean": edge / 255, "mask_mean": mask / 255, "gray_mean": luma}
            found |= {f"config/items/{name}/{key}": value.mean() for key, value in means.items() if key in item}
    return found


def _dataset(item: dict[str, Any], files: dict[str, str]) -> tuple[Masked, int]:
    kind = 6 if item.get("MODE") == 2 else item["MASK"]
    made = Masked(
        files[f"file_{item['image']}"],
        files[f"file_{item['mask']}"] if kind > 2 else (),
        files[f"file_{item['edge']}"] if item.get("EDGE") == 2 else (),
        KINDS[kind],
        item["INPUT_SIZE"],
        item["SIGMA"],
        bool(item.get("NMS", 1)),
        not item["training"],
        item["augment"],
    )
    return made, kind


@adapter("edgeconnect_canny")
def canny_edges(case: Case) -> dict[str, Any]:
    image, hole = case.arrays["image"], case.arrays["hole"]
    known = {"": None, "_masked": ~hole}
    sigmas = case.data["config"]["sigmas"]
    return {f"edges_sigma{s:g}{end}": canny(gray(image), s, k) for s in sigmas for end, k in known.items()}
