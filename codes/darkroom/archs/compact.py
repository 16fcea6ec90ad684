"""SRVGGNetCompact, the small and quick network of Real-ESRGAN's video and anime models.

https://github.com/xinntao/Real-ESRGAN. Plain convolutions at the input's size and one pixel shuffle; what they add to
is the input enlarged by nearest neighbour. The keys are those of the public files.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from ..core.network import Network, State
from . import ARCHS


@ARCHS.register("compact", "srvgg")
class SRVGGNetCompact(Network):
    """(B, in_nc, H, W) -> (B, out_nc, scale*H, scale*W); images in [0, 1].

    ``num_conv`` counts the convolutions between the first and the last.
    """

    def __init__(
        self,
        in_nc: int = 3,
        out_nc: int = 3,
        nf: int = 64,
        num_conv: int = 16,
        scale: int = 4,
        act_type: Literal["relu", "prelu", "leakyrelu"] = "prelu",
    ) -> None:
        super().__init__()
        if in_nc not in (1, out_nc):
            raise ValueError(f"expected in_nc to be 1 or out_nc, {out_nc}, for the input is added; found {in_nc}")
        self.scale = scale
        self.body = nn.ModuleList([nn.Conv2d(in_nc, nf, 3, padding=1), _act(act_type, nf)])
        for _ in range(num_conv):
            self.body += [nn.Conv2d(nf, nf, 3, padding=1), _act(act_type, nf)]
        self.body.append(nn.Conv2d(nf, out_nc * scale**2, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_nc, H, W) -> (B, out_nc, scale*H, scale*W)."""
        features = x
        for layer in self.body:
            features = layer(features)
        return F.pixel_shuffle(features, self.scale) + F.interpolate(x, scale_factor=self.scale, mode="nearest")

    @classmethod
    def recognise(cls, state: State) -> dict[str, Any] | None:
        """The options of the network in ``state``; one without PReLU does not tell its activation, hence None."""
        numbers = [int(key.split(".")[1]) for key in state if key.startswith("body.") and key.count(".") == 2]
        first, slopes = state.get("body.0.weight"), state.get("body.1.weight")
        if len(numbers) != len(state) or first is None or slopes is None or (first.ndim, slopes.ndim) != (4, 1):
            return None
        in_nc, out = first.shape[1], state[f"body.{max(numbers)}.weight"].shape[0]
        out_nc = next((c for c in (in_nc, 3, 1) if out % c == 0 and math.isqrt(out // c) ** 2 == out // c), None)
        if out_nc is None:
            return None
        scale, num_conv = math.isqrt(out // out_nc), (max(numbers) - 2) // 2
        return {"in_nc": in_nc, "out_nc": out_nc, "nf": first.shape[0], "num_conv": num_conv, "scale": scale}


def _act(kind: str, nf: int) -> nn.Module:
    makers = {
        "relu": lambda: nn.ReLU(inplace=True),
        "prelu": lambda: nn.PReLU(nf),
        "leakyrelu": lambda: nn.LeakyReLU(0.1, inplace=True),
    }
    if kind not in makers:
        raise ValueError(f"expected act_type to be one of {', '.join(makers)}, found {kind!r}")
    return makers[kind]()
