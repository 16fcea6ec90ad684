"""Take frames out of videos as PNG files, alone or as pairs of a high and a low resolution."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from ..core.errors import DataError
from ..data.folders import some
from ..data.images import Picture, write
from ..filters.resize import find_kernel
from ..inference.folder import Job
from .align import fitting_scale
from .downscale import resized
from .subimages import piece
from .work import Failure, Journal, Report, Workers, apart, stamp

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameSettings:
    """Which frames are taken, and what is made of them."""

    every: int = 1
    """Each so many-th frame."""
    start: float = 0.0
    """In seconds."""
    end: float | None = None
    """In seconds; None: to the end."""
    min_change: float = 0.0
    """Frames that differ by less from the one taken before are left out: mean difference in levels of 255."""
    scale: int | None = None
    """Frames are downscaled by this as well, unless there is a second video."""
    kernel: str = "cubic"

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense."""
        if self.every < 1 or not 0 <= self.start < math.inf or self.min_change < 0 or (self.scale or 2) < 2:
            raise ValueError("expected every from 1 on, start and min_change from 0 on, and a scale from 2 on")
        if self.end is not None and not self.start < self.end < math.inf:
            raise ValueError(f"expected an end after the start {self.start}, found {self.end}")
        find_kernel(self.kernel)


def frames(
    videos: Sequence[Path],
    output: Path,
    settings: FrameSettings | None = None,
    low: Sequence[Path] = (),
    workers: Workers | None = None,
) -> Report:
    """Write frames of each video as ``HR/<name of the video>/<number of the frame>.png``, counted from 0.

    ``low`` are the same videos in a lower resolution, one for each: their frames of the same numbers are written below
    ``LR``. With a ``scale`` instead, LR frames are made, and HR frames cut to multiples of it.

    Raises:
        DataError: a video is not there, two have the same name, or the output is not apart from them, of other
            settings, or has frames of another video of the same name.
        ValueError: there are not as many ``low`` as videos, or a scale with them.
    """
    settings, workers = settings or FrameSettings(), workers or Workers()
    if low and (len(low) != len(videos) or settings.scale is not None):
        raise ValueError(f"low: expected a video for each of the {len(videos)}, and no scale, found {len(low)}")
    _check([*videos, *low], videos, output)
    journal = Journal(output, "frames", asdict(settings))
    journal.refuse_others((video, output / part / video.stem) for video in videos for part in ("HR", "LR"))
    report = Report()
    for number, video in enumerate(videos):
        files = (video, *low[number : number + 1])
        if journal.written(files):
            report.skipped.append(Job(video, {}))
            continue
        failure = _extract(files, output, settings, journal, workers)
        if failure is None:
            report.done.append(Job(video, {}))
        else:
            report.failed.append(failure)
    return report


def _check(files: Sequence[Path], videos: Sequence[Path], output: Path) -> None:
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise DataError(f"there is no {some(missing)}")
    twice = [name for name, count in Counter(video.stem for video in videos).items() if count > 1]
    if twice:
        raise DataError(f"several videos are called {some(twice)}: their frames would get the same names")
    apart(files, [output])


def _extract(
    files: tuple[Path, ...], output: Path, settings: FrameSettings, journal: Journal, workers: Workers
) -> Failure | None:
    """Write the frames of one video; why that failed, if it did."""
    video, stamps = files[0], stamp(files)
    trusted = journal.known(files) is not None  # what is there is of this video, as it is now
    journal.begin(stamps)
    written: list[Path] = []

    def keep(frame: _Frame) -> list[Path]:
        folders = ("HR", "LR") if len(frame.images) > 1 or settings.scale else ("HR",)
        targets = [output / folder / video.stem / f"{frame.number:06d}.png" for folder in folders]
        if not trusted or not all(target.exists() for target in targets):
            for target, picture in zip(targets, _pictures(frame.images, settings), strict=True):
                target.parent.mkdir(parents=True, exist_ok=True)
                write(target, picture)
        return targets

    try:
        with closing(_Reader(files, settings)) as reader:
            failure = None
            for _, outcome in workers.over(reader.frames(), keep, lambda _: video, "frame", reader.expected):
                if isinstance(outcome, Failure):
                    failure = outcome
                else:
                    written += outcome
    except DataError as error:
        return Failure(video, str(error))
    if failure is None and not reader.fault and not written:
        return Failure(video, "it has no frame between start and end")
    if failure is None and not reader.fault:
        journal.wrote(stamps, written)
        return None
    return failure or Failure(video, reader.fault)


