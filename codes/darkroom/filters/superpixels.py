"""Images of few flat colours: the structure representation of white-box cartoonization.

Wang and Yu, "Learning to Cartoonize Using White-Box Cartoon Representations", CVPR 2020, section 3.2: an image is cut
into segments, alike ones are merged (``merging``), and each is painted with one colour. Segments: Felzenszwalb and
Huttenlocher, IJCV 2004; SLIC, Achanta et al., IEEE TPAMI 2012; SEEDS, Van den Bergh et al., ECCV 2012. Parameters are
traiNNer's. What differs: scikit-image's SLIC is given RGB, not an image that is in Lab already; a deviation of exactly
20 or 40 takes the mixed colour, not the one of the segment before.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal, get_args

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .merging import level_counts, merge_alike

Algorithm = Literal["sk_felzenszwalb", "sk_slic", "slic", "slico", "mslic", "seeds"]
Reduction = Literal["selective", "cluster", "rag"]
Colours = Literal["mix", "mean", "median"]
Image = NDArray[np.uint8]
Labels = NDArray[np.int64]
Palette = NDArray[np.float64]

_RAG_THRESHOLD = 35
"""Segments whose mean colours are nearer to each other than this become one."""


def superpixels(
    image: Image,
    algorithm: Algorithm = "sk_felzenszwalb",
    segments: int = 200,
    reduction: Reduction | None = "selective",
    max_size: int | None = None,
    colours: Colours = "mix",
) -> Image:
    """``image`` (H, W, 3), RGB, uint8, cut into segments that have one colour each.

    Where there are more than ``segments``, the ``reduction`` makes them fewer: ``selective`` merges those alike in
    texture and near to each other, ``cluster`` has only so many colours, ``rag`` merges neighbours of like colour. What
    is larger than ``max_size`` is made smaller first, and the result is enlarged.

    Raises:
        ValueError: an option cannot be, OpenCV lacks the algorithm, or this is no such image.
    """
    check(algorithm, segments, reduction, max_size, colours)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"expected an RGB image (H, W, 3) of uint8, found {image.shape} of {image.dtype}")
    height, width = image.shape[:2]
    scale = 1.0 if max_size is None else max_size / max(height, width)
    if scale < 1:
        image = cv2.resize(image, (max(int(width * scale), 1), max(int(height * scale), 1)))
    painted = _painted(image, segment(image, algorithm, segments), segments, reduction, colours)
    return cv2.resize(painted, (width, height)) if scale < 1 else painted


def segment(image: Image, algorithm: Algorithm, segments: int) -> Labels:
    """(H, W): which segment each pixel of ``image`` (H, W, 3), RGB, belongs to, counted from 0.

    The algorithms take ``segments`` as a wish, Felzenszwalb's not even that.
    """
    if algorithm == "sk_felzenszwalb":
        from skimage.segmentation import felzenszwalb

        lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
        found = felzenszwalb(lab, scale=10, sigma=0.8, min_size=sum(image.shape[:2]) // 5)
    elif algorithm == "sk_slic":
        from skimage.segmentation import slic

        found = slic(image, n_segments=segments, compactness=10, max_num_iter=10, sigma=1, start_label=0)
    else:
        found = _opencv_segments(image, algorithm, segments)
    used = np.bincount(found.ravel()) > 0
    return (np.cumsum(used) - 1)[found]


def segment_colours(image: Image, labels: Labels, colours: Colours = "mix") -> Palette:
    """(S, 3): a colour for each segment, from 0 to 255.

    ``mix`` is the adaptive colouring of section 3.2: the mean of a flat segment, the median of one with contrast, and
    between them half of each.
    """
    counts = level_counts(image, labels)
    levels = np.arange(256)
    size = counts[0].sum(axis=1)
    mean = (counts @ levels / size).T
    if colours == "mean":
        return mean
    below = counts.cumsum(axis=2)
    middle = [(below <= place[:, None]).sum(axis=2) for place in ((size - 1) // 2, size // 2)]
    median = (middle[0] + middle[1]).T / 2
    if colours == "median":
        return median
    total = counts.sum(axis=0)  # the deviation is that of all values of the three channels
    variance = total @ levels**2 / (3 * size) - (total @ levels / (3 * size)) ** 2
    share = np.where(variance < 20**2, 0, np.where(variance > 40**2, 1, 0.5))[:, None]
    return (1 - share) * mean + share * median


def darken(image: Image, gamma: float) -> Image:
    """255 (x / 255) ** ``gamma``, rounded down."""
    table = (255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    return table[image]


def draw_gammas(
    count: int, percent: tuple[int, int] = (100, 120), generator: torch.Generator | None = None
) -> list[float]:
    """An exponent for each of ``count`` images, uniformly from hundredths in the range ``percent``, ends included."""
    low, high = percent
    return [number / 100 for number in torch.randint(low, high + 1, (count,), generator=generator).tolist()]


class Segmentation:
    """The superpixels of a batch, computed in the background."""

    def __init__(self, pixels: Tensor, like: Tensor, work: Sequence[Future[None]]) -> None:
        """``pixels`` (B, H, W, 3) is where the ``work`` writes; the result is to be ``like`` that tensor."""
        self._pixels, self._work, self._device = pixels, work, like.device
        self._dtype = torch.promote_types(like.dtype, torch.float32)

    def result(self) -> Tensor:
        """(B, 3, H, W) in [0, 1] on the device of the images; waits until it is there.

        Raises:
            Exception: what went wrong with an image.
        """
        for image in self._work:
            image.result()
        pixels = self._pixels.to(self._device, non_blocking=True)
        return pixels.permute(0, 3, 1, 2).contiguous().to(self._dtype) / 255


class Segmenter:
    """Computes ``superpixels`` of batches in threads, while the caller and its device go on.

    In threads, not processes: scikit-image and numpy let go of the interpreter in nearly all of the time, so that two
    threads are twice as fast as one and slow other Python code no more than processes do (benchmarks/superpixels.py),
    which would import torch each, and need a guard around the main module on Windows.
    """

    def __init__(
        self,
        algorithm: Algorithm = "sk_felzenszwalb",
        segments: int = 200,
        reduction: Reduction | None = "selective",
        max_size: int | None = None,
        colours: Colours = "mix",
        threads: int | None = None,
    ) -> None:
        """``threads`` are by default as many as there are processors; see ``superpixels`` for the rest.

        Raises:
            ValueError: an option cannot be, or OpenCV lacks the algorithm.
        """
        check(algorithm, segments, reduction, max_size, colours)
        if threads is not None and threads < 1:
            raise ValueError(f"threads: expected 1 or more, found {threads}")
        self.algorithm, self.segments, self.reduction = algorithm, segments, reduction
        self.max_size, self.colours, self.threads = max_size, colours, threads
        self._pool: ThreadPoolExecutor | None = None

    def start(self, images: Tensor, gammas: Sequence[float]) -> Segmentation:
        """Begin with ``images`` (B, 3, H, W) in [0, 1], RGB, each to be darkened by its own of the ``gammas``.

        On CUDA nothing waits here: the threads wait for the images to arrive in host memory.

        Raises:
            ValueError: the shapes do not fit.
        """
        if images.ndim != 4 or images.shape[1] != 3 or len(gammas) != len(images):
            raise ValueError(
                f"expected RGB images (B, 3, H, W) and a gamma for each, found {tuple(images.shape)} "
                f"and {len(gammas)} gammas"
            )
        levels = (images.detach() * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
        arrived = None
        if images.device.type == "cuda":
            pixels = torch.empty(levels.shape, dtype=torch.uint8, pin_memory=True).copy_(levels, non_blocking=True)
            arrived = torch.cuda.Event(blocking=True)  # a waiting thread sleeps
            arrived.record(torch.cuda.current_stream(images.device))
        else:
            pixels = levels.cpu()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads or os.cpu_count(), "superpixels")
        work = [
            self._pool.submit(self._work, image, gamma, arrived)
            for image, gamma in zip(pixels.numpy(), gammas, strict=True)
        ]
        return Segmentation(pixels, images, work)

    def _work(self, image: Image, gamma: float, arrived: torch.cuda.Event | None) -> None:
        """Replace ``image`` by its superpixels, once it is there."""
        if arrived is not None:
            arrived.synchronize()
        found = superpixels(image, self.algorithm, self.segments, self.reduction, self.max_size, self.colours)
        image[...] = darken(found, gamma)

    def __getstate__(self) -> dict[str, Any]:
        """Without the threads: a copy starts its own."""
        return {**vars(self), "_pool": None}


def check(algorithm: str, segments: int, reduction: str | None, max_size: int | None, colours: str) -> None:
    """Refuse what ``superpixels`` cannot do.

    Raises:
        ValueError: an option cannot be, or OpenCV lacks the algorithm.
    """
    for name, value, known in (
        ("algorithm", algorithm, get_args(Algorithm)),
        ("reduction", reduction, (*get_args(Reduction), None)),
        ("colours", colours, get_args(Colours)),
    ):
        if value not in known:
            raise ValueError(f"{name}: expected one of {', '.join(map(str, known))}, found {value!r}")
    for name, size in (("segments", segments), ("max_size", max_size)):
        if size is not None and size < 1:
            raise ValueError(f"{name}: expected 1 or more, found {size}")
    if not algorithm.startswith("sk_"):
        _ximgproc(algorithm)


def _painted(image: Image, labels: Labels, segments: int, reduction: Reduction | None, colours: Colours) -> Image:
    palette = segment_colours(image, labels, colours)
    if len(palette) > segments and reduction == "cluster":
        palette = _fewer_colours(palette, segments)
    elif len(palette) > segments and reduction is not None:
        if reduction == "rag":
            labels = _alike_neighbours(image, labels)
        else:
            flat = palette.astype(np.uint8)[labels]
            labels = merge_alike(cv2.cvtColor(flat, cv2.COLOR_RGB2LAB), labels, segments)
        palette = segment_colours(image, labels, colours)
    return palette.astype(np.uint8)[labels]


def _fewer_colours(palette: Palette, count: int) -> Palette:
    """The colours, each replaced by the nearest of ``count`` means; k-means from groups of equal brightness.

    It starts from given groups because OpenCV's random numbers would depend on the thread.
    """
    rank = palette.sum(axis=1).argsort(kind="stable").argsort(kind="stable")
    groups = (rank * count // len(palette)).astype(np.int32)[:, None]
    criteria = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 10, 1.0)
    points = palette.astype(np.float32)
    _, groups, centres = cv2.kmeans(points, count, groups, criteria, 1, cv2.KMEANS_USE_INITIAL_LABELS)
    return np.float64(centres)[groups[:, 0]]


def _alike_neighbours(image: Image, labels: Labels) -> Labels:
    """The labels after the neighbours nearest in mean colour were merged, again and again, up to a threshold."""
    from skimage.graph import merge_hierarchical, rag_mean_color

    def join(graph: Any, source: int, target: int) -> None:
        gone, kept = graph.nodes[source], graph.nodes[target]
        for total in ("total color", "pixel count"):
            kept[total] += gone[total]
        kept["mean color"] = kept["total color"] / kept["pixel count"]

    def distance(graph: Any, source: int, target: int, neighbour: int) -> dict[str, float]:
        del source
        difference = graph.nodes[target]["mean color"] - graph.nodes[neighbour]["mean color"]
        return {"weight": float(np.linalg.norm(difference))}

    merged: Labels = merge_hierarchical(
        labels,
        rag_mean_color(image, labels),
        thresh=_RAG_THRESHOLD,
        rag_copy=False,
        in_place_merge=True,
        merge_func=join,
        weight_func=distance,
    )
    return merged


def _opencv_segments(image: Image, algorithm: str, segments: int) -> Labels:
    """As traiNNer: of the blurred image in hue, saturation and value."""
    ximgproc = _ximgproc(algorithm)
    blurred = cv2.cvtColor(cv2.GaussianBlur(image, (0, 0), 3), cv2.COLOR_RGB2HSV)
    height, width = image.shape[:2]
    if algorithm == "seeds":
        cutter = ximgproc.createSuperpixelSEEDS(width, height, 3, segments, 4, 2, 5)  # levels, prior, bins
        cutter.iterate(blurred, 10)
    else:
        kind = {"slic": ximgproc.SLIC, "slico": ximgproc.SLICO, "mslic": ximgproc.MSLIC}[algorithm]
        cutter = ximgproc.createSuperpixelSLIC(blurred, kind, max(int((height * width / segments) ** 0.5), 1), 10.0)
        cutter.iterate(10)
    labels: Labels = cutter.getLabels()
    return labels


def _ximgproc(algorithm: str) -> Any:
    ximgproc = getattr(cv2, "ximgproc", None)
    if ximgproc is None:
        raise ValueError(
            f"algorithm {algorithm!r} is in OpenCV's contributed modules, which the installed OpenCV lacks: choose "
            "sk_felzenszwalb or sk_slic, or install opencv-contrib-python-headless in place of opencv-python-headless"
        )
    return ximgproc
