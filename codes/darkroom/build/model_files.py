"""The work of the tools around model files: convert, interpolate, take an average out, export.

A file is read without running anything in it, recognised, and written whole or not at all.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..archs import ARCHS
from ..config.planner import Planner
from ..config.source import Section, parse
from ..core.errors import DarkroomError, OptionErrors, WeightsError
from ..core.network import Network, State
from ..engine.checkpoint import read_state as read_training_state
from ..inference.onnx import check_installed
from ..inference.onnx import export as export_onnx
from ..inference.weights import (
    differences,
    identify,
    is_average,
    load_weights,
    read_sets,
    read_state,
    save_weights,
)
from .auto import recognisable
from .testing import input_channels

Say = Callable[[str], None]
SUFFIXES = (".pth", ".pt", ".safetensors")
SAFETENSORS = "safetensors"
UNDER = {"realesrgan": "params", "basicsr": "params"}
"""The key under which the programs of a layout look for the weights in their .pth files."""
EMA, SWA, RAW = "ema", "swa", "raw"
KINDS = {EMA: ("params_ema", "params-ema", "ema"), SWA: ("swa",), RAW: ("params", "state_dict", "model", "net")}
"""Keys of files under which each kind of weights is found."""


def save(state: State, path: Path, under: str | None = None) -> None:
    """Write a weights file whole.

    Raises:
        DarkroomError: it cannot be written; what was there before is untouched.
    """
    try:
        save_weights(state, path, under)
    except OSError as error:
        raise DarkroomError(f"{path} cannot be written: {error}") from None


def check_target(path: Path, force: bool, suffixes: Sequence[str] = SUFFIXES) -> None:
    """Whether a file may be written there.

    Raises:
        DarkroomError: it has another suffix, or is there already.
    """
    if path.suffix.lower() not in suffixes:
        raise DarkroomError(f"{path}: expected a name that ends in {', '.join(suffixes)}")
    if path.is_dir():
        raise DarkroomError(f"{path} is a folder; name a file in it")
    if path.exists() and not force:
        raise DarkroomError(f"{path} is there already; write --force to replace it, or name another")


def convert(
    source: Path, target: Path, to: str | None, *, network: str | None, scale: int | None, force: bool, say: Say
) -> None:
    """The weights of ``source`` in the key layout ``to``, or in the one that they have, in the format of ``target``.

    ``network`` describes an architecture that cannot be told from the file: a type, or ``{type: ..., ...}``.

    Raises:
        DarkroomError: the file is not recognised, or the architecture has no such layout.
    """
    check_target(target, force)
    if to == SAFETENSORS and target.suffix.lower() != ".safetensors":
        raise DarkroomError(f"{target}: --to safetensors needs a name that ends in .safetensors")
    sets, state = read_sets(source), read_state(source)
    if len(sets) > 1:
        say(f"{source} holds {', '.join(sets)}: {next(iter(sets))} is taken; extract takes the others out")
    layout = None if to == SAFETENSORS else to
    if layout is not None:
        model, what = _named(source, network, scale) if network else _recognised(source, scale)
        say(f"{source}: {what}")
        state = _public(model, state, layout)
    save(state, target, UNDER.get(layout or ""))
    numbers = sum(tensor.numel() for tensor in state.values())
    say(f"{target}: {len(state)} tensors, {numbers:,} numbers{f', layout {layout}' if layout else ''}")


def _recognised(source: Path, scale: int | None) -> tuple[Network, str]:
    network, arguments = identify(source, recognisable(), scale)
    return network, f"{type(network).__name__}, {', '.join(f'{n}: {v}' for n, v in arguments.items())}"


def _named(source: Path, text: str, scale: int | None) -> tuple[Network, str]:
    value = parse(text, "--network")
    file = Section.make("--network", {"network": value, **({"scale": scale} if scale else {})})
    planner = Planner(file)
    plan = planner.component(ARCHS, file.section("network"))
    planner.check()
    assert plan is not None
    network: Network = plan.make()
    load_weights(network, source)
    return network, f"{type(network).__name__}, as --network says"


def _public(network: Network, state: State, layout: str | None) -> dict[str, Tensor]:
    """``state``, in any layout of the network, in this one; the tensors themselves stay as they are."""
    try:
        return network.to_public(network.from_public(state), layout)
    except ValueError as error:
        raise WeightsError(str(error)) from None


def interpolate(
    models: Sequence[Path], shares: Sequence[float] | None, target: Path, *, force: bool, scale: int | None, say: Say
) -> None:
    """The weighted mean of models of one architecture, in the key layout of the first; equal ``shares`` if None.

    Raises:
        DarkroomError: the models do not fit each other, or the shares are no shares.
    """
    check_target(target, force)
    shares = [1 / len(models)] * len(models) if shares is None else shares
    if len(shares) != len(models) or len(models) < 2:
        raise OptionErrors([f"expected two models or more with a weight each, found {len(models)} and {len(shares)}"])
    if not all(0 <= share <= 1 for share in shares) or not math.isclose(math.fsum(shares), 1, abs_tol=1e-6):
        raise OptionErrors([f"expected weights from 0 to 1 that sum to 1, found {', '.join(map(str, shares))}"])
    first = read_state(models[0])
    states = [first, *(_alike(path, models[0], first, scale, say) for path in models[1:])]
    layout = _layout(models[0], scale)
    save(mean(states, shares), target, UNDER.get(layout or ""))
    said = " + ".join(f"{share:g} x {path}" for share, path in zip(shares, models, strict=True))
    say(f"{target} = {said}")


def mean(states: Sequence[State], shares: Sequence[float]) -> dict[str, Tensor]:
    """The weighted mean of tensors by name, in float64, then in the type of the first; integers are the first's."""
    used = [(state, share) for state, share in zip(states, shares, strict=True) if share]
    result = {}
    for key, tensor in states[0].items():
        if not tensor.is_floating_point():
            result[key] = tensor
        elif len(used) == 1:
            result[key] = used[0][0][key].to(tensor.dtype)
        else:
            total = torch.zeros(tensor.shape, dtype=torch.float64)
            for state, share in used:
                total.add_(state[key].double(), alpha=share)
            result[key] = total.to(tensor.dtype)
    return result