def _pictures(images: Sequence[Array], settings: FrameSettings) -> list[Picture]:
    """What is to be written of a frame, and of that of the second video, if there is one; both BGR."""
    own = [Picture(np.ascontiguousarray(image[:, :, ::-1])) for image in images]
    scale = settings.scale
    if scale is None:
        return own
    height, width = (side // scale for side in own[0].size)
    if not height or not width:
        raise DataError(f"it is {own[0].size[1]}x{own[0].size[0]}, smaller than a pixel at scale {scale}")
    whole = piece(own[0], 0, 0, height * scale, width * scale)
    return [whole, resized(whole, (height, width), settings.kernel)]


class _Frame(NamedTuple):
    number: int
    images: list[Array]
    """(H, W, 3) BGR of each video."""


class _Reader:
    """The frames that are wanted of a video, or of two in step. OpenCV turns them upright."""

    def __init__(self, files: Sequence[Path], settings: FrameSettings) -> None:
        self._settings = settings
        self._videos = [cv2.VideoCapture(str(file)) for file in files]
        shut = [file for file, video in zip(files, self._videos, strict=True) if not video.isOpened()]
        if shut:
            self.close()
            raise DataError(f"{some(shut)} cannot be read as a video")
        rate, self._declared = (self._videos[0].get(p) for p in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT))
        rate = rate if rate > 0 else 0.0  # it may be none, or no number
        if not rate and (settings.start or settings.end is not None):
            raise DataError("it does not say how many frames it has in a second; leave start and end away")
        self._first = round(settings.start * rate)
        self._last = None if settings.end is None else round(settings.end * rate)
        count = min(self._declared, self._declared if self._last is None else self._last) - self._first
        self.expected = max(-(-int(count) // settings.every), 0) if self._declared > 0 else None
        """How many frames are likely to be wanted, for the bar."""
        self.fault = ""
        """What was wrong with the videos, once all frames were given."""

    def close(self) -> None:
        """Let go of the files."""
        for video in self._videos:
            video.release()

    def frames(self) -> Iterator[_Frame]:
        """Those that are wanted, in order."""
        before: Array | None = None
        number = 0
        while self._last is None or number < self._last:
            if not all(grabbed := [video.grab() for video in self._videos]):
                self.fault = self._ending(number, grabbed)
                return
            if number >= self._first and (number - self._first) % self._settings.every == 0:
                images = [image for _, image in (video.retrieve() for video in self._videos)]
                if not self._fit(number, images):
                    return
                small = cv2.resize(images[0], (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32)
                if before is None or np.abs(small - before).mean() >= self._settings.min_change:
                    before = small
                    yield _Frame(number, images)
            number += 1

    def _fit(self, number: int, images: Sequence[Array | None]) -> bool:
        sizes = [side for image in images if image is not None for side in image.shape[:2]]
        if len(sizes) < 2 * len(images):
            self.fault = f"frame {number} cannot be decoded"
        elif len(images) > 1 and fitting_scale(*sizes) is None:
            self.fault = (
                f"it is {sizes[1]}x{sizes[0]}, its second video {sizes[3]}x{sizes[2]}: expected a whole multiple"
            )
        return not self.fault

    def _ending(self, number: int, grabbed: Sequence[bool]) -> str:
        if any(grabbed):
            first, second = ("ends", "goes on") if grabbed[1] else ("goes on", "ends")
            return f"it {first} after {number} frames, its second video {second}: expected two of the same length"
        if number == 0:
            return "it has no frame that can be decoded"
        # what a file declares may be an estimate
        if self._declared > number + max(2, self._declared / 50):
            return f"it ends after {number} of {self._declared:.0f} frames: is it damaged?"
        return ""
