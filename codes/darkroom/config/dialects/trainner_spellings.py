"""How users of the traiNNer family spell the parameters of degradations, and what that is natively."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ..source import Section
from .rules import Job, copied, lower

Spelling = Callable[[Any, Section, Section], Mapping[str, Any]]
"""The native options of a value, with all that stands beside it and all that weaker places say of the degradation.

A ValueError says what was expected and found.
"""


def natively(job: Job, kind: str, said: Section, values: Section) -> None:
    """Add to the ``values`` what is ``said`` of the native degradation ``kind``; unknown options are added, too."""
    spellings, ranges = _SPELLINGS.get(kind, {}), _RANGES.get(kind, ())
    known = Section.make(values.place, dict(values))
    for key, value in said.items():
        spelling = spellings.get(key)
        try:
            made = {key: copied(value)} if spelling is None else spelling(value, said, known)
        except ValueError as error:
            job.error(said.where(key), f"{key}: {error}")
            continue
        for option, found in made.items():
            values.put(option, _ends(found) if option in ranges else found, said.where(key), key)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_range(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))


def _ends(value: Any) -> Any:
    """One number is both ends of a range."""
    return [value, value] if _is_number(value) else value


def _up_to(value: Any) -> Any:
    """One number is the upper end of a range."""
    return [0, value] if _is_number(value) else value


def _to(option: str, change: Callable[[Any], Any] = copied) -> Spelling:
    """It has another name, and maybe another form."""
    return lambda value, said, known: {option: change(value)}


def _fixed(*fine: Any) -> Spelling:
    """It is no option here, as it is always the same: one of ``fine``."""

    def spelling(value: Any, said: Section, known: Section) -> Mapping[str, Any]:
        if value is not None and (isinstance(value, bool), lower(value)) not in (
            (isinstance(x, bool), x) for x in fine
        ):
            raise ValueError(f"expected {' or '.join(map(json.dumps, fine))}, as it is always here; found {value!r}")
        return {}

    return spelling


def _limits(option: str, low: str, high: str, default: tuple[int, int]) -> dict[str, Spelling]:
    """Two options with the ends of a range; where only the upper one is said, the lower one is no more than that."""

    def spelling(value: Any, said: Section, known: Section) -> Mapping[str, Any]:
        if not _is_number(value):
            return {option: copied(value)}
        ranges: list[Any] = [said.get(option), known.get(option), [*default]]
        first, last = next(filter(_is_range, ranges))
        last = said[high] if _is_number(said.get(high)) else last
        first = said[low] if _is_number(said.get(low)) else min(first, last)
        return {option: [last if said.get("random_params") is False else first, last]}

    return {low: spelling, high: spelling}


def _same(option: str, other: str, why: str) -> Spelling:
    """One range serves for two."""

    def spelling(value: Any, said: Section, known: Section) -> Mapping[str, Any]:
        if value is None:
            return {}
        if said.get(other) not in (None, value):
            raise ValueError(f"{why}, so it is what {other} is, {said[other]!r}; found {value!r}")
        return {option: copied(value)}

    return spelling


def _directions(value: Any) -> Mapping[str, Any]:
    """``resize_prob: {up: 0.2, down: 0.7, keep: 0.1}``, where what is not said is 0."""
    names = ("up", "down", "keep")
    if not isinstance(value, Section) or not {*value} <= {*names}:
        raise ValueError(f"expected shares such as {{up: 0.2, down: 0.7, keep: 0.1}}, found {value!r}")
    return {name: value.get(name, 0) for name in names}


def _algorithm(value: Any) -> Any:
    """The segmentation that comes without OpenCV's contributed modules."""
    return "sk_slic" if value in ("slic", "slico", "mslic") else value


_WAS_DRAWN = {"init_params": _fixed(True), "random_params": _fixed(True, False)}
_NOT_DRAWN = {"random_params": _fixed(False)}
_side = partial(_limits, "kernel_size", "min_kernel_size", "kernel_size")
_SMALL = {**_side((3, 11)), **_WAS_DRAWN}
_LARGE = {**_side((7, 21)), "noise": _to("noise", lambda value: 0 if value is None else copied(value))}
_ROUND = {"sigmaX": _to("sigma"), "sigmaY": _same("sigma", "sigmaX", "the blur is round")}
_LONG = {"sigmaX": _to("sigma_x"), "sigmaY": _to("sigma_y")}
_QUALITY = partial(_limits, "quality", "min_quality", "max_quality")
_LEVELS = {"samplingF": _to("levels", lambda n: n + 1 if _is_number(n) else n)}
_COLOR = {"prob_color": _to("color")}
_GAINS = "red and blue gains share one range"

