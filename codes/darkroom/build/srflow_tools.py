"""The latent tools of SRFlow, each over files and folders: what ``inference.latents`` says, on pictures."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.errors import DarkroomError, DataError, OptionErrors
from ..data.folders import pair as pair_by_name
from ..data.folders import some
from ..data.images import Picture, as_bytes, read
from ..filters.resize import resize_uint8
from ..inference import latents as lat
from ..inference.folder import Job, OnResult, Results, UpscaleSettings, Work, plan, to_pixels, work_through
from ..inference.sheets import enlarged, sheet
from .srflow_pictures import Fit, Flow, Low, fitted

Normalise = Literal["global", "local", "none"]
Method = Literal["spherical", "linear"]

_CELL = 768
"""Longest side of an image on a sheet; larger ones are made smaller there."""


def temperature(
    flow: Flow, inputs: Sequence[Path], output: Path, *, heats: Sequence[float], samples: int, seed: int, shrink: bool
) -> int:
    """Images drawn at every one of ``heats``, ``<name>_h<heat>_<sample>.png``, and ``<name>_sheet.png``; the exit code.

    The same sample has the same noise at every heat, only more of it.

    Raises:
        DarkroomError: there is nothing to read.
    """
    if len({f"{heat:g}" for heat in heats}) < len(heats):
        raise OptionErrors([f"--heats: expected each one once, found {', '.join(map(str, heats))}"])
    tags = {(heat, n): f"_h{heat:g}_{n}" for n in range(samples) for heat in heats}

    def work(job: Job, picture: Picture) -> Results:
        low, kind = _content(flow, picture, job.source, shrink), picture.pixels.dtype
        images = flow.decode(low, (flow.draw(low, heat, seed + n) for heat, n in tags), job.source)
        drawn = {key: to_pixels(image, kind) for key, image in zip(tags, images, strict=True)}
        given = enlarged(to_pixels(low.image, kind), flow.network.scale)[: low.size[0], : low.size[1]]
        rows = [
            [("input", _cell(given)), *((f"heat {h:g}, sample {n}", _cell(drawn[h, n])) for h in heats)]
            for n in range(samples)
        ]
        return {**{tags[k]: Picture(p) for k, p in drawn.items()}, "_sheet": Picture(sheet(rows, job.source.name))}

    return _run(flow, inputs, output, [*tags.values(), "_sheet"], work)


def restore(
    flow: Flow, inputs: Sequence[Path], output: Path, *, low: Path | None, normalise: Normalise, region: int,
    heat: float,
) -> int:  # fmt: skip
    """Images whose latents were made those of natural images: encoded, normalised, decoded; the exit code.

    The latents are normalised over the whole image, or over the ``region`` pixels around each place, and multiplied by
    ``heat``.

    Raises:
        DarkroomError: there is nothing to read, or ``low`` does not go with the images.
    """
    lows = _lows(inputs, low, flow.network.scale)

    def work(job: Job, picture: Picture) -> Results:
        pair = flow.pair(picture, job.source, _read(lows.get(job.source)))
        z, _ = flow.encode(pair)
        if normalise == "global":
            new = lat.normalised(z)
        else:
            new = lat.normalised_locally(z, region / pair.high.shape[-2]) if normalise == "local" else z
        new = lat.scaled(new, heat)
        flow.say(f"{job.source}: latents of {_told(z)}, made those of {_told(new)}")
        (result,) = flow.decode(pair.low, [new], job.source)
        return {"": Picture(to_pixels(result, picture.pixels.dtype))}

    return _run(flow, inputs, output, [""], work)


def latent_transfer(
    flow: Flow, inputs: Sequence[Path], output: Path, *, source: Path, fit: Fit | None, heat: float, shrink: bool
) -> int:
    """Images made of the small ``inputs`` with the latents of ``source``, multiplied by ``heat``; the exit code.

    Raises:
        DarkroomError: there is nothing to read.
    """
    given = read(source)

    def work(job: Job, picture: Picture) -> Results:
        low = _content(flow, picture, job.source, shrink)
        z, _ = flow.encode(flow.pair(fitted(given, low.size, fit, source), source))
        (result,) = flow.decode(low, [lat.scaled(z, heat)], job.source)
        return {"": Picture(to_pixels(result, picture.pixels.dtype))}

    return _run(flow, inputs, output, [""], work)


def interpolate(
    flow: Flow, inputs: Sequence[Path], output: Path, *, heats: tuple[float, float], ends: Sequence[Path] | None,
    seed: int, frames: int, method: Method, fit: Fit | None, shrink: bool, video: bool, fps: float,
) -> int:  # fmt: skip
    """Images on the way between two latents of each input, ``<name>_<frame>.png``, and a strip of them; the exit code.

    The latents are drawn at ``heats``, or those of the images ``ends``.

    Raises:
        DarkroomError: there is nothing to read, or the video cannot be written.
    """
    mix = {"spherical": lat.spherical, "linear": lat.linear}[method]
    digits = len(str(frames - 1))
    tags = [f"_{i:0{digits}}" for i in range(frames)]
    times = [i / (frames - 1) for i in range(frames)]
    pictures = [(read(path), path) for path in ends or ()]

    def work(job: Job, picture: Picture) -> Results:
        low = _content(flow, picture, job.source, shrink)
        if pictures:
            a, b = (flow.encode(flow.pair(fitted(p, low.size, fit, path), path))[0] for p, path in pictures)
        else:
            a, b = (flow.draw(low, heat, seed + n) for n, heat in enumerate(heats))
        made = [to_pixels(x, picture.pixels.dtype) for x in flow.decode(low, (mix(a, b, t) for t in times), job.source)]
        strip = sheet([[(f"{t:.2f}", _cell(pixels)) for t, pixels in zip(times, made, strict=True)]], job.source.name)
        return {**{tag: Picture(p) for tag, p in zip(tags, made, strict=True)}, "_strip": Picture(strip)}

    def film(job: Job, results: Results) -> None:
        if video:
            first = job.targets[tags[0]]
            path = first.with_name(first.stem.removesuffix(tags[0]) + ".mp4")
            write_video(path, [as_bytes(results[tag].as_channels(3)) for tag in tags], fps)

    return _run(flow, inputs, output, [*tags, "_strip"], work, film)


def feed_through(flow: Flow, inputs: Sequence[Path], output: Path, *, low: Path | None) -> int:
    """Images encoded and decoded, with their errors and likelihoods said; ``<name>_score.png`` shows bad fits brighter.

    Raises:
        DarkroomError: there is nothing to read, or ``low`` does not go with the images.
    """
    lows = _lows(inputs, low, flow.network.scale)
    figures: list[Tensor] = []

    def work(job: Job, picture: Picture) -> Results:
        pair = flow.pair(picture, job.source, _read(lows.get(job.source)))
        z, nll = flow.encode(pair)
        (result,) = flow.decode(pair.low, [z], job.source)
        height, width = picture.size
        error = (result - pair.high[..., :height, :width]).abs().max()
        noise = lat.score(flow.draw(pair.low, 1, seed=0))
        figures.append(torch.stack([error, nll[0], nll[0] / flow.channels, lat.score(z)[0], noise[0]]).double().cpu())
        flow.say(f"{job.source}: {_figures(figures[-1])}; latents of {_told(z)}")
        bright = F.interpolate(1 - torch.exp(-lat.score_map(z)), pair.high.shape[-2:])[..., :height, :width]
        score = to_pixels(bright.nan_to_num(1), np.dtype(np.uint8))
        return {"": Picture(to_pixels(result, picture.pixels.dtype)), "_score": Picture(score)}

    code = _run(flow, inputs, output, ["", "_score"], work)
    if len(figures) > 1:
        flow.say(f"mean of {len(figures)} images: {_figures(torch.stack(figures).mean(0))}")
    return code


def write_video(path: Path, frames: Sequence[np.ndarray], fps: float) -> None:
    """Write (H, W, 3) RGB uint8 frames as MPEG-4, whole or not at all; an odd last row or column is left out.

    Raises:
        DarkroomError: OpenCV cannot write it here.
    """
    height, width = (side // 2 * 2 for side in frames[0].shape[:2])
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    writer = cv2.VideoWriter(str(partial), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
    try:
        for frame in frames if writer.isOpened() else ():
            writer.write(np.ascontiguousarray(frame[:height, :width, ::-1]))
        writer.release()
        if not partial.is_file() or not partial.stat().st_size:
            raise DarkroomError(f"{path} cannot be written: this OpenCV has no MPEG-4. The frames are there as images")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _run(
    flow: Flow, inputs: Sequence[Path], output: Path, tags: Sequence[str], work: Work, on_result: OnResult | None = None
) -> int:
    """Every image through ``work``; the exit code."""
    jobs = plan(inputs, output, UpscaleSettings(), tags)
    with torch.inference_mode():
        report = work_through(jobs, work, on_result=on_result, say=flow.say)
    if flow.replaced:
        flow.say(f"diverged, and replaced by images of lower temperature: {flow.replaced}")
    flow.say(f"{report}\nResults: {output}")
    return 1 if report.failed else 0


def _content(flow: Flow, picture: Picture, name: Path, shrink: bool) -> Low:
    """The picture to enlarge, which is made small first if it is at the size of the output."""
    return flow.pair(picture, name).low if shrink else flow.low(picture, name)


def _lows(inputs: Sequence[Path], low: Path | None, scale: int) -> Mapping[Path, Path]:
    """The small version of each image: two files, or images of folders by their names."""
    if low is None:
        return {}
    low, files = low.expanduser(), [path.expanduser() for path in inputs]
    if len(files) == 1 and files[0].is_file() and low.is_file():
        return {files[0]: low}
    pairing = pair_by_name(files, [low], scale)
    if pairing.alone:
        raise DataError(f"there is no low-res version in {low} of {some(pairing.alone)}: it goes by the names")
    return {target: given for target, given in pairing.pairs if given is not None}


def _read(path: Path | None) -> Picture | None:
    return None if path is None else read(path)


def _cell(pixels: np.ndarray) -> np.ndarray:
    """Pixels for a sheet: RGB of 8 bits, and not too large."""
    pixels = as_bytes(pixels)
    factor = _CELL / max(pixels.shape[:2])
    return Picture(pixels if factor >= 1 else resize_uint8(pixels, factor)).as_channels(3)


def _told(z: lat.Latents) -> str:
    mean, std = lat.statistics(z)
    return f"mean {float(mean[0]):.3f}, deviation {float(std[0]):.3f}"


def _figures(values: Tensor) -> str:
    error, nll, per_dimension, score, noise = values.tolist()
    return (
        f"error {error:.2g} at most, nll {nll:.4f} bits per pixel, {per_dimension:.4f} per dimension, "
        f"latent score {score:.4f} (of noise {noise:.4f})"
    )