def _alike(path: Path, reference: Path, first: State, scale: int | None, say: Say) -> State:
    """The state in ``path`` under the keys of the first one."""
    state = read_state(path)
    if not (problems := differences(first, state)):
        return state
    with_layout = WeightsError("\n".join([f"{path} does not fit {reference}:", *problems]))
    try:
        (a, arguments), (b, _) = (identify(p, recognisable(), scale) for p in (reference, path))
    except WeightsError:
        raise with_layout from None
    if type(a) is not type(b):
        raise WeightsError(f"{path} is a {type(b).__name__}, {reference} a {type(a).__name__}") from None
    converted = _public(b, state, arguments.get("layout"))
    if differences(first, converted):
        raise with_layout
    say(f"{path}: converted to the key layout of {reference}")
    return converted


def _layout(path: Path, scale: int | None) -> str | None:
    """The key layout of the file, if it is of a network that has several."""
    try:
        layout: str | None = identify(path, recognisable(), scale)[1].get("layout")
    except WeightsError:  # the mean of unknown networks is one too
        return None
    return layout


def extract(source: Path, target: Path, kind: str | None, name: str, *, force: bool, say: Say) -> None:
    """Average weights out of a training state, of a file that holds several sets, or of an AveragedModel's file.

    ``kind`` is ``ema``, ``swa`` or ``raw``; by default the first of the averages that is there. ``name`` is that of
    the network in a training state.

    Raises:
        DarkroomError: there are no such weights.
    """
    check_target(target, force)
    found = _of_state(source, name) if source.suffix == ".state" else _of_file(source)
    wanted = next((k for k in (EMA, SWA) if k in found), None) if kind is None else kind
    if wanted is None or wanted not in found:
        there = ", ".join(found) or "nothing of the kind"
        raise WeightsError(f"{source} has no {'average' if wanted is None else wanted}; there is {there}")
    save(found[wanted], target)
    say(f"{target}: the {wanted} weights of {source}, {len(found[wanted])} tensors")


def _of_file(source: Path) -> dict[str, State]:
    sets = read_sets(source)
    if "" in sets:
        average = source.suffix.lower() != ".safetensors" and is_average(source)
        return {SWA: sets[""]} if average else {RAW: sets[""]}
    return {kind: sets[key] for kind, keys in KINDS.items() for key in keys[::-1] if key in sets}


def _of_state(source: Path, name: str) -> dict[str, State]:
    """The sets of a network's weights in a training state, under the keys of public files."""
    content = read_training_state(source)
    parts: Mapping[str, Any] = content["parts"]
    if f"network_{name}" not in parts:
        there = ", ".join(p.removeprefix("network_") for p in parts if p.startswith("network_"))
        raise WeightsError(f"{source} has no network {name!r}; --network is one of: {there}")
    planner = Planner(Section.make(str(source), {}))
    native = json.loads(content["options"])[f"network_{name}"]
    plan = planner.component(ARCHS, Section.make(str(source), native))
    planner.check()
    assert plan is not None
    network: Network = plan.make()
    averages = {kind: parts.get(kind, {}).get(name) for kind in (EMA, SWA)}
    begun = {kind: average for kind, average in averages.items() if average and bool(average["n_averaged"])}
    inner = {kind: {k.removeprefix("module."): t for k, t in a.items()} for kind, a in begun.items()}
    own = network.state_dict()
    states = {**inner, RAW: parts[f"network_{name}"]}
    return {kind: network.to_public({k: state[k] for k in own}) for kind, state in states.items()}


def export(
    source: Path, target: Path, *, opset: int | None, half: bool, size: tuple[int, int] | None, scale: int | None,
    force: bool, say: Say,
) -> None:  # fmt: skip
    """The network in ``source`` as an ONNX file, compared with PyTorch.

    Raises:
        DarkroomError: it is not recognised, or cannot be exported.
    """
    check_target(target, force, (".onnx",))
    check_installed()
    network, arguments = identify(source, recognisable(), scale)
    what = ", ".join(f"{name}: {value}" for name, value in arguments.items())
    say(f"{source}: {type(network).__name__} x{network.scale}, {what}")
    if half and not network.half_precision:
        raise OptionErrors([f"--half: {type(network).__name__} cannot compute in float16"])
    found = export_onnx(network, target, input_channels(network), opset=opset, half=half, size=size, say=say)
    sides = f"{size[0]}x{size[1]}" if size else "any size" if found.multiple == 1 else f"multiples of {found.multiple}"
    batches = "batches of any size" if found.batches else "one image at a time"
    say(f"{target}: opset {found.opset}, images of {sides}, {batches}; differs from PyTorch by {found.error:.1e}")
