"""What the log of EdgeConnect shows of a batch, Nazeri et al. 2019, https://arxiv.org/abs/1901.00212.

Precision and recall of edges, and two measures of images, as the published code computes them: over the whole batch,
not image by image. All are scalars on the device; nothing waits for it.
"""

from __future__ import annotations

import torch
from torch import Tensor


def edge_accuracy(truth: Tensor, prediction: Tensor, threshold: float = 0.5) -> tuple[Tensor, Tensor]:
    """Precision and recall of the pixels above the threshold, of maps in [0, 1] of one shape.

    Both are 1 where neither map has an edge.
    """
    relevant, selected = truth > threshold, prediction > threshold
    hits, found, wanted = (edges.sum() for edges in (relevant & selected, selected, relevant))
    nothing = (found + wanted) == 0
    precision, recall = (torch.where(nothing, 1.0, hits / (count + 1e-8)) for count in (found, wanted))
    return precision, recall


def logged_psnr(truth: Tensor, prediction: Tensor) -> Tensor:
    """20 log10 255 - 10 log10 mean (x - y)^2 of images in [0, 1], cut down to levels of 8 bits; 0 if they are equal.

    So it is in the original's log, where others have infinity: to compare images, take the metric ``psnr``.
    """
    x, y = ((255 * image.float()).to(torch.int32).float() for image in (truth, prediction))
    error = (x - y).square().mean()
    return torch.where(error == 0, 0.0, 10 * torch.log10(255**2 / error))


def logged_mae(truth: Tensor, prediction: Tensor) -> Tensor:
    """sum |x - y| / sum x, x being the true images in [0, 1]: relative to how bright they are."""
    x, y = truth.float(), prediction.float()
    return (x - y).abs().sum() / x.sum()
