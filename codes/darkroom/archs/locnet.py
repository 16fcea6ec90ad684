"""Localisation network of AdaTarget: how to move each piece of the output to meet the target.

Jo et al., "Tackling the Ill-Posedness of Super-Resolution through Adaptive Target Generation", CVPR 2021, section 3,
in the form of its published code, which moves the output rather than the target. The keys are those of the published
network. What differs: it begins with the identity instead of being trained on synthetic shifts first.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.network import Network
from ..filters.adaptive import adapt, pieces
from . import ARCHS


@ARCHS.register("locnet")
class LocNet(Network):
    """Output and target, (B, in_nc, H, W) both, -> the output with its pieces moved to meet the target.

    It compares each ``p_size`` x ``p_size`` piece of the output with the ``s_size`` x ``s_size`` pixels of the target
    around the same place. ``nf`` is the width of its hidden layers; None is twice the number of values that it sees.
    """

    def __init__(self, p_size: int = 7, s_size: int = 9, in_nc: int = 3, nf: int | None = None) -> None:
        super().__init__()
        if p_size < 1 or s_size < p_size or (s_size - p_size) % 2:
            raise ValueError(
                f"expected p_size of 1 or more and s_size larger by an even number, found {p_size} and {s_size}"
            )
        self.p_size, self.s_size = p_size, s_size
        seen = in_nc * (p_size**2 + s_size**2)
        nf = 2 * seen if nf is None else nf
        self.layer1 = nn.Linear(seen, nf)
        self.bn1 = nn.BatchNorm1d(nf)
        self.layer2 = nn.Linear(nf, nf)
        self.bn2 = nn.BatchNorm1d(nf)
        self.layer3 = nn.Linear(nf, seen)
        self.bn3 = nn.BatchNorm1d(seen)
        self.layer4 = nn.Linear(seen, 6)
        nn.init.zeros_(self.layer4.weight)
        with torch.no_grad():
            self.layer4.bias.copy_(torch.eye(2, 3).flatten())

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """(B, in_nc, H, W) twice -> the same shape."""
        return adapt(output, self.transforms(output, target), self.p_size, self.p_size)

    def transforms(self, output: Tensor, target: Tensor) -> Tensor:
        """(B, in_nc, H, W) twice -> (B, N, 2, 3), an affine transform for each piece, row by row; never in half.

        Raises:
            ValueError: the images differ in size, or are smaller than a piece.
        """
        if output.shape != target.shape or min(output.shape[2:]) < self.p_size:
            raise ValueError(
                f"expected an output and a target of one size, at least {self.p_size} x {self.p_size}, found "
                f"{tuple(output.shape)} and {tuple(target.shape)}"
            )
        with torch.autocast(output.device.type, enabled=False):
            around = pieces(target.to(self.layer1.weight.dtype), self.s_size, self.p_size)
            x = torch.cat([pieces(output.to(around.dtype), self.p_size, self.p_size), around], dim=2)
            b, n, _ = x.shape
            x = F.relu(self.bn1(self.layer1(x.flatten(0, 1))))
            x = F.relu(self.bn2(self.layer2(x)))
            x = F.relu(self.bn3(self.layer3(x)))
            return self.layer4(x).reshape(b, n, 2, 3)
