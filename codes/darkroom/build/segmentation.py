"""Segmentation maps for SFTGAN: what is where in every image of a folder. https://arxiv.org/abs/1804.02815.

As in the published script, the network sees images that were reduced four times by MATLAB's bicubic and enlarged again,
because in use there are small images only. What differs: maps are as large as their images, whose sides the script cut
to multiples of 8; gray images and those with transparency are segmented too.
"""

from __future__ import annotations

import colorsys
import io
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..archs.segmentation import CATEGORIES, OutdoorSceneSeg
from ..core.errors import OptionErrors, WeightsError
from ..core.network import State
from ..data import images
from ..data.images import Picture, write
from ..data.segmented import KEY, MARK, as_bytes
from ..filters.resize import resize
from ..inference.allocator import keep_large_buffers
from ..inference.folder import Job, UpscaleSettings, plan, to_tensor, work_through
from ..inference.sheets import sheet
from ..inference.weights import load_weights, read_state
from . import testing
from .device import choose_device, describe

Say = Callable[[str], None]
Array = np.ndarray[Any, np.dtype[Any]]

COLOURS = (
    (153, 153, 153), (0, 255, 255), (109, 158, 235), (183, 225, 205),
    (153, 0, 255), (17, 85, 204), (106, 168, 79), (224, 102, 102),
)  # fmt: skip
"""Those in which the published script shows the eight ``CATEGORIES``."""
THREADS = 2
"""That decode images, and as many that compress and write maps, beside the network."""
PREVIEW = "preview"


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentSettings:
    """What maps are made of, and how they are written."""

    format: Literal["pth", "npz"] = "pth"
    """``pth`` are float32, as the published script writes them; ``npz`` are bytes, compressed."""
    factor: int = 4
    """How many times images are reduced before they are enlarged again; 1 takes them as they are."""
    low: bool = False
    """The images are small already, and are only enlarged."""
    preview: bool = False
    """Whether to write a picture of each image and its classes beside the maps."""
    skip_existing: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be done."""
        if self.factor < 1:
            raise ValueError(f"factor: expected 1 or more, found {self.factor}")


def segment(
    inputs: Sequence[Path], model: Path, output: Path, *, device: str | None, say: Say, progress: bool = True,
    **settings: Any,
) -> int:  # fmt: skip
    """The maps of every image of ``inputs`` into ``output``; the exit code is 1 if a file failed.

    ``settings`` are those of ``SegmentSettings``.

    Raises:
        DarkroomError: there is nothing to read, or the model cannot be loaded.
    """
    try:
        chosen = SegmentSettings(**settings)
    except ValueError as error:
        raise OptionErrors([str(error)]) from None
    jobs = plan_maps(inputs, output, chosen)
    keep_large_buffers()
    target = choose_device(testing.parse_device(device), say)
    network = load_segmentation(model).eval().to(target)
    names = class_names(network.deconv.in_channels)
    say(f"{type(network).__name__} from {model}, on {describe(target)}: {', '.join(names)}")

    def work(job: Job, picture: Picture) -> dict[str, Callable[[Path], None]]:
        maps = maps_of(network, picture, target, chosen.factor, chosen.low)
        return {
            PREVIEW: lambda path: write(path, preview(job.source.name, picture, maps)),
            "": lambda path: write_maps(path, maps),
        }

    report = work_through(
        jobs, work, chosen.skip_existing, save=_write, threads=THREADS, say=say, progress=progress
    )  # fmt: skip
    say(f"{report}\nMaps: {output}")
    return 1 if report.failed else 0


def _write(path: Path, writes: Callable[[Path], None]) -> None:
    """In a thread that writes, so that it also draws and compresses."""
    writes(path)


def plan_maps(inputs: Sequence[Path], output: Path, settings: SegmentSettings) -> list[Job]:
    """The files to write of each image: ``<sub-folder>/<stem>_bic.pth`` or ``.npz`` in ``output``, and previews.

    Raises:
        DataError: there is no image, or two results would be the same file.
    """
    jobs = []
    for job in plan(inputs, output, UpscaleSettings(suffix=MARK)):
        picture = job.targets[""]
        targets = {}
        if settings.preview:  # a kind of file that is never taken for maps; first, as it is of no use without them
            targets[PREVIEW] = picture.with_name(f"{picture.stem.removesuffix(MARK)}_{PREVIEW}.jpg")
        targets[""] = picture.with_suffix(f".{settings.format}")
        jobs.append(Job(job.source, targets))
    return jobs


def load_segmentation(path: Path) -> OutdoorSceneSeg:
    """The network in a file with the keys of the public ``segmentation_OST_bic.pth``, of whatever size and classes.

    Raises:
        WeightsError: the file cannot be read, or holds another network.
    """
    state = read_state(path)
    try:
        network = OutdoorSceneSeg(**_options(state))
    except (KeyError, ValueError):
        raise WeightsError(
            f"{path} is no network for outdoor scenes: expected the keys of segmentation_OST_bic.pth "
            f"(feature.0.weight, ..., deconv.weight), found {', '.join(list(state)[:4])}, ..."
        ) from None
    load_weights(network, path)
    return network


def _options(state: State) -> dict[str, Any]:
    nf = state["feature.0.weight"].shape[0]
    widths = [tensor.shape[0] for key, tensor in state.items() if re.fullmatch(r"feature\.\d+\.res\.0\.weight", key)]
    blocks = tuple(widths.count(nf * 2**stage) for stage in range(4))
    return {"classes": state["deconv.weight"].shape[0], "nf": nf, "blocks": blocks}


def class_names(count: int) -> list[str]:
    """Those of the public weights, which have eight classes; numbers for any other network."""
    return list(CATEGORIES) if count == len(CATEGORIES) else [f"class {n}" for n in range(count)]


def maps_of(network: OutdoorSceneSeg, picture: Picture, device: torch.device, factor: int, low: bool) -> Array:
    """Probabilities (classes, H, W), float32, as large as the picture or, if it is ``low``, ``factor`` times that."""
    with torch.inference_mode():
        image = to_tensor(picture.as_channels(3), device)
        height, width = image.shape[-2:]
        if low:
            image = resize(image, float(factor))
        elif factor > 1:  # sides that it does not divide are rounded up, so there is more than enough
            image = resize(resize(image, 1 / factor), float(factor))[..., :height, :width]
        maps: Tensor = network(image)[0].float().cpu()
    return np.asarray(maps)


def preview(name: str, picture: Picture, maps: Array) -> Array:
    """A picture (H, W, 3) of the image, of its most probable classes in colours, and of what these colours mean."""
    labels = maps.argmax(axis=0)
    names, counts = class_names(len(maps)), np.bincount(labels.ravel(), minlength=len(maps))
    colours = np.array([_colour(n) for n in range(len(maps))], np.uint8)
    order = [int(n) for n in np.argsort(-counts, kind="stable") if counts[n]]
    swatches = [[(f"{names[n]} {counts[n] / labels.size:.1%}", np.full((20, 40, 3), colours[n]))] for n in order]
    photograph = images.as_bytes(picture.as_channels(3))
    return sheet([[(name, photograph), ("most probable class", colours[labels]), ("", sheet(swatches))]])


def _colour(number: int) -> tuple[int, ...]:
    if number < len(COLOURS):
        return COLOURS[number]
    return tuple(round(255 * c) for c in colorsys.hsv_to_rgb(0.618 * number % 1, 0.6, 0.9))


def write_maps(path: Path, probabilities: Array) -> None:
    """Write (classes, H, W) float32 to .npz, as bytes, or to .pth, as they are; the file appears whole or not at all.

    Raises:
        OSError: the folder cannot be written.
    """
    file = io.BytesIO()
    if path.suffix.lower() == ".npz":
        arrays: Any = {KEY: as_bytes(probabilities, len(probabilities))}
        np.savez_compressed(file, **arrays)
    else:
        torch.save(torch.from_numpy(np.ascontiguousarray(probabilities)), file)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(file.getvalue())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
