"""Folders of images through a network: names, colours, transparency, bit depth, and what goes wrong on the way.

Three parts that also serve alone: ``plan`` says which file becomes which, an ``Upscaler`` makes a picture of a picture,
and ``work_through`` reads, works and writes, with decoding and encoding in threads beside the network.
"""

from __future__ import annotations

import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from ..core.errors import DarkroomError, DataError
from ..core.network import Network
from ..data.dataset import UnreadableImage
from ..data.folders import list_by_root
from ..data.images import Picture, header, read, write
from .ensemble import eightfold
from .tiles import Gather, Tiler

_LOG = logging.getLogger(__name__)

Extension = Literal["png", "jpg", "webp", "bmp", "tif", "keep"]
Alpha = Literal["network", "bicubic"]
Say = Callable[[str], None]
T = TypeVar("T")

FAILURES = (DarkroomError, OSError, RuntimeError, ValueError, MemoryError)
"""What one file may meet without ending the others' work; anything else is a fault of the program."""
_WRITABLE = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_DEEP = (".png", ".tif", ".tiff")
_CLEAR = (".png", ".webp")
_WAITING = 2
"""Finished images that may wait for the disk. Each can be a gigabyte, so few."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UpscaleSettings:
    """How images are computed and what the results are called."""

    tile: int | None = None
    """Side of a tile in input pixels; None: whole images as long as they fit into memory."""
    overlap: int = 32
    """Pixels that neighbouring tiles share; no seam at all from twice the radius of the receptive field on."""
    gather: Gather = "auto"
    """Where the tiles of an image are put together: on the device, in main memory, or there only if it must be."""
    self_ensemble: bool = False
    """The mean over the eight flips and rotations (x8): eight times the work."""
    half: bool = False
    """float16 where it is safe, on CUDA alone. An image that overflows is computed again in float32."""
    channels_last: bool = True
    alpha: Alpha = "network"
    """What enlarges transparency."""
    suffix: str = ""
    """Goes between the name and the extension."""
    extension: Extension = "png"
    """``keep`` is that of the input. Where the format cannot hold an image (16 bits, transparency), it is png."""
    skip_existing: bool = False

    def __post_init__(self) -> None:
        """Refuse a suffix that would lead to another folder."""
        if set(self.suffix) & set('/\\:*?"<>|'):
            raise ValueError(f"suffix: expected characters that file names may have, got {self.suffix!r}")


@dataclass(frozen=True, slots=True)
class Job:
    """One file to read, and the files to write of it: by tag, which is "" where there is one result only."""

    source: Path
    targets: Mapping[str, Path]


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that gave no result, and why."""

    source: Path
    reason: str


@dataclass(slots=True)
class Report:
    """What became of every job."""

    done: list[Job] = field(default_factory=list)
    skipped: list[Job] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)

    def __str__(self) -> str:
        """One line of counts, then one line for each failure."""
        counts = f"{len(self.done)} done, {len(self.skipped)} already there, {len(self.failed)} failed"
        return "\n".join([counts, *(f"  {f.source}: {f.reason}" for f in self.failed)])


Results = Mapping[str, Any]
"""What ``save`` writes, by tag."""
Save = Callable[[Path, Any], None]
Work = Callable[[Job, Picture], Results]
OnResult = Callable[[Job, Results], None]


def upscale_folder(
    network: Network,
    inputs: Sequence[Path],
    output: Path,
    settings: UpscaleSettings | None = None,
    *,
    in_nc: int = 3,
    device: torch.device | str = "cpu",
    on_result: OnResult | None = None,
    say: Say = tqdm.write,
    progress: bool = True,
) -> Report:
    """Every image of ``inputs`` (files and folders with their sub-folders) through ``network`` into ``output``.

    Args:
        network: takes (B, in_nc, H, W) in [0, 1]; it is moved to ``device`` and switched to evaluation.
        inputs: files and folders.
        output: the folder for the results; sub-folders as in the inputs.
        settings: how, and under which names.
        in_nc: input channels of the network, 1 or 3.
        device: where to compute.
        on_result: is called with each job and its results once they are written.
        say: is told what the user should know: failures, smaller tiles, a change of precision.
        progress: whether to show a bar; it never shows where there is no terminal.

    Raises:
        DataError: there is nothing to read, or results would overwrite each other or an input.
        ValueError: a setting makes no sense.
    """
    settings = settings or UpscaleSettings()
    jobs = plan(inputs, output, settings)  # first, because it may refuse
    upscaler = Upscaler(network, settings, in_nc=in_nc, device=device, say=say)
    return work_through(
        jobs, lambda _, picture: {"": upscaler(picture)}, settings.skip_existing, on_result, say=say, progress=progress
    )


