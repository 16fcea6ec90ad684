"""The history of fakes of Shrivastava et al. 2017, https://arxiv.org/abs/1612.07828, section 2.3, as CycleGAN has it.

What differs: it is part of the training state, no device waits for the host, and processes that train together have one
pool in common, as one process with all their images has.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..core.collective import gather_over_processes, rank
from ..core.errors import DataError


class ImagePool(nn.Module):
    """Returns, for each fake, itself or (half of the time, once it is full) an older one, which the fake replaces."""

    kept: Tensor

    def __init__(self, size: int, seed: int = 0) -> None:
        """``size`` is how many images it keeps; 0 keeps none. Its random numbers follow from ``seed``.

        Raises:
            ValueError: it is negative.
        """
        super().__init__()
        if size < 0:
            raise ValueError(f"size: expected at least 0, found {size}")
        self.size, self.seed, self.seen = size, seed, 0
        self.register_buffer("kept", torch.empty(0))

    @torch.no_grad()
    def forward(self, fakes: Tensor) -> Tensor:
        """As many images as ``fakes`` (B, C, H, W), without graph.

        Raises:
            DataError: the images are of another size than those that are kept.
        """
        if self.size == 0:
            return fakes.detach()
        self._fit(fakes)
        everyones = gather_over_processes(fakes.detach())
        mine = slice(rank() * len(fakes), (rank() + 1) * len(fakes))
        return self._exchanged(everyones)[mine]

    def _exchanged(self, fakes: Tensor) -> Tensor:
        count = len(self.kept)
        given, held = self._draw(count, len(fakes))
        out = fakes[[row if image < count else image - count for row, image in enumerate(given)]]
        old = {row: image for row, image in enumerate(given) if image < count}
        if old:
            out[list(old)] = self.kept[list(old.values())].to(out)
        replaced = {slot: image - count for slot, image in enumerate(held[:count]) if image >= count}
        if replaced:
            self.kept[list(replaced)] = fakes[list(replaced.values())].to(self.kept)
        if len(held) > count:
            self.kept = torch.cat([self.kept, fakes[[image - count for image in held[count:]]].to(self.kept)])
        return out

    def _draw(self, count: int, fakes: int) -> tuple[list[int], list[int]]:
        """Which image each fake turns into, and which images the pool holds afterwards.

        Numbers below ``count`` are images that the pool holds now, those from it on are the fakes in order: a fake that
        enters the pool may leave it again with the same batch.
        """
        generator = torch.Generator().manual_seed((self.seed << 32) + self.seen)
        self.seen += fakes
        swaps = (torch.rand(fakes, generator=generator) > 0.5).tolist()
        slots = torch.randint(self.size, (fakes,), generator=generator).tolist()
        held = list(range(count))
        given = []
        for image, (swap, slot) in enumerate(zip(swaps, slots, strict=True), start=count):
            if len(held) < self.size:
                held.append(image)
                given.append(image)
            elif swap:
                given.append(held[slot])
                held[slot] = image
            else:
                given.append(image)
        return given, held

    def _fit(self, fakes: Tensor) -> None:
        if not len(self.kept):
            self.kept = fakes.new_empty((0, *fakes.shape[1:]), dtype=torch.promote_types(fakes.dtype, torch.float32))
        elif self.kept.shape[1:] != fakes.shape[1:]:
            raise DataError(
                f"the image pool keeps images of {tuple(self.kept.shape[1:])} and was given {tuple(fakes.shape[1:])}: "
                "train on crops of one size, or without a pool (pool_size: 0)"
            )
        elif self.kept.device != fakes.device:
            self.kept = self.kept.to(fakes.device)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        saved = state_dict.get(prefix + "kept")
        if saved is not None:  # its length is part of the state
            self.kept = torch.empty_like(saved, device=self.kept.device)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def get_extra_state(self) -> dict[str, int]:
        """How many images it has seen, on which the next random numbers depend."""
        return {"seen": self.seen}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Go on after so many images."""
        self.seen = state["seen"]
