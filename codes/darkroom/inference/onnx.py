"""ONNX files of networks, compared with PyTorch before anybody sees them."""

from __future__ import annotations

import contextlib
import copy
import importlib
import importlib.util
import io
import itertools
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import DarkroomError
from ..core.network import Network

NEEDED = ("onnx", "onnxruntime", "onnxscript")
MULTIPLES = (1, 2, 4, 8, 16, 32, 64)
"""Of what the sides of the image may have to be multiples, tried in this order."""
TOLERANCE = {torch.float32: 1e-4, torch.float16: 3e-2}
"""How far the results may be apart, as a share of the largest number in them."""
AXES = {0: "batch", 2: "height", 3: "width"}
TRACED_OPSET = 17
"""Of the exporter by tracing, unless another is wanted."""


@dataclass(frozen=True)
class Exported:
    """What an ONNX file takes, and how well it was met."""

    multiple: int
    """The sides of images are multiples of it, unless they are of one size."""
    batches: bool
    """Whether batches may be of any size; else they are of one image."""
    error: float
    """The largest difference from PyTorch, as a share of the largest number."""
    opset: int


class _DiffersError(Exception):
    """The file computes something else for an image of another size."""


def check_installed() -> None:
    """Whether there is what an export needs.

    Raises:
        DarkroomError: there is not; the message has the command that installs it.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise DarkroomError(f"an export needs {', '.join(missing)}: pip install {' '.join(NEEDED)}")


def export(
    network: Network, path: Path, channels: int, *, opset: int | None = None, half: bool = False,
    size: tuple[int, int] | None = None, say: Callable[[str], None] = print,
) -> Exported:  # fmt: skip
    """Write ``network`` to ``path`` for batches and images of any size, or for images of one ``size`` (height, width).

    Where a network cannot be had so, sides have to be multiples of some number, or images come one by one. The file is
    run on two other sizes and batches, and written only if it computes what PyTorch does. ``half`` is in float16.

    Raises:
        DarkroomError: it cannot be exported, or the file computes something else.
        OSError: the file cannot be written.
    """
    check_installed()
    network = copy.deepcopy(network).cpu().float().eval()
    reason: Exception | None = None
    for multiple, batches in itertools.product((1,) if size else MULTIPLES, (True, False)):
        example, *others = _images(channels, network.multiple_of * multiple, size, batches=batches)
        takes = _Takes(network.multiple_of * multiple, batches, size)
        try:
            return _attempt(network, path, example, others, takes, opset=opset, half=half)
        except (OSError, DarkroomError):
            raise
        except Exception as error:  # the exporter and the runtime have no common type for what they raise
            reason = error
            say(f"Not for {takes}: {_reason(error)}")
    advice = "" if size else " Export it for one size with --size HEIGHT WIDTH."
    assert reason is not None
    raise DarkroomError(f"{type(network).__name__} cannot be exported: {_reason(reason)}.{advice}") from reason


@dataclass(frozen=True)
class _Takes:
    """What a file is to take."""

    multiple: int
    batches: bool
    size: tuple[int, int] | None

    def __str__(self) -> str:
        sides = f"{self.size[0]}x{self.size[1]}" if self.size else f"sides that are multiples of {self.multiple}"
        return f"{sides}, {'any batch' if self.batches else 'one image at a time'}"

    def dynamic(self) -> dict[int, Any]:
        """The dimensions that vary, as the exporter wants them."""
        shape: dict[int, Any] = {0: torch.export.Dim(AXES[0])} if self.batches else {}
        if self.size is None:
            sides = {i: torch.export.Dim(AXES[i], min=2) for i in (2, 3)}
            shape |= {i: self.multiple * side if self.multiple > 1 else side for i, side in sides.items()}
        return shape


def _images(channels: int, multiple: int, size: tuple[int, int] | None, *, batches: bool) -> list[Tensor]:
    """Three batches: one to export with, two to compare on."""
    unit = max(-(-24 // multiple), 2) * multiple  # one could be baked into the file
    sides = [(unit, unit + multiple), (2 * unit + multiple, unit), (unit + 3 * multiple, 3 * unit + 5 * multiple)]
    noise = torch.Generator().manual_seed(0)
    shapes = zip((2, 1, 3) if batches else (1, 1, 1), [size] * 3 if size else sides, strict=True)
    return [torch.rand(batch, channels, *side, generator=noise) for batch, side in shapes]


def _attempt(
    network: Network, path: Path, example: Tensor, others: list[Tensor], takes: _Takes, *, opset: int | None, half: bool
) -> Exported:
    with torch.no_grad():
        expected = [network(x) for x in others]
    dtype = torch.float16 if half else torch.float32
    net = copy.deepcopy(network).to(dtype)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    try:
        with _quiet():
            _write(net, example.to(dtype), partial, takes, opset)
        found = _opset(partial)
        if opset not in (None, found):
            raise DarkroomError(f"this network cannot be written in opset {opset}; {found} works")
        error = max(_distance(partial, x.to(dtype), y) for x, y in zip(others, expected, strict=True))
        if not error <= TOLERANCE[dtype]:
            raise _DiffersError(f"the file differs from PyTorch by {error:.1g} of the largest number")
        os.replace(partial, path)  # noqa: PTH105  (the call that is atomic on every system)
    finally:
        partial.unlink(missing_ok=True)
    return Exported(takes.multiple, takes.batches, error, found)


def _write(net: nn.Module, x: Tensor, path: Path, takes: _Takes, opset: int | None) -> None:
    names: dict[str, Any] = {"input_names": ["input"], "output_names": ["output"]}
    shape = takes.dynamic()
    if _rewrites_itself(net, x):
        axes = {kind: {i: AXES[i] for i in shape} for kind in ("input", "output")}
        version = opset or TRACED_OPSET
        torch.onnx.export(net, (x,), path, dynamo=False, dynamic_axes=axes, opset_version=version, **names)
        return
    program = torch.onnx.export(net, (x,), dynamo=True, dynamic_shapes=(shape,), opset_version=opset, **names)
    assert program is not None
    program.save(path)


@torch.no_grad()
def _rewrites_itself(net: nn.Module, x: Tensor) -> bool:
    """Whether a forward replaces tensors of parameters, as networks do that merge convolutions for use.

    The exporter would crash on that; tracing takes it.
    """
    before = [p.data_ptr() for p in net.parameters()]
    net(x)
    return before != [p.data_ptr() for p in net.parameters()]


def _opset(path: Path) -> int:
    model = importlib.import_module("onnx").load(path, load_external_data=False)
    return next(int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx"))


def _distance(path: Path, x: Tensor, expected: Tensor) -> float:
    """How far onnxruntime's result is from the expected one, as a share of the largest number in that."""
    onnxruntime = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    found = torch.from_numpy(session.run(None, {"input": x.numpy()})[0]).float()
    if found.shape != expected.shape:
        raise _DiffersError(f"the file gives {tuple(found.shape)} where PyTorch gives {tuple(expected.shape)}")
    return float((found - expected).abs().max() / expected.abs().max())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's comments on its work."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _reason(error: Exception) -> str:
    """One line of what the exporter or the runtime says; the exporter tells what to do with its code first."""
    text = re.sub(r"\x1b\[\d+m", "", str(error)).rpartition("## Exception summary")[2]
    lines = (line.strip() for line in text.splitlines())
    return next((line for line in lines if line), type(error).__name__).rstrip(".:")
