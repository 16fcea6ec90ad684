"""FID: Heusel et al. 2017, https://arxiv.org/abs/1706.08500, eq. 6, as the package torchmetrics measures it.

Its Inception network is that of the packages torchmetrics and torch-fidelity. What differs: the distance is computed
without covariance matrices, as a set for validation has far fewer images than there are features.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from ..core.errors import WeightsError
from . import METRICS, SetMetric
from .fidelity import checked
from .lpips import as_batch

Features = Literal[64, 192, 768, 2048]
_FILE = "weights-inception-2015-12-05-6726825d.pth"
_SERVER = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"


def frechet_distance(x: Tensor, y: Tensor) -> Tensor:
    """|m_x - m_y|^2 + Tr(S_x + S_y - 2 (S_x S_y)^(1/2)) of two sets of at least 2 vectors, (N, D) and (M, D); a scalar.

    S = A^T A with A = (x - m) / sqrt(N - 1), so the last trace is the sum of the singular values of A_x A_y^T, or of
    R_x R_y^T with A = QR: as small as the smaller of N and D.
    """
    (mx, ax), (my, ay) = ((v.mean(dim=0), (v - v.mean(dim=0)) / math.sqrt(len(v) - 1)) for v in (x, y))
    rx, ry = (torch.linalg.qr(a, mode="r").R for a in (ax, ay))
    common = torch.linalg.svdvals(rx @ ry.T).sum()
    return (mx - my).square().sum() + ax.square().sum() + ay.square().sum() - 2 * common


@METRICS.register("fid")
class FID(SetMetric):
    """Distance between the distributions of the features of two sets; lower is better.

    It needs the package torch-fidelity. The fewer the images, the larger it is: compare values of equal sets only.
    """

    higher: ClassVar[bool] = False

    def __init__(self, features: Features = 2048, weights: str = "imagenet", crop_border: int = 0) -> None:
        """``features`` is how many features are compared: those of the deepest layer, or of an earlier one.

        ``weights`` is ``imagenet`` or a file with torch-fidelity's Inception network. ``crop_border`` pixels are left
        out on each side.

        Raises:
            ValueError: there is no layer with so many features, or ``crop_border`` is negative.
            WeightsError: the package or the weights cannot be had; better now than at the first validation.
        """
        if features not in get_args(Features):
            raise ValueError(f"features: expected one of {', '.join(map(str, get_args(Features)))}, found {features}")
        self.crop_border, _ = checked(crop_border, "rgb")
        self.network = _inception(features, weights)

    @torch.no_grad()
    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The features of two (C, H, W) images in [0, 1], RGB or gray: (2, D)."""
        pair = torch.cat(as_batch(prediction, target, self.crop_border))
        found: Tensor = self.network.to(pair.device)(pair.mul(255).round().byte())
        return found.float().cpu()

    def over(self, seen: Sequence[Tensor]) -> float:
        """The distance of the predictions from the targets; one pair has no distribution, so its value is NaN."""
        if len(seen) < 2:
            return math.nan
        x, y = torch.stack(list(seen), dim=1).double()
        return float(frechet_distance(x, y))


def _inception(features: Features, weights: str) -> nn.Module:
    """(B, 3, H, W) in bytes -> (B, ``features``)."""
    if importlib.util.find_spec("torch_fidelity") is None:
        raise WeightsError("FID needs the Inception network of the package torch-fidelity: pip install torch-fidelity")
    from torchmetrics.image.fid import NoTrainInceptionV3

    file = None if weights == "imagenet" else Path(weights).expanduser()
    try:
        if file is not None:  # torch-fidelity would run any code that the file holds
            torch.load(file, map_location="cpu", weights_only=True)
        network: nn.Module = NoTrainInceptionV3("inception-v3-compat", [str(features)], file and str(file))
    except Exception as error:  # the readers raise whatever comes
        raise WeightsError(
            f"FID has no weights: {file or _SERVER + _FILE} cannot be had or does not fit ({error}). Put {_FILE} "
            f"into {Path(torch.hub.get_dir()) / 'checkpoints'}, or anywhere and name it with `weights:`"
        ) from error
    return network