def plan(inputs: Sequence[Path], output: Path, settings: UpscaleSettings, tags: Sequence[str] = ("",)) -> list[Job]:
    """The jobs for the images of ``inputs``: ``<sub-folder>/<stem><suffix><tag>.<extension>`` in ``output``.

    Inputs that differ in their extension only get it into the name of their results (``a_jpg.png``, ``a_tif.png``).

    Raises:
        DataError: there is no image, or two results, or a result and an input, would be the same file.
    """
    places = _places(inputs, output)
    extensions = {source: _extension(source, settings) for source in places}
    plain = {source: _key(place.with_name(place.stem + extensions[source])) for source, place in places.items()}
    count = Counter(plain.values())
    jobs = []
    for source, place in places.items():
        stem = place.stem if count[plain[source]] == 1 else f"{place.stem}_{place.suffix[1:]}"
        names = {tag: f"{stem}{settings.suffix}{tag}{extensions[source]}" for tag in tags}
        jobs.append(Job(source, {tag: output / place.with_name(name) for tag, name in names.items()}))
    _refuse_overwriting(jobs)
    return jobs


def _places(inputs: Sequence[Path], output: Path) -> dict[Path, Path]:
    """Image files -> their places relative to the inputs they came from. Results of an earlier run are no inputs."""
    places: dict[Path, Path] = {}
    target, roots = output.resolve(), [root.expanduser() for root in inputs]
    for root, files in zip(roots, list_by_root(roots), strict=True):
        inside = target != root.resolve() and target.is_relative_to(root.resolve())
        for file in files:
            if not (inside and file.resolve().is_relative_to(target)):
                places[file] = Path(file.name) if file == root else file.relative_to(root)
    if not places:
        raise DataError(f"no image to work on: found none in {', '.join(map(str, inputs))}")
    return places


def _extension(source: Path, settings: UpscaleSettings) -> str:
    extension = source.suffix.lower() if settings.extension == "keep" else f".{settings.extension}"
    if extension == ".png" or extension not in _WRITABLE:
        return ".png"
    try:
        facts = header(source)
    except UnreadableImage:
        return extension  # there will be no result
    fits = (facts.bits == 8 or extension in _DEEP) and (not facts.alpha or extension in _CLEAR)
    return extension if fits else ".png"


def _key(path: Path) -> str:
    """Equal for paths that are one file on this system."""
    return os.path.normcase(path)


def _refuse_overwriting(jobs: Sequence[Job]) -> None:
    taken = {_key(job.source.resolve()): f"is the input {job.source}" for job in jobs}
    for job in jobs:
        for target in job.targets.values():
            key = _key(target.resolve())
            if key in taken:
                raise DataError(
                    f"the result of {job.source} would be written to {target}, but that {taken[key]}. Nothing was "
                    "written: give another output folder or a suffix"
                )
            taken[key] = f"is the result of {job.source} already"