_SPELLINGS: Mapping[str, Mapping[str, Spelling]] = {
    **dict.fromkeys(("average_blur", "box_blur", "median_blur"), _SMALL),
    "gaussian_blur": {**_SMALL, **_ROUND},
    "bilateral_blur": {
        **_SMALL,
        **{key: _to("sigma_color", _up_to) for key in ("sigmaX", "sigmaColor")},
        **{key: _to("sigma_space", _up_to) for key in ("sigmaY", "sigmaSpace")},
    },
    "motion_blur": {**_side((3, 7)), **_WAS_DRAWN},
    **{kind: {**_LARGE, **_ROUND} for kind in ("iso", "generalized_iso", "plateau_iso")},
    **{kind: {**_LARGE, **_LONG} for kind in ("aniso", "generalized_aniso", "plateau_aniso")},
    "sinc": {
        **_side((7, 21)),
        "min_cutoff": lambda value, said, known: {"cutoff": None if value is None else [value, math.pi]},
    },
    "resize": {
        "resize_prob": lambda value, said, known: _directions(value),
        "resize_range_up": _to("up_range"),
        "resize_range_down": _to("down_range"),
    },
    "gaussian_noise": {
        **_COLOR,
        "mean": _fixed(0),
        "var_limit": _to("sigma", _up_to),
        "multi": _to("multi", lambda value: 0.34 * value if isinstance(value, bool) else value),
    },
    "poisson_noise": {**_COLOR, "scale_range": _to("scale")},
    "speckle_noise": {"mean": _fixed(0), "var_limit": _to("sigma", _up_to), "prob_color": _fixed(1)},
    "salt_and_pepper": {"prob": _to("share")},
    "camera_noise": {
        "demosaic_fn": _to("demosaic"),
        "xyz_arr": _to("white"),
        "rg_range": _same("gains", "bg_range", _GAINS),
        "bg_range": _same("gains", "rg_range", _GAINS),
    },
    "noise_patches": {"noise_amp": _to("amplitude")},
    "jpeg": _QUALITY((30, 95)),
    "webp": _QUALITY((20, 90)),
    **dict.fromkeys(("dither", "dither_fs_bw", "dither_bayer", "dither_bayer_bw"), _LEVELS),
    "superpixels": {
        "algo": _to("algorithm", _algorithm),
        "kind": _to("colours", lambda value: "mean" if value == "avg" else value),
        "p_replace": _fixed(1),
        "n_iters": _fixed(10),
        "interpolation": _fixed("bilinear"),
    },
    "auto_levels": _NOT_DRAWN,
    "unsharp": {"unsharp_algo": _to("algorithm"), "blur_algo": _to("blur")},
    "fringes": {**_NOT_DRAWN, "alpha": _fixed(0)},
}
"""Native degradations, and the spellings that they have besides the names of their own options."""

_RANGES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("gaussian_blur", "nearest_aligned", "gaussian_noise", "speckle_noise"), ("sigma",)),
    "bilateral_blur": ("sigma_color", "sigma_space"),
    "motion_blur": ("angle",),
    "iso": ("sigma",),
    "aniso": ("sigma_x", "sigma_y", "angle"),
    **dict.fromkeys(("generalized_iso", "plateau_iso"), ("sigma", "beta")),
    **dict.fromkeys(("generalized_aniso", "plateau_aniso"), ("sigma_x", "sigma_y", "angle", "beta")),
    "sinc": ("cutoff",),
    "resize": ("up_range", "down_range"),
    "poisson_noise": ("scale",),
    "camera_noise": ("gains", "shot"),
    **dict.fromkeys(("jpeg", "webp"), ("quality",)),
    "salt_and_pepper": ("share",),
    "erasing": ("share", "aspect"),
    "fringes": ("strength", "jitter"),
}
"""Options that are ranges, for which one number may be written."""
