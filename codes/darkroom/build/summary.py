"""What a newcomer wants to know at the end: is the model better than bicubic, on photographs it never saw, and how."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..data.images import write
from ..data.stream import whole
from ..engine.validate import to_bytes
from ..filters.resize import resize
from ..inference.sheets import Cell, enlarged, sheet
from ..metrics.fidelity import PSNR, SSIM

if TYPE_CHECKING:
    from .training import Run

_CROP = 96
"""Side of the detail that is shown of each photograph, in pixels of the target."""


def summarise(run: Run) -> None:
    """Print a table of model against bicubic over the validation images, and write a labelled picture of details."""
    validate, scale = run.validate, run.plan.run.scale
    if validate is None:
        return
    rows, cells = [], []
    psnr, ssim = PSNR(crop_border=scale, channel="y"), SSIM(crop_border=scale, channel="y")
    _, first = next(iter(run.plan.sets.values()))
    for batch in whole(first.make()):
        images = _images(run, batch, scale)
        measured = {
            k: (psnr(images[k], images["target"]), ssim(images[k], images["target"])) for k in ("bicubic", "model")
        }
        name = Path(str(batch["path"][0])).stem
        rows.append((name, measured))
        cells.append(_details(name, images, measured, scale))
    path = run.experiment.folder / "comparison.png"
    title = f"{run.plan.run.name}: details of photographs that were not trained on, x{scale}"
    write(path, sheet(cells, title))
    run.log.say("\n" + table(rows))
    run.log.say(f"Side by side: {path}")


@torch.inference_mode()
def _images(run: Run, batch: Mapping[str, Any], scale: int) -> dict[str, Tensor]:
    """(C, H, W) images in [0, 1], rounded to 8 bits as they would be saved."""
    assert run.validate is not None
    prepared = run.loop.on_device(batch)
    outputs = run.validate.judge(run.loop, prepared)
    given = {k: v.cpu() for k, v in prepared.items() if isinstance(v, Tensor)}
    bicubic = resize(given["input"].float(), scale)[0]
    raw = {
        "input": given["input"][0],
        "bicubic": bicubic,
        "model": outputs["output"][0].cpu(),
        "target": given["target"][0],
    }
    return {k: to_bytes(v).float() / 255 for k, v in raw.items()}


def _details(
    name: str, images: Mapping[str, Tensor], measured: Mapping[str, tuple[float, float]], scale: int
) -> list[Cell]:
    """The detail of the photograph where bicubic is furthest from the truth, from input, bicubic, model and truth."""
    error = (images["bicubic"] - images["target"]).abs().mean(0)[None, None]
    side = min(_CROP // scale * scale, *(s // scale * scale for s in error.shape[-2:]))
    means = torch.nn.functional.avg_pool2d(error, side, stride=scale)[0, 0]
    y, x = (int(i) * scale for i in np.unravel_index(int(means.argmax()), means.shape))
    labels = {
        "input": f"{name}: input",
        **{k: f"{k} {measured[k][0]:.2f} dB" for k in ("bicubic", "model")},
        "target": "original",
    }
    cells = []
    for key, label in labels.items():
        factor = scale if key == "input" else 1
        part = images[key][:, y // factor : (y + side) // factor, x // factor : (x + side) // factor]
        pixels = (part * 255).round().byte().permute(1, 2, 0).numpy()
        pixels = pixels.repeat(3, axis=2) if pixels.shape[2] == 1 else pixels
        cells.append((label, enlarged(pixels, 2 * factor)))
    return cells


def table(rows: list[tuple[str, dict[str, tuple[float, float]]]]) -> str:
    """PSNR and SSIM on Y by image, for bicubic and the model, and what was gained."""
    means = {k: _mean([m[k] for _, m in rows]) for k in ("bicubic", "model")}
    width = max(12, *(len(name) for name, _ in rows))
    psnr, ssim = f"{'PSNR-Y bicubic':>14}  {'model':>7}  {'gain':>9}", f"{'SSIM-Y bicubic':>14}  {'model':>7}"
    head = f"{'photograph':{width}}  {psnr}  {ssim}"
    lines = [head, "-" * len(head)]
    for name, m in [*rows, ("mean", means)]:
        (bp, bs), (mp, ms) = m["bicubic"], m["model"]
        lines.append(f"{name:{width}}  {bp:14.2f}  {mp:7.2f}  {mp - bp:+6.2f} dB  {bs:14.4f}  {ms:7.4f}")
    return "\n".join(lines)


def _mean(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    return float(np.mean([a for a, _ in pairs])), float(np.mean([b for _, b in pairs]))
