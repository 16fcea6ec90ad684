"""Filling holes, edges first: EdgeConnect, Nazeri et al. 2019, https://arxiv.org/abs/1901.00212.

One generator completes the edges of a gray image (eq. 1), another fills the hole along them (eq. 5). Their phases are
those of the published code: the edges alone (model ``edge``), then the filling with true edges, with predicted ones, or
with either by the toss of a coin, or both generators together (model ``inpaint``).

What differs: all gradients of an iteration are those of the weights before it, which the published code meant, and its
torch did. There a joint iteration failed; here the losses of both generators are summed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from ..core.model import MODELS, Model, network, rule
from ..core.network import Network
from ..core.sample import Sample
from ..filters.edges import edge_accuracy, logged_mae, logged_psnr
from ..filters.holes import for_edges, for_filling, hidden, to_gray, within

Lead = Literal["true", "predicted", "coin"]
Judged = Sequence[Sequence[Tensor]]
"""What a discriminator gives: its maps and its logits."""


def complete_edges(generator: Network, gray: Tensor, edge: Tensor, mask: Tensor) -> Tensor:
    """Eq. 1: edges (B, 1, H, W) of the whole image, from those outside the hole."""
    image: Tensor = generator(for_edges(gray, edge * (1 - mask), mask))
    return image


@MODELS.register("edge")
@dataclass(eq=False, kw_only=True)
class EdgeModel(Model):
    """Batch: ``image`` (B, 3, H, W), ``mask`` (B, 1, H, W), 1 where it is missing, ``edge`` (B, 1, H, W).

    Gives ``output``, edges like ``edge``, and what the discriminator says: ``on_real``, ``on_fake`` (for itself),
    ``on_fooling`` (for the generator). ``threshold`` makes edges of probabilities, for precision and recall in the log.
    """

    players: ClassVar = {"D": ("D",), "G": ("G",)}
    critics: ClassVar = ("D",)
    simultaneous: ClassVar = True
    reads: ClassVar = ("image", "mask", "edge")
    images: ClassVar = ("image", "mask", "edge")
    sheet: ClassVar = (("image", "masked", "edge", "output", "merged"),)

    G: Network = network()
    D: Network = network()
    threshold: float = 0.5

    @rule
    def gray(self, s: Sample) -> Tensor:
        """The image in gray, which is what both networks see of it."""
        return to_gray(s["image"])

    @rule
    def output(self, s: Sample) -> Tensor:
        """C_pred: the edges that the generator completes."""
        return complete_edges(self.G, s["gray"], s["edge"], s["mask"])

    @rule
    def on_real(self, s: Sample) -> Judged:
        """D(C_gt, I_gray) of eq. 2."""
        return _judged(self.D, s["gray"], s["edge"])

    @rule
    def on_fake(self, s: Sample) -> Judged:
        """D(C_pred, I_gray), for D to learn from."""
        return _judged(self.D, s["gray"], s.detached("output"))

    @rule
    def on_fooling(self, s: Sample) -> Judged:
        """The same, for G to learn from."""
        return _judged(self.D, s["gray"], s["output"])

    def watch(self, sample: Sample) -> dict[str, Tensor]:
        """Precision and recall in the hole."""
        return _accuracy(sample["mask"], sample["edge"], sample.detached("output"), self.threshold)

    def infer(self, sample: Sample) -> dict[str, Tensor]:
        """The input, the output, and the output in the hole with the given edges around."""
        mask, output = sample["mask"], sample["output"]
        masked = torch.maximum(hidden(sample["gray"], mask), sample["edge"] * (1 - mask))
        return {"masked": masked, "output": output, "merged": within(mask, output, sample["edge"])}

    def figures(self, sample: Sample) -> dict[str, Tensor]:
        """As in training."""
        return self.watch(sample)


@dataclass(eq=False, kw_only=True)
class Filling(Model):
    """Abstract: what leads the filling of the hole is for a subclass to say, as ``edges``."""

    critics: ClassVar = ("D", "D_E")
    simultaneous: ClassVar = True
    reads: ClassVar = ("image", "mask", "edge")
    images: ClassVar = ("image", "mask", "edge")
    sheet: ClassVar = (("image", "masked", "edges", "output", "merged"),)

    G: Network = network()
    D: Network = network()
    E: Network = network(optional=True)

    @rule
    def gray(self, s: Sample) -> Tensor:
        """The image in gray, for the edges."""
        return to_gray(s["image"])

    @rule
    def completed(self, s: Sample) -> Tensor:
        """C_pred of eq. 1."""
        return complete_edges(self.E, s["gray"], s["edge"], s["mask"])

    @rule
    def composed(self, s: Sample) -> Tensor:
        """C_comp: completed in the hole, true around it."""
        return within(s["mask"], s["completed"], s["edge"])

    @rule
    def output(self, s: Sample) -> Tensor:
        """I_pred of eq. 5."""
        image: Tensor = self.G(for_filling(s["image"], s["edges"], s["mask"]))
        return image

    @rule
    def merged(self, s: Sample) -> Tensor:
        """The output in the hole, the image around it."""
        return within(s["mask"], s["output"], s["image"])

    @rule
    def output_hole(self, s: Sample) -> Tensor:
        """What the style of the output is taken from."""
        image: Tensor = s["output"] * s["mask"]
        return image

    @rule
    def image_hole(self, s: Sample) -> Tensor:
        """And of the image."""
        image: Tensor = s["image"] * s["mask"]
        return image

    @rule
    def on_real(self, s: Sample) -> Judged:
        """D(I_gt) of eq. 6."""
        return _judged(self.D, s["image"])

    @rule
    def on_fake(self, s: Sample) -> Judged:
        """D(I_pred), for D to learn from."""
        return _judged(self.D, s.detached("output"))

    @rule
    def on_fooling(self, s: Sample) -> Judged:
        """The same, for G to learn from."""
        return _judged(self.D, s["output"])

    def watch(self, sample: Sample) -> dict[str, Tensor]:
        """PSNR and mean absolute error of the merged image."""
        merged = within(sample["mask"], sample.detached("output"), sample["image"])
        return {"psnr": logged_psnr(sample["image"], merged), "mae": logged_mae(sample["image"], merged)}

    def shown_with(self, sample: Sample, edges: Tensor) -> dict[str, Tensor]:
        """The input, the edges, and the output and the merged image that they lead to."""
        mask, image = sample["mask"], sample["image"]
        output: Tensor = self.G(for_filling(image, edges, mask))
        merged = within(mask, output, image)
        return {"masked": hidden(image, mask), "edges": edges, "output": output, "merged": merged}


@MODELS.register("inpaint")
@dataclass(eq=False, kw_only=True)
class InpaintModel(Filling):
    """Batch: as of ``edge``. Gives ``output``, the whole image, and ``merged``, with what was given around the hole.

    ``lead`` says which edges lead the filling: the ``true`` ones (phase 2 of the training manual), those ``predicted``
    by E in the hole (phase 3), or for every batch either by the toss of a ``coin`` (both phases in one). E does not
    learn. ``output_hole`` and ``image_hole`` are what is in the hole, for a loss of style; ``on_real``, ``on_fake``
    and ``on_fooling`` are what D says.
    """

    players: ClassVar = {"D": ("D",), "G": ("G",)}

    lead: Lead = "true"

    def __post_init__(self) -> None:
        """Check what a single value cannot say."""
        if self.lead not in get_args(Lead):
            raise ValueError(f"lead: expected one of {', '.join(get_args(Lead))}, found {self.lead!r}")
        if self.lead != "true" and self.E is None:
            raise ValueError(f"lead: {self.lead} needs network_E, an edge_generator")

    @rule
    def edges(self, s: Sample) -> Tensor:
        """The edges that lead the filling."""
        is_true = self.lead == "true" or (self.lead == "coin" and bool(torch.rand(()) < 0.5))
        return s["edge"] if is_true else s.detached("composed")

    def infer(self, sample: Sample) -> dict[str, Tensor]:
        """With the predicted edges, unless only the true ones lead."""
        return self.shown_with(sample, sample["edge"] if self.lead == "true" else sample["composed"])


@MODELS.register("edge_inpaint")
@dataclass(eq=False, kw_only=True)
class JointModel(Filling):
    """As ``inpaint`` with predicted edges, but E learns too: of its own losses, and through the filling (phase 4).

    ``on_real_E``, ``on_fake_E`` and ``on_fooling_E`` are what D_E says of edges.
    """

    players: ClassVar = {"D": ("D", "D_E"), "G": ("G", "E")}

    E: Network = network()
    D_E: Network = network()
    threshold: float = 0.5

    @rule
    def edges(self, s: Sample) -> Tensor:
        """The edges that lead the filling."""
        edges: Tensor = s["composed"]
        return edges

    @rule
    def on_real_E(self, s: Sample) -> Judged:
        """What D_E says of true edges."""
        return _judged(self.D_E, s["gray"], s["edge"])

    @rule
    def on_fake_E(self, s: Sample) -> Judged:
        """What it says of completed ones, to learn from."""
        return _judged(self.D_E, s["gray"], s.detached("completed"))

    @rule
    def on_fooling_E(self, s: Sample) -> Judged:
        """The same, for E to learn from."""
        return _judged(self.D_E, s["gray"], s["completed"])

    def watch(self, sample: Sample) -> dict[str, Tensor]:
        """That of the image, and of the edges."""
        edges = _accuracy(sample["mask"], sample["edge"], sample.detached("completed"), self.threshold)
        return {**super().watch(sample), **edges}

    def infer(self, sample: Sample) -> dict[str, Tensor]:
        """With the predicted edges."""
        return self.shown_with(sample, sample["composed"])


def _judged(critic: Network, *images: Tensor) -> Judged:
    judged: Judged = critic(torch.cat(images, dim=1))
    return judged


def _accuracy(mask: Tensor, edge: Tensor, made: Tensor, threshold: float) -> dict[str, Tensor]:
    precision, recall = edge_accuracy(edge * mask, made * mask, threshold)
    return {"precision": precision, "recall": recall}
