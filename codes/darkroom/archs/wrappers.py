"""Networks around a network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..core.network import Network
from ..filters.consistency import Kernel, enforce
from ..filters.guided import guided_filter
from ..filters.resize import resize


class Wrapper(Network):
    """Abstract: a network around ``net``, whose facts are its own."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.net, self.scale = network, network.scale
        self.multiple_of = network.multiple_of  # type: ignore[misc]  # known per network, not per class
        self.half_precision = network.half_precision  # type: ignore[misc]
        self.keeps_gray = network.keeps_gray  # type: ignore[misc]


class OneImage(Wrapper):
    """One of the images that ``network`` makes, by its name.

    Raises:
        ValueError: it makes no such image.
    """

    def __init__(self, network: Network, name: str) -> None:
        super().__init__(network)
        if name not in network.image_names:
            raise ValueError(f"expected the image to be {' or '.join(network.image_names)}, found {name!r}")
        self.index = network.image_names.index(name)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, scale*H, scale*W)."""
        return self.net.images(x, self.index + 1)[self.index]


class Drawn(Wrapper):
    """An image of temperature ``heat``, of a network that can draw one; the same for the same ``seed``."""

    def __init__(self, network: Network, heat: float, seed: int) -> None:
        super().__init__(network)
        self.heat, self.seed = heat, seed
        self.replaced = 0

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, scale*H, scale*W); ``replaced`` counts the images that diverged."""
        image, replaced = self.net.sample(x, self.heat, torch.Generator().manual_seed(self.seed))
        self.replaced += int(replaced.sum())
        return image


class WithMaps(Wrapper):
    """A network that reads maps of what is where, with the network that makes them of the enlarged image."""

    def __init__(self, network: Network, segmentation: Network) -> None:
        super().__init__(network)
        self.segmentation = segmentation
        self.half_precision = False  # type: ignore[misc]  # nobody has tried the segmentation in it

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, scale*H, scale*W)."""
        return self.net(x, self.segmentation(resize(x, float(self.scale)).clamp(0, 1)))


class Consistent(Wrapper):
    """What ``network`` makes of an image, made consistent: reduced to the size of the image, it is the image.

    Consistency enforcing (CEM), Bahat and Michaeli 2020, https://arxiv.org/abs/1911.10923.
    """

    def __init__(self, network: Network, kernel: Kernel = "cubic") -> None:
        super().__init__(network)
        self.kernel = kernel

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, scale*H, scale*W)."""
        return enforce(self.net(x), x, self.scale, self.kernel)


class Unsigned(Wrapper):
    """A network that works in [-1, 1], for images in [0, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', scale*H, scale*W)."""
        image: Tensor = self.net(x * 2 - 1)
        return (image + 1) / 2


class Guided(Wrapper):
    """What ``network`` makes of an image, its edges guided by the image; ``eps`` is how smooth it becomes between them.

    White-box cartoonization, Wang and Yu 2020, section 3.4.
    """

    def __init__(self, network: Network, radius: int, eps: float) -> None:
        super().__init__(network)
        self.radius, self.eps = radius, eps

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return guided_filter(x, self.net(x), self.radius, self.eps)


class Lively(Wrapper):
    """A network some of whose layers stay in training mode: dropout, drawn from ``seed``, or batch norms."""

    def __init__(self, network: Network, seed: int, *, dropout: bool, batch_statistics: bool) -> None:
        super().__init__(network)
        self.seed = seed
        self.kinds = (nn.Dropout,) * dropout + (nn.BatchNorm2d,) * batch_statistics

    def train(self, mode: bool = True) -> Lively:
        """All layers but those that stay in training mode."""
        super().train(mode)
        for layer in self.net.modules():
            if isinstance(layer, self.kinds):
                layer.train()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', scale*H, scale*W); the same for the same image."""
        with torch.random.fork_rng([x.device] if x.is_cuda else []):
            torch.manual_seed(self.seed)
            image: Tensor = self.net(x)
        return image
