"""One file with everything a run needs to go on as if it had never stopped; whole or absent, never half written."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ..core.errors import CheckpointError

FORMAT = 1
PARTIAL = ".partial"
LEFT = ".left"
"""Ending of what belongs to a branch that the run has left; a second one is ``.left2``."""


class Stateful(Protocol):
    """A part of a run that has a state."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers, strings and containers of them."""
        ...

    def load_state_dict(self, state: dict[str, Any], /) -> Any:
        """Take the state over."""
        ...


def snapshot(value: Any) -> Any:
    """A copy of a state on the CPU, which training can no longer change."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {k: snapshot(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(snapshot(v) for v in value)
    return value


def collect(parts: Mapping[str, Stateful], options: str) -> dict[str, Any]:
    """The state of a run: every part by its name, and the options that it was made with, as JSON."""
    return {"format": FORMAT, "options": options, "parts": {name: part.state_dict() for name, part in parts.items()}}


@runtime_checkable
class Restartable(Protocol):
    """A part that can begin in the middle of a run."""

    def restart(self) -> None:
        """Begin with what there is now."""
        ...


def restore(parts: Mapping[str, Stateful], state: Mapping[str, Any], path: Path) -> list[str]:
    """Give every part its state back; returns notes on what begins anew or is no longer there.

    Raises:
        CheckpointError: networks or optimizers are missing or other ones, or a part does not fit.
    """
    saved = {name: part for name, part in state["parts"].items() if part}  # what had no state begins anew
    missing, surplus = [n for n in parts if n not in saved], [n for n in saved if n not in parts]
    lost = [n for n in (*missing, *surplus) if n.startswith(("network_", "optim_", "loop"))]
    if lost:
        raise CheckpointError(
            f"{path}: this run and the saved one are made of other parts: {', '.join(lost)} cannot be matched. "
            "Resume with the options it was saved with, or start anew from its weights with pretrain_model_G."
        )
    for name in (n for n in parts if n in saved):
        part = parts[name]
        try:
            part.load_state_dict(saved[name])
        except (RuntimeError, ValueError, KeyError) as error:
            why = (_misfit(part, saved[name]) if isinstance(part, nn.Module) else "") or str(error)
            raise CheckpointError(f"{path}: {name} does not fit the options of this run: {why}") from None
    for part in (parts[n] for n in missing):
        if isinstance(part, Restartable):
            part.restart()
    told = [n for n in missing if n in parts and state["parts"].get(n) is None]
    return [*(f"{n} begins now: the state has none." for n in told), *(f"{n} is no longer used." for n in surplus)]


def _misfit(module: nn.Module, saved: Mapping[str, Tensor], shown: int = 2) -> str:
    """How the tensors of a module and its state differ, with the first of each kind; nothing if they do not."""
    own = module.state_dict()
    shapes = [
        f"{n} {tuple(saved[n].shape)} instead of {tuple(own[n].shape)}"
        for n in own
        if n in saved and saved[n].shape != own[n].shape
    ]
    missing, surplus = [n for n in own if n not in saved], [n for n in saved if n not in own]
    kinds = (("are missing there", missing), ("are not in the network", surplus), ("have another shape there", shapes))
    return "; ".join(
        f"{len(names)} tensors {kind}, {', '.join(names[:shown])}{' ...' * (len(names) > shown)}"
        for kind, names in kinds
        if names
    )


def read_state(path: Path) -> dict[str, Any]:
    """The state in a file.

    Raises:
        CheckpointError: there is no such file, it is not whole, or it is not a training state of ours.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such training state") from None
    except Exception as error:  # torch has no common type for what a damaged file can raise
        raise CheckpointError(f"{path}: not a whole training state ({type(error).__name__}: {error})") from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: not a training state of Darkroom. To start from weights, use pretrain_model_G instead."
        )
    return state


def newest(folder: Path, say: Callable[[str], None]) -> tuple[Path, dict[str, Any]] | None:
    """The state of ``folder`` (or of its ``training_state``) with the most iterations that can be read, if any.

    What cannot be read is said and passed over.
    """
    inner = folder / "training_state"
    found: list[tuple[int, Path, dict[str, Any]]] = []
    files = (inner if inner.is_dir() else folder).glob("*.state")
    # Highest number first: usually the first one that is read is the answer. Unnumbered ones have to be looked into.
    for path in sorted(files, key=preference):
        if found and (own := number(path)) is not None and own <= max(f[0] for f in found):
            continue
        try:
            state = read_state(path)
        except CheckpointError as error:
            say(f"{error}; an older state is used instead")
            continue
        found.append((state["parts"]["loop"]["step"], path, state))
    if not found:
        return None
    _, path, state = max(found, key=lambda f: f[0])
    return path, state


def weights_of(folder: Path, name: str) -> list[Path]:
    """The weights files ``<name>_<network>.<format>`` in the folder ``models`` of an experiment."""
    found = (folder / "models").glob(f"{name}_*")
    return [p for p in found if p.suffix != PARTIAL and not p.suffix.startswith(LEFT)]


def preference(path: Path) -> tuple[bool, int, str]:
    """Sort key of states: of two of one iteration, the first is the newest."""
    own = number(path)
    return own is not None, -(own or 0), path.name


def number(path: Path) -> int | None:
    """The iteration in the name of a state; None if it is called otherwise, such as ``latest``."""
    return int(path.stem) if re.fullmatch(r"\d+", path.stem) else None


def iteration(path: Path) -> int | None:
    """The iteration of a state by its name, or by what is in it; None if it cannot be read."""
    named = number(path)
    if named is not None:
        return named
    try:
        return int(read_state(path)["parts"]["loop"]["step"])
    except CheckpointError:
        return None


def write_whole(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Write a file so that a reader, at any instant, also after a crash, sees the old one or the new one.

    Raises:
        OSError: it cannot be written; the old file is as it was and no other is left.
    """
    partial = path.with_name(path.name + PARTIAL)
    try:
        with partial.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """``torch.save`` as a whole file.

    Raises:
        OSError: it cannot be written, for a full disk say.
    """

    def write(file: BinaryIO) -> None:
        try:
            torch.save(dict(state), file)
        except RuntimeError as error:  # torch's zip writer wraps what the disk said
            raise OSError(str(error)) from error

    write_whole(path, write)
