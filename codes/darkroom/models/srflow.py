"""Super-resolution as a normalising flow: Lugmayr et al. 2020, https://arxiv.org/abs/2006.14200.

Training lowers the negative log-likelihood of the target given the input (equation 2 there). The encoder of the input
is frozen at first. What differs from the published code: noise of one gray level makes the target continuous, without
which the likelihood of flat regions has no bound; a sample that diverged is replaced and counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from ..core.model import MODELS, Model, network, rule
from ..core.phases import Phase
from ..core.sample import Sample

Latents = Sequence[Tensor]


class Flow(Protocol):
    """What the method asks of its network, beside being one; ``features`` are those of ``low``."""

    multiple_of: int
    scale: int

    def named_children(self) -> object:
        """As of any module."""
        ...

    def features(self, low: Tensor) -> Latents:
        """What it sees of ``low``."""
        ...

    def nll(self, image: Tensor, low: Tensor, add_noise: bool, *, features: Latents) -> Tensor:
        """(B,), bits per pixel."""
        ...

    quant: float

    def encode(self, image: Tensor, low: Tensor, add_noise: bool, noise: Tensor) -> tuple[Latents, Tensor]:
        """Latents, and the log-determinant."""
        ...

    def bits(self, z: Latents, logdet: Tensor) -> Tensor:
        """(B,) of what ``encode`` gives."""
        ...

    def origin(self, low: Tensor) -> Latents:
        """The latents of temperature 0."""
        ...

    def draw(self, low: Tensor, heat: Sequence[float], generator: torch.Generator) -> Latents:
        """Latents of other temperatures."""
        ...

    def decode(self, low: Tensor, z: Latents | None = None, *, features: Latents) -> Tensor:
        """Images."""
        ...

    def decode_safely(self, low: Tensor, z: Latents, *, features: Latents) -> tuple[Tensor, Tensor]:
        """Images, and which were replaced."""
        ...


@MODELS.register("srflow")
@dataclass(eq=False, kw_only=True)
class SRFlow(Model):
    """Batch: ``input`` (B, C, h, w), ``target`` (B, C, s*h, s*w). Gives ``nll`` (B,), and ``output`` of temperature 0.

    ``train_RRDB_delay`` is the share of the run in which the encoder is frozen. Validation writes ``n_sample`` images
    for each of ``heats``, the temperatures.
    """

    players: ClassVar = {"G": ("G",)}
    reads: ClassVar = ("input", "target")
    tiles: ClassVar = "input"

    G: Flow = network()
    train_RRDB_delay: float = 0.5  # noqa: N815  (as users know it)
    noise: bool = True
    heats: tuple[float, ...] = (0.0,)
    n_sample: int = 1
    replaced: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check what a single value cannot say."""
        if self.n_sample < 1:
            raise ValueError(f"n_sample: expected at least 1, found {self.n_sample}")
        if self.train_RRDB_delay < 0 or any(heat < 0 for heat in self.heats):
            raise ValueError("train_RRDB_delay, heats: expected 0 or more")

    @rule
    def features(self, s: Sample) -> Latents:
        """What the flow sees of the input."""
        return self.G.features(s["input"])

    @rule
    def nll(self, s: Sample) -> Tensor:
        """Bits per pixel of each target, (B,)."""
        return self.G.nll(s["target"], s["input"], self.noise, features=s["features"])

    @rule
    def output(self, s: Sample) -> Tensor:
        """The image of temperature 0, for any other loss."""
        return self.G.decode(s["input"], features=s["features"])

    def phases(self, iterations: int, losses: Mapping[str, bool]) -> Sequence[Phase]:
        """The flow alone, then the encoder too."""
        del losses
        start = min(int(self.train_RRDB_delay * iterations), iterations)
        assert isinstance(self.G, nn.Module)
        flow = tuple(f"G.{name}" for name, _ in self.G.named_children() if name != "RRDB")
        alone = [Phase(name="flow", trains=flow)] if start > 0 else []
        return [*alone, *([Phase(name="flow and encoder", start=start)] if start < iterations else [])]

    def infer(self, sample: Sample) -> dict[str, Tensor]:
        """The image of temperature 0, and ``h<heat>_<n>``: drawn with the same numbers every time."""
        low, features = sample["input"], sample["features"]
        output, replaced = self.G.decode_safely(low, self.G.origin(low), features=features)
        self.replaced += int(replaced.sum())
        images = {"output": output}
        for heat in self.heats if self.heats != (0.0,) else ():
            if heat == 0:  # no sample differs from the first image
                images |= {f"h0_{n}": output for n in range(self.n_sample)}
                continue
            z = self.G.draw(low, [heat] * self.n_sample, torch.Generator().manual_seed(0))
            samples, replaced = self.G.decode_safely(low, z, features=features)
            self.replaced += int(replaced.sum())
            images |= {f"h{heat:g}_{n}": image for n, image in enumerate(samples.split(1))}
        return images

    def figures(self, sample: Sample) -> dict[str, Tensor]:
        """``nll`` in bits per pixel, as it is trained, ``nll_dim`` per value of it, and ``latent_score``.

        The last one, of the image without noise, is the mean, over the places of all latents, of the distance of their
        mean square from 1, which it is for a normal distribution.
        """
        multiple = self.G.multiple_of
        height, width = (side // multiple * multiple for side in sample["input"].shape[-2:])
        low = sample["input"][..., :height, :width]
        target = sample["target"][..., : height * self.G.scale, : width * self.G.scale]
        noise = torch.rand(target.shape, generator=torch.Generator().manual_seed(0)).to(target) - 0.5
        z, logdet = self.G.encode(target, low, self.noise, noise / self.G.quant)
        nll = self.G.bits(z, logdet).mean()
        z, _ = self.G.encode(target, low, False, noise)
        score = torch.cat([(part.square().mean(1) - 1).abs().flatten() for part in z]).mean()
        return {"nll": nll, "nll_dim": nll / target.shape[1], "latent_score": score}

    def remarks(self) -> list[str]:
        """How many samples were replaced since the last time."""
        count, self.replaced = self.replaced, 0
        return [f"{count} samples diverged and were replaced by those of lower temperature."] if count else []
