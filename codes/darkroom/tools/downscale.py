"""Make the low-resolution images of a training set, as training makes them on the fly, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..core.errors import DataError
from ..data.images import Picture, read, write
from ..filters.resize import find_kernel, resize_uint8
from .subimages import piece
from .work import Journal, Report, Task, Workers, carry_out, tasks


def resized(picture: Picture, size: tuple[int, int], kernel: str = "cubic") -> Picture:
    """The picture in another ``size`` (H, W), its transparency as well."""
    pixels, alpha = picture.pixels, picture.alpha
    alpha = None if alpha is None else resize_uint8(np.ascontiguousarray(alpha), size=size, kernel=kernel)
    return Picture(resize_uint8(pixels, size=size, kernel=kernel), alpha)


def downscale(
    inputs: Sequence[Path],
    output: Path,
    scales: Sequence[int] = (4,),
    kernel: str = "cubic",
    hr: bool = False,
    enlarged: bool = False,
    workers: Workers | None = None,
) -> Report:
    """Write every image of ``inputs`` at 1/scale as ``LR/X<scale>/<sub-folder>/<stem>.png`` in ``output``.

    Rows and columns beyond the last multiple of the scale are cut off before, as training does. ``hr`` writes what is
    left as ``HR/X<scale>/...``, and ``enlarged`` the LR images in its size again, by the same kernel, as
    ``enlarged/X<scale>/...``.

    Raises:
        DataError: there is no image, the output is not apart from the inputs, or it was made with another kernel.
        ValueError: no scale, one below 2, or no such kernel.
    """
    if not scales or min(scales) < 2:
        raise ValueError(f"scales: expected whole numbers from 2 on, found {list(scales)}")
    find_kernel(kernel)
    tags = [f"{kind}/X{scale}" for scale in scales for kind in ("LR", *["HR"] * hr, *["enlarged"] * enlarged)]
    planned = tasks(inputs, output, [output / tag for tag in tags])
    todo = [replace(task, targets={tag: _place(task, output, tag) for tag in tags}) for task in planned]
    journal = Journal(output, "downscale", {"kernel": kernel})

    def shrink(task: Task) -> list[Path]:
        picture = read(task.source)
        versions: dict[str, Picture] = {}
        for scale in scales:
            versions |= _versions(picture, scale, kernel, enlarged)
        for tag, target in task.targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            write(target, versions[tag])
        return [*task.targets.values()]

    return carry_out(todo, shrink, journal, workers or Workers())


def _place(task: Task, output: Path, tag: str) -> Path:
    place = output / tag / task.place.relative_to(output)
    return place.with_name(f"{place.name}.png")


def _versions(picture: Picture, scale: int, kernel: str, enlarged: bool) -> dict[str, Picture]:
    height, width = (side // scale for side in picture.size)
    if not height or not width:
        raise DataError(f"it is {picture.size[1]}x{picture.size[0]}, smaller than a pixel at scale {scale}")
    whole = piece(picture, 0, 0, height * scale, width * scale)
    low = resized(whole, (height, width), kernel)
    again = {f"enlarged/X{scale}": resized(low, whole.size, kernel)} if enlarged else {}
    return {f"LR/X{scale}": low, f"HR/X{scale}": whole, **again}
