"""Networks around a network."""

from __future__ import annotations

from torch import Tensor

from ..core.network import Network
from ..filters.consistency import Kernel, enforce


class Consistent(Network):
    """What ``network`` makes of an image, made consistent: reduced to the size of the image, it is the image.

    Consistency enforcing (CEM), Bahat and Michaeli 2020, https://arxiv.org/abs/1911.10923.
    """

    def __init__(self, network: Network, kernel: Kernel = "cubic") -> None:
        super().__init__()
        self.net, self.kernel, self.scale = network, kernel, network.scale
        self.multiple_of = network.multiple_of  # type: ignore[misc]  # as the network's own
        self.half_precision = network.half_precision  # type: ignore[misc]

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, scale*H, scale*W)."""
        return enforce(self.net(x), x, self.scale, self.kernel)