class Upscaler:
    """A network as a function from picture to picture. Gray stays gray, 16 bits stay 16 bits, transparency is kept."""

    def __init__(
        self,
        network: Network,
        settings: UpscaleSettings | None = None,
        *,
        in_nc: int = 3,
        device: torch.device | str = "cpu",
        say: Say = _LOG.info,
    ) -> None:
        """Move ``network`` to ``device`` and make it ready to run.

        Raises:
            ValueError: ``in_nc`` is neither 1 nor 3, or the overlap leaves nothing of a tile.
        """
        if in_nc not in (1, 3):
            raise ValueError(f"in_nc: images have 1 or 3 channels, but the network is said to take {in_nc}")
        self._settings = settings = settings or UpscaleSettings()
        self._in_nc, self._say = in_nc, say
        self._device = torch.device(device)
        self._network = network.eval().to(self._device)
        # Modules with 3-d convolutions have no such layout, and Module.to would raise.
        self._last = settings.channels_last and all(p.dim() < 5 for p in network.parameters())
        if self._last:
            self._network.to(memory_format=torch.channels_last)
        self.half = settings.half and self._may_halve()
        self._overflowed = False
        self.scale = network.scale
        self._tiler = Tiler(network.scale, network.multiple_of, settings.tile, settings.overlap, settings.gather, say)

    def __call__(self, picture: Picture) -> Picture:
        """The picture, ``network.scale`` times as large.

        Raises:
            DarkroomError: memory has no room for the smallest tile, or the network's output is no image.
        """
        given = picture.pixels if self._network.keeps_gray or self._in_nc > 1 else picture.as_channels(1)
        with torch.inference_mode():
            colours = self._enlarged(to_tensor(given, self._device))
            if tuple(colours.shape[:2]) not in ((1, 1), (1, 3)):
                raise DarkroomError(f"expected an image of 1 or 3 channels, the network made {tuple(colours.shape)}")
            pixels = to_pixels(colours, picture.pixels.dtype)
            del colours  # a large image's floats need not wait for its transparency
            alpha = None if picture.alpha is None else self._alpha(picture.alpha)
        return Picture(pixels=pixels, alpha=alpha)

    def _may_halve(self) -> bool:
        if self._device.type == "cuda" and self._network.half_precision:
            return True
        who = "CUDA devices" if self._network.half_precision else f"networks other than {type(self._network).__name__}"
        self._say(f"half: float16 is for {who}, so this runs in float32")
        return False

    def _enlarged(self, image: Tensor) -> Tensor:
        """(1, 1 or 3, H, W) to (1, C, s H, s W), whatever number of channels the network takes."""
        gray = image.shape[1] == 1
        if not self._network.keeps_gray:
            return self._run(image.expand(-1, self._in_nc, -1, -1))
        if self._in_nc == 1:
            result = self._run(image.transpose(0, 1))  # every channel is an image of a batch
            return result if gray else result.transpose(0, 1)
        result = self._run(image.expand(-1, self._in_nc, -1, -1))
        return result.mean(dim=1, keepdim=True) if gray else result

    def _alpha(self, alpha: np.ndarray) -> np.ndarray:
        """(H, W) to (s H, s W)."""
        scale = self._network.scale
        if alpha.min() == alpha.max():  # mostly images without transparency that have the channel nevertheless
            return np.full((alpha.shape[0] * scale, alpha.shape[1] * scale), alpha.flat[0], dtype=alpha.dtype)
        image = to_tensor(alpha[..., None], self._device)
        if self._settings.alpha == "network" and self._network.keeps_gray:
            large = self._enlarged(image).mean(dim=1, keepdim=True)
        else:
            large = F.interpolate(image, scale_factor=float(scale), mode="bicubic", align_corners=False)
        return to_pixels(large, alpha.dtype)[..., 0]

    def _run(self, image: Tensor) -> Tensor:
        """The network over (B, in_nc, H, W), with finite results."""
        image = image.contiguous(memory_format=torch.channels_last if self._last else torch.contiguous_format)
        if self.half:
            # Autocast, not .half(): the float32 weights stay for an image that overflows.
            with torch.autocast(self._device.type, dtype=torch.float16):
                result = self._pass(image)
            if _finite(result):
                return result
            if not self._overflowed:
                self._say("half: an image overflowed in float16 and is computed again in float32, as will others be")
                self._overflowed = True
        result = self._pass(image)
        if not _finite(result):
            raise DarkroomError("the network gave numbers that are not finite: are its weights damaged?")
        return result

    def _pass(self, image: Tensor) -> Tensor:
        f = partial(self._tiler, self._network)
        return eightfold(f, image) if self._settings.self_ensemble else f(image)


def to_tensor(pixels: np.ndarray, device: torch.device) -> Tensor:
    """(H, W, C) uint8 or uint16 to (1, C, H, W) float32 in [0, 1]; whole numbers cross to the device."""
    # torch knows uint16 in part only, and not on every device.
    whole = torch.tensor(pixels if pixels.dtype == np.uint8 else pixels.astype(np.int32)).to(device)
    return whole.permute(2, 0, 1).unsqueeze(0).float().div_(np.iinfo(pixels.dtype).max)


