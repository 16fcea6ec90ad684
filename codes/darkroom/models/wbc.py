"""White-box cartoonization: Wang and Yu, "Learning to Cartoonize Using White-box Cartoon Representations", CVPR 2020.

Cartoons are taken apart into what can be judged by itself (section 3 there): the surface, edges without texture, judged
by D_S; the texture, a gray image of random weights, judged by D_T; the structure, areas of one colour, to which the
output is held by what a network sees in both; the content, likewise the photograph; and total variation. Which losses
judge which representation is in the option file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ..core.model import MODELS, network, rule
from ..core.network import Network
from ..core.phases import Phase
from ..core.sample import Sample
from ..filters.gray import draw_gray_weights, to_gray
from ..filters.guided import guided_filter
from ..filters.superpixels import Algorithm, Reduction, Segmentation, Segmenter
from .translation import Translation

WARM_UP = "warm-up"
"""How the names of the losses begin that count only at first."""


@MODELS.register("wbc")
@dataclass(eq=False, kw_only=True)
class WBC(Translation):
    """Batch: photographs ``real_A`` (B, 3, H, W) and cartoons ``real_B``, of which nothing belongs together.

    Gives ``fake_B``, and of it and of ``real_B`` the surface ``fake_blur``, ``real_blur`` and the texture
    ``fake_gray``, ``real_gray`` (B, 1, H, W), further ``superpixels``, ``idt_B`` and ``raw``, the output before the
    guided filter.

    In the first ``warm_up`` iterations only the losses count whose names begin with ``warm-up``. ``filter_*`` are of
    the guided filter that lets the photograph guide the output; at validation it has the strength ``test_filter_eps``.
    ``algorithm``, ``segments``, ``reduction``, ``max_size`` and ``gammas`` (the range of a random darkening) are of
    the superpixels; without ``structure`` there are none.
    """

    players: ClassVar = {"D": ("D_T", "D_S"), "G": ("G",)}
    reads: ClassVar = ("real_A", "real_B")
    images: ClassVar = ("real_A", "real_B")
    sheet: ClassVar = (("real_A", "fake_B", "real_B"),)
    tiles: ClassVar = "real_A"

    G: Network = network()
    D_S: Network = network(optional=True)
    D_T: Network = network(optional=True)
    warm_up: int = 0
    filter_radius: int = 1
    filter_eps: float = 1e-2
    test_filter_eps: float = 5e-3
    surface_radius: int = 5
    surface_eps: float = 0.2
    structure: bool = True
    algorithm: Algorithm = "sk_felzenszwalb"
    segments: int = 200
    reduction: Reduction | None = "selective"
    max_size: int | None = None
    gammas: tuple[float, float] = (1.0, 1.2)
    segmenter: Segmenter = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check what a single value cannot say."""
        if self.warm_up < 0 or min(self.filter_eps, self.test_filter_eps, self.surface_eps) <= 0:
            raise ValueError("warm_up: expected 0 or more; filter_eps, test_filter_eps, surface_eps: more than 0")
        self.segmenter = Segmenter(self.algorithm, self.segments, self.reduction, self.max_size)

    @rule
    def raw(self, s: Sample) -> Tensor:
        """What the generator makes of the photograph."""
        image: Tensor = self.G(s["real_A"])
        return image

    @rule
    def made(self, s: Sample) -> tuple[Tensor, Segmentation | None]:
        """The output, and its superpixels, which are computed beside what comes next."""
        image = guided_filter(s["real_A"], s["raw"], self.filter_radius, self.filter_eps)
        if not self.structure:
            return image, None
        unit = (image.detach() + 1) / 2 if self.is_signed else image.detach()
        gammas = torch.empty(len(image)).uniform_(*self.gammas).tolist()
        return image, self.segmenter.start(unit, gammas)

    @rule
    def fake_B(self, s: Sample) -> Tensor:
        """The cartoon, guided by the photograph."""
        image: Tensor = s["made"][0]
        return image

    @rule
    def superpixels(self, s: Sample) -> Tensor:
        """The cartoon in areas of one colour each, the target of the structure; nothing learns through it.

        Raises:
            ValueError: ``structure`` is off.
        """
        segmentation: Segmentation | None = s["made"][1]
        if segmentation is None:
            raise ValueError("structure: is off, but a loss asks for superpixels; remove one of them")
        image: Tensor = segmentation.result()
        return image * 2 - 1 if self.is_signed else image

    @rule
    def fake_blur(self, s: Sample) -> Tensor:
        """F_dgf(I, I), of the output."""
        return guided_filter(s["fake_B"], s["fake_B"], self.surface_radius, self.surface_eps)

    @rule
    def real_blur(self, s: Sample) -> Tensor:
        """And of the cartoons."""
        return guided_filter(s["real_B"], s["real_B"], self.surface_radius, self.surface_eps)

    @rule
    def gray_weights(self, s: Sample) -> Tensor:
        """Those of red, green and blue, the same for all images."""
        return draw_gray_weights(device=s["real_B"].device)

    @rule
    def fake_gray(self, s: Sample) -> Tensor:
        """F_rcs, of the output."""
        return to_gray(s["fake_B"], s["gray_weights"])

    @rule
    def real_gray(self, s: Sample) -> Tensor:
        """And of the cartoons."""
        return to_gray(s["real_B"], s["gray_weights"])

    @rule
    def idt_B(self, s: Sample) -> Tensor:
        """What the generator makes of what is a cartoon already."""
        image: Tensor = self.G(s["real_B"])
        return image

    def phases(self, iterations: int, losses: Mapping[str, bool]) -> Sequence[Phase]:
        """Staying what it is, then cartoons (section 4.1), unless the run ends before."""
        first = tuple(name for name in losses if name.startswith(WARM_UP))
        if not self.warm_up:
            return ()
        if not first:
            entry = f"{{name: {WARM_UP}-l1, type: l1, of: raw, to: real_A}}"
            raise ValueError(f"warm_up: there is no loss for it, whose name begins with {WARM_UP}, such as {entry}")
        rest = tuple(name for name in losses if name not in first)
        phases = [Phase(name=WARM_UP, players=("G",), losses=first)]
        return [*phases, *([Phase(name="cartoons", start=self.warm_up, losses=rest)] * (self.warm_up < iterations))]

    def infer(self, sample: Sample) -> dict[str, Tensor]:
        """The cartoon, with the filter's strength at test."""
        return {"fake_B": guided_filter(sample["real_A"], sample["raw"], self.filter_radius, self.test_filter_eps)}
