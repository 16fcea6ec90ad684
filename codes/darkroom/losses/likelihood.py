"""The likelihood that a flow is trained for."""

from __future__ import annotations

from torch import Tensor

from ..core.terms import LOSSES, Loss, Verdict


@LOSSES.register("nll")
class NLL(Loss):
    """The mean of what the model calls ``nll``, in bits per pixel; the log also has it per value of a pixel.

    In an option file ``{type: nll, of: nll}``.
    """

    full_precision = True

    def __init__(self, channels: int = 3) -> None:
        """``channels`` are the values of a pixel."""
        super().__init__()
        self.channels = channels

    def forward(self, prediction: Tensor) -> Verdict:
        """(B,) -> a scalar, and ``nll_dim`` for the log."""
        nll = prediction.mean()
        return Verdict(nll, {"nll_dim": nll.detach() / self.channels})