def to_pixels(image: Tensor, dtype: np.dtype[Any]) -> np.ndarray:
    """(1, C, H, W) to (H, W, C) of ``dtype`` uint8 or uint16: clipped to [0, 1] and rounded."""
    levels = image[0].permute(1, 2, 0).float().clamp(0, 1).mul_(np.iinfo(dtype).max).round_()
    whole = levels.to(torch.uint8 if dtype == np.uint8 else torch.int32)
    return whole.contiguous().cpu().numpy().astype(dtype, copy=False)


def _finite(image: Tensor) -> bool:
    """One pass without a mask of the image's size: the extremes of a tensor with a NaN are NaN."""
    low, high = image.aminmax()
    return bool(torch.isfinite(low) & torch.isfinite(high))


def work_through(
    jobs: Sequence[Job],
    work: Work,
    skip_existing: bool = False,
    on_result: OnResult | None = None,
    *,
    save: Save = write,
    threads: int = 1,
    say: Say = tqdm.write,
    progress: bool = True,
) -> Report:
    """Read the source of each job, do ``work``, and ``save`` what it returns, by tag, to the job's targets in order.

    ``threads`` read, and as many write, beside the work, which the caller's does. A file that cannot be read, computed
    or written is told, reported, and no reason to stop.

    Raises:
        KeyboardInterrupt: Ctrl-C; its message says how many are done.
    """
    there = {job.source for job in jobs if skip_existing and all(target.exists() for target in job.targets.values())}
    report = Report(skipped=[job for job in jobs if job.source in there])
    todo = [job for job in jobs if job.source not in there]
    with (
        ThreadPoolExecutor(threads, "reading") as reader,
        ThreadPoolExecutor(threads, "writing") as writer,
        tqdm(total=len(todo), unit="file", disable=None if progress else True) as bar,
    ):
        pictures = _ahead((reader.submit(read, job.source) for job in todo), threads)
        futures = (_computed(job, picture, work, save, writer) for job, picture in zip(todo, pictures, strict=True))
        try:
            for job, written in zip(todo, _ahead(futures, max(_WAITING, threads)), strict=True):
                _account(job, written, report, on_result, say)
                bar.update()
        except KeyboardInterrupt:
            done = len(report.done) + len(report.skipped)
            raise KeyboardInterrupt(f"{done} of {len(jobs)} files are done") from None
    return report


def _account(job: Job, written: Future[Results], report: Report, on_result: OnResult | None, say: Say) -> None:
    """Enter what became of the job."""
    try:
        results = written.result()
    except FAILURES as error:
        reason = reason_of(error)
        report.failed.append(Failure(job.source, reason))
        say(f"{job.source}: {reason}")
        return
    report.done.append(job)
    if on_result is not None:
        on_result(job, results)


def _ahead(items: Iterator[T], number: int) -> Iterator[T]:
    """``items``, each given only when ``number`` more have been begun."""
    begun: deque[T] = deque()
    for item in items:
        begun.append(item)
        if len(begun) > number:
            yield begun.popleft()
    yield from begun


def _computed(
    job: Job, picture: Future[Picture], work: Work, save: Save, writer: ThreadPoolExecutor
) -> Future[Results]:
    """The results of the job once they are written, or what prevented that."""
    try:
        return writer.submit(_written, job, work(job, picture.result()), save)
    except FAILURES as error:
        _LOG.debug("%s failed", job.source, exc_info=True)
        failed: Future[Results] = Future()
        failed.set_exception(error.with_traceback(None))  # its frames hold the tensors of the attempt
        return failed


def _written(job: Job, results: Results, save: Save) -> Results:
    for tag, target in job.targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        save(target, results[tag])
    return results


def reason_of(error: BaseException) -> str:
    """What a failure is called in a report."""
    if isinstance(error, UnreadableImage):
        return error.reason
    return str(error) if isinstance(error, DarkroomError) else f"{type(error).__name__}: {error}"
