"""EdgeConnect as functions of pictures: edges of a picture with a hole, and the picture without it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.network import Network
from ..filters.canny import canny, gray
from ..filters.holes import for_edges, for_filling

Array = np.ndarray[Any, np.dtype[Any]]


class Inpainter:
    """Both generators, ready to run.

    Pictures are (H, W, 3) uint8, RGB; holes (H, W) bool, true where something is missing; edges (H, W) uint8, 0 to 255.
    """

    def __init__(self, edge: Network | None, inpaint: Network | None, device: torch.device | str = "cpu") -> None:
        """Move the networks to the device; without one of them, what needs it cannot be done."""
        self._device = torch.device(device)
        self._edge, self._inpaint = (n if n is None else n.eval().to(self._device) for n in (edge, inpaint))

    def edges(self, image: Array, hole: Array, known: Array | None = None, sigma: float = 2.0) -> Array:
        """What the edge generator makes of the whole picture; ``known`` edges in the hole, if any, are kept."""
        made = self.completed(image, hole, sigma, known)
        out = (made * 255).astype(np.uint8)
        return out if known is None else np.where(hole & (known > 0), 255, out).astype(np.uint8)

    def completed(self, image: Array, hole: Array, sigma: float = 2.0, known: Array | None = None) -> Array:
        """The same as probabilities, (H, W) float32; around the hole it is given what Canny finds with ``sigma``.

        As in the published test, ``known`` lines in the hole are lines that the generator is given.
        """
        _check(image, hole)
        mask, lines = _plane(hole), _plane(outlines(image, hole, sigma))
        if known is not None:
            lines = torch.maximum(lines, _plane(hole & (known > 0)))
        given = for_edges(_plane(gray(image)), lines, mask)
        with torch.inference_mode():
            made = self._run(self._edge, given.to(self._device))
        probabilities: Array = made[0, 0].clamp(0, 1).float().cpu().numpy()
        return probabilities

    def fill(self, image: Array, hole: Array, edges: Array) -> Array:
        """The picture with the hole filled along the ``edges``; around the hole it is as it was, bit for bit.

        ``edges`` may be (H, W) uint8, or float32 in [0, 1].
        """
        _check(image, hole)
        mask = _plane(hole)
        picture = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255
        lines = _plane(edges / np.float32(255) if edges.dtype == np.uint8 else edges)
        with torch.inference_mode():
            made = self._run(self._inpaint, for_filling(picture, lines, mask).to(self._device))
        filled = (made[0].clamp(0, 1) * 255).byte().permute(1, 2, 0).cpu().numpy()  # cut down, as the original
        return np.where(hole[:, :, None], filled, image)

    def _run(self, network: Network | None, x: Tensor) -> Tensor:
        """The network, whose output is made as large as ``x`` by repeating its last row and column."""
        assert network is not None, "it was made without this network"
        made: Tensor = network(x)
        missing = [large - small for large, small in zip(x.shape[-2:], made.shape[-2:], strict=True)]
        return F.pad(made, (0, missing[1], 0, missing[0]), mode="replicate") if any(missing) else made


def outlines(image: Array, hole: Array, sigma: float) -> Array:
    """(H, W) bool: the edges around the hole that Canny finds with ``sigma``; none for -1."""
    return np.zeros(hole.shape, np.bool_) if sigma < 0 else canny(gray(image), sigma, ~hole)


def _plane(values: Array) -> Tensor:
    """(H, W) -> (1, 1, H, W), float32."""
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))[None, None]


def _check(image: Array, hole: Array) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or hole.shape != image.shape[:2] or hole.dtype != np.bool_:
        raise ValueError(f"expected (H, W, 3) and a bool (H, W), found {image.shape} and {hole.dtype} {hole.shape}")
