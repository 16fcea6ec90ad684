"""Check pairs of images: whether the low-resolution one shows the same as the other, at the same place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from ..core.errors import DataError
from ..data.dataset import UnreadableImage
from ..data.folders import pair
from ..data.images import Picture, read
from .registration import Array, Shift, find_shift
from .work import Failure, Journal, Workers, apart, look_at, write_table, write_text

_SIDE = 1024
"""Of the middle of an image, which is looked at."""
_OTHER = 0.5
"""A correlation below which two images do not show the same."""
_FLAT = 1.0


@dataclass(frozen=True, slots=True)
class Checked:
    """One pair."""

    target: Path
    partner: Path | None
    dx: float | None = None
    """How far the input is shifted to the right, in pixels of the target; None if it could not be measured."""
    dy: float | None = None
    """Likewise, downwards."""
    correlation: float | None = None
    fault: str = ""
    """What is wrong with the pair; nothing if it is sound."""

    @property
    def distance(self) -> float | None:
        """Length of the shift."""
        return None if self.dx is None or self.dy is None else float(np.hypot(self.dx, self.dy))


def align(
    targets: Sequence[Path],
    partners: Sequence[Path],
    output: Path,
    scale: int | None = None,
    threshold: float = 0.5,
    workers: Workers | None = None,
) -> list[Checked]:
    """Look at each pair of the folders ``targets`` (HR) and ``partners`` (LR), which belong together by name.

    ``scale`` is that of most pairs, if it is not given. A pair is faulty if its sizes are not of that scale, if the
    shift is longer than ``threshold`` pixels of the target, or if the images do not show the same. ``output`` gets
    ``align.csv`` with all pairs and ``align.txt``, the targets of faulty ones, one a line, and inputs without one.

    Raises:
        DataError: there are no images, or no pairs, or the output is not apart from them.
        ValueError: the threshold is not positive.
    """
    if threshold <= 0:
        raise ValueError(f"threshold: expected a number of pixels above 0, found {threshold}")
    apart([*targets, *partners], [output])
    pairing = pair(targets, partners, scale)
    both = [(target, partner) for target, partner in pairing.pairs if partner is not None]
    if not both:
        raise DataError("no image has a partner of its name; see datasets/README.md for how pairs are found")
    outcomes = look_at(both, _look, lambda files: files, Journal(output, "align"), workers or Workers())
    scale = scale or _usual(outcomes)
    checked = [_judged(*files, outcome, scale, threshold) for files, outcome in zip(both, outcomes, strict=True)]
    checked += [Checked(target, None, fault="it has no partner") for target in pairing.alone]
    checked += [Checked(stray, None, fault="it is an input without a target") for stray in pairing.strays]
    _report(checked, output)
    return checked


Measures = tuple[tuple[int, int, int, int], Shift | None]
"""Height and width of the target and of its partner; the shift, unless the sizes are of no common scale."""


def _look(files: tuple[Path, Path]) -> Measures:
    try:
        target = read(files[0])
    except UnreadableImage as error:
        raise DataError(f"its target {files[0]} cannot be used: {error.reason}") from None
    partner = read(files[1])
    sizes = (*target.size, *partner.size)
    scale = fitting_scale(*sizes)
    if scale is None:
        return sizes, None
    height, width = (side // scale for side in target.size)
    tall, wide = min(height, _SIDE // scale or 1), min(width, _SIDE // scale or 1)
    top, left = (height - tall) // 2, (width - wide) // 2
    low = _levels(partner)[top : top + tall, left : left + wide]
    large = _levels(target)[top * scale : (top + tall) * scale, left * scale : (left + wide) * scale]
    if min(large.shape) < 16:
        return sizes, None
    low = cv2.resize(low, large.shape[::-1], interpolation=cv2.INTER_CUBIC)
    found = find_shift(large, low, scale)
    if found.contrast < _FLAT:  # then all depends on whether the other one shows something
        found = Shift(0.0, 0.0, 0.0, find_shift(low, large, scale).contrast)
    return sizes, Shift(*(round(value, 4) for value in found))


def fitting_scale(height: int, width: int, low_height: int, low_width: int) -> int | None:
    """The whole number by which an image is larger than another, rounded either way; None if there is none."""
    scale = max(round(width / low_width), 1)
    fits = all(n in (m // scale, -(-m // scale)) for m, n in ((height, low_height), (width, low_width)))
    return scale if fits else None


def _levels(picture: Picture) -> Array:
    levels = picture.as_channels(1)[:, :, 0].astype(np.float32)
    return levels if picture.bits == 8 else levels / 257


def _usual(outcomes: Sequence[Measures | Failure]) -> int | None:
    scales = [fitting_scale(*outcome[0]) for outcome in outcomes if not isinstance(outcome, Failure)]
    found = [scale for scale in scales if scale is not None]
    return max(set(found), key=lambda scale: (found.count(scale), -scale)) if found else None


def _judged(target: Path, partner: Path, outcome: Measures | Failure, scale: int | None, threshold: float) -> Checked:
    if isinstance(outcome, Failure):
        return Checked(target, partner, fault=outcome.reason)
    sizes, measured = outcome
    own = fitting_scale(*sizes)
    if own is None or own != scale:
        expected = "" if scale is None else f", at scale {scale} it should be {sizes[1] // scale}x{sizes[0] // scale}"
        return Checked(
            target, partner, fault=f"it is {sizes[3]}x{sizes[2]}, its target {sizes[1]}x{sizes[0]}{expected}"
        )
    if measured is None or measured[3] < _FLAT:
        return Checked(target, partner)
    dx, dy, correlation, _ = measured
    fault = f"it is shifted by ({dx:+.2f}, {dy:+.2f}) pixels of the target" if np.hypot(dx, dy) > threshold else ""
    if correlation < _OTHER:
        fault = f"it shows something else than its target: their correlation is {correlation:.2f}"
    return Checked(target, partner, dx, dy, correlation, fault)


def _report(checked: Sequence[Checked], output: Path) -> None:
    head = ("target", "input", "dx", "dy", "correlation", "fault")
    rows = ((c.target, c.partner or "", *("" if v is None else v for v in (c.dx, c.dy, c.correlation)), c.fault)
            for c in checked)  # fmt: skip
    write_table(output / "align.csv", head, rows)
    write_text(output / "align.txt", "".join(f"{c.target}\n" for c in checked if c.fault))


def summary(checked: Sequence[Checked]) -> str:
    """A few lines about all pairs. A shift that all of them share comes from how the small images were made."""
    shifts = [c for c in checked if c.distance is not None]
    faulty = [c for c in checked if c.fault]
    lines = [f"{len(checked)} pairs, {len(shifts)} measured, {len(faulty)} faulty"]
    if shifts:
        dx, dy = (median(value for c in shifts if (value := getattr(c, name)) is not None) for name in ("dx", "dy"))
        lengths = sorted(c.distance or 0.0 for c in shifts)
        lines.append(f"shift: median ({dx:+.2f}, {dy:+.2f}), longest {lengths[-1]:.2f} pixels of the target")
    return "\n".join([*lines, *(f"  {c.partner or c.target}: {c.fault}" for c in faulty)])
