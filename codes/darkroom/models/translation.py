"""What the methods of image-to-image translation have in common: the range of their images."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.model import Model
from ..core.network import Network


@dataclass(eq=False, kw_only=True)
class Translation(Model):
    """Abstract. ``signed``: whether networks and losses see images in [-1, 1]. Default: what the generator makes."""

    signed: bool | None = None

    @property
    def is_signed(self) -> bool:
        """See ``Model``."""
        first = next(iter(self.networks.values()))
        return first.signed if self.signed is None and isinstance(first, Network) else bool(self.signed)
