"""Weights files: read whatever the community wraps them in, load them by name, write them whole, tell what they are.

Nothing in a file is ever executed (``weights_only``), nothing is paired by position, and what does not fit is said.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.errors import WeightsError
from ..core.network import Network, State

WRAPPERS = (
    "params_ema",
    "params-ema",
    "ema",
    "swa",
    "params",
    "state_dict",
    "model_state_dict",
    "model",
    "generator",
    "net",
    "network",
    "discriminator",
)
"""Keys under which programs put the weights in their files, the preferred ones first."""
PREFIXES = ("module.", "_orig_mod.", "netG.", "net_g.")
"""What DataParallel, torch.compile and training programs put before every key."""
CEM = "generated_image_model."
"""Networks that were trained inside the consistency enforcing module."""
SHOWN = 8
"""Keys of a kind that a message lists."""


def read_state(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a .pth, .pt, .ckpt or .safetensors file by name, on the CPU, out of whatever wraps them.

    Raises:
        WeightsError: the file is absent, is damaged, is no weights file, or holds no tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}{_neighbours(path)}")
    content = _read_safetensors(path) if path.suffix.lower() == ".safetensors" else _read_torch(path)
    state = _strip(_unwrap(content, path))
    if not state:
        raise WeightsError(f"{path} holds no weights, only {_summary(content)}")
    return state


def read_sets(path: Path | str) -> dict[str, dict[str, Tensor]]:
    """All sets of tensors that a file holds, by the key that they are wrapped in; ``""`` for one that is not wrapped.

    Raises:
        WeightsError: as of ``read_state``.
    """
    path = Path(path)
    whole = read_state(path)
    content = _read_safetensors(path) if path.suffix.lower() == ".safetensors" else _read_torch(path)
    inner = {str(k): v for k, v in content.items() if isinstance(v, Mapping) and _holds_tensors(v)}
    known = {key: _strip(_unwrap(inner[key], path)) for key in WRAPPERS if key in inner}
    return known or {"": whole}


def is_average(path: Path | str) -> bool:
    """Whether the file is the state of a torch.optim.swa_utils.AveragedModel, as such."""
    content = _read_torch(Path(path))
    return isinstance(content, Mapping) and "n_averaged" in content


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(_damage(path, error)) from None


def _read_torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file may raise anything
        objects = re.search(r"GLOBAL ([\w.]+\.\w+)", str(error))
        if objects is None:
            raise WeightsError(_damage(path, error)) from None
        raise WeightsError(
            f"{path} holds Python objects besides tensors ({objects[1]}), which could run any code and are therefore "
            f"not loaded. If you trust the file, load it once with torch.load(..., weights_only=False) and save the "
            f"state dict of its network alone."
        ) from None


def _start(path: Path) -> bytes:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(64)
    return b""


def _damage(path: Path, error: Exception) -> str:
    """What is wrong with a file that cannot be read, by how it begins."""
    start, size = _start(path), path.stat().st_size
    said = "" if "weights_only" in str(error) else str(error).strip()  # torch's advice would be wrong
    reason = said.splitlines()[0] if said else type(error).__name__
    if size == 0:
        return f"{path} is empty: copy or download it again"
    if start.startswith(b"version https://git-lfs"):
        return f"{path} is a Git LFS pointer, not the weights: run `git lfs pull`, or download the file itself"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return f"{path} is a web page, not weights: download the file itself"
    if "TorchScript" in str(error):
        return f"{path} is a TorchScript program: save the state dict of the model instead"
    if start[:1] in (b"P", b"\x80") or path.suffix.lower() == ".safetensors":
        return f"{path} ({size:,} bytes) is damaged or cut short: copy or download it again ({reason})"
    return f"{path} is no weights file: expected one of PyTorch (.pth, .pt) or safetensors ({reason})"


def _neighbours(path: Path) -> str:
    if path.is_dir():
        return ": that is a folder; name a file in it"
    with contextlib.suppress(OSError):
        files = sorted(p.name for p in path.parent.iterdir() if p.suffix in (".pth", ".pt", ".safetensors"))
        if files:
            return f"; in that folder there are {_listed(files)}"
    return ""


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    """The innermost mapping of names to tensors, going by ``WRAPPERS``, else by the only mapping that holds any."""
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path} holds {_summary(content)}: expected tensors by name")
    inner = {key: value for key, value in content.items() if isinstance(value, Mapping) and _holds_tensors(value)}
    preferred = next((key for key in WRAPPERS if key in inner), None)
    if preferred is not None:
        return _unwrap(inner[preferred], path)
    state = {
        key: value.detach() for key, value in content.items() if isinstance(value, Tensor) and isinstance(key, str)
    }
    if state:
        return state
    if len(inner) > 1:
        raise WeightsError(
            f"{path} holds several sets of tensors, {_listed(list(map(str, inner)))}: expected weights of one network, "
            f"as such or under one of {', '.join(WRAPPERS)}"
        )
    return _unwrap(next(iter(inner.values())), path) if inner else {}


def _holds_tensors(content: Mapping[Any, Any]) -> bool:
    return any(isinstance(v, Tensor) or (isinstance(v, Mapping) and _holds_tensors(v)) for v in content.values())


def _strip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """``state`` without the names that wrapping modules put before every key."""
    if any(key.startswith(CEM) for key in state):
        state = {key: tensor for key, tensor in state.items() if key.startswith(CEM)}
    if any(key.startswith("module.") for key in state):
        state.pop("n_averaged", None)  # the counter of torch.optim.swa_utils.AveragedModel
    while prefix := next((p for p in (CEM, *PREFIXES) if state and all(key.startswith(p) for key in state)), None):
        state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return state


def _summary(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"the keys {_listed(list(map(str, content)))}" if content else "an empty dictionary"
    return f"a {type(content).__name__}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def load_weights(network: Network, path: Path | str, strict: bool = True) -> list[str]:
    """Load the file's weights into ``network``, by name, from any of its public layouts; returns notes to print.

    Counters of batch norms may be missing, as they are from old files. Unless ``strict``, what fits is loaded and the
    notes name the rest.

    Raises:
        WeightsError: the file cannot be read or does not fit, or nothing in it does; the message lists keys and shapes.
    """
    return _load(network, read_state(path), Path(path), strict)


def _load(network: Network, state: State, path: Path, strict: bool) -> list[str]:
    own = network.state_dict()
    given = network.from_public(state)
    fitting = {key: tensor for key, tensor in given.items() if key in own and own[key].shape == tensor.shape}
    problems = differences(own, given)
    if problems and (strict or not fitting):
        raise WeightsError(
            "\n".join([f"{path} does not fit {type(network).__name__}:", *problems, *_advice(network, state)])
        )
    network.load_state_dict(fitting, strict=False)
    if not problems:
        return []
    name = type(network).__name__
    return [
        f"{path}: {len(fitting)} of the {len(own)} tensors of {name} are loaded; the rest keep their values:",
        *problems,
    ]


def differences(own: State, given: State) -> list[str]:
    """One line for each way in which they differ; none if everything fits."""
    missing = [key for key in own if key not in given and not key.endswith("num_batches_tracked")]
    foreign = [key for key in given if key not in own]
    shapes = [
        f"{key} {tuple(given[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in given and given[key].shape != own[key].shape
    ]
    kinds = (
        ("missing from the file", missing),
        ("not in the network", foreign),
        ("of another shape in the file", shapes),
    )
    return [f"  {len(keys)} {kind}: {_listed(keys)}" for kind, keys in kinds if keys]


def _advice(network: Network, state: State) -> list[str]:
    found = recognise(state, [type(network)])
    if found is None:
        return ["  It looks like weights of another architecture, or of one with other options."]
    options = ", ".join(f"{name}: {value}" for name, value in found[1].items())
    return [f"  By its shapes it was made with {options}. Set these, or `strict: false` to load what fits."]


def save_weights(network_state: State, path: Path | str, under: str | None = None) -> None:
    """Write a state dict as .pth, .pt or .safetensors: beside, synced, then renamed, so that no half a file is seen.

    Some programs look for it ``under`` a key, ``params`` say; a .safetensors file has no such level.

    Raises:
        ValueError: the name has another suffix.
        OSError: it cannot be written; what was there before is untouched and nothing else is left.
    """
    path = Path(path)
    write = _WRITERS.get(path.suffix.lower())
    if write is None:
        raise ValueError(f"expected a name with the suffix {', '.join(_WRITERS)}, found {path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    try:
        write({key: _compact(tensor) for key, tensor in network_state.items()}, partial, under)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)  # noqa: PTH105  (the call that is atomic on every system)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def _compact(tensor: Tensor) -> Tensor:
    """On the CPU, contiguous, and without the rest of a larger storage, which would be written too."""
    tensor = tensor.detach().cpu().contiguous()
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


def _write_torch(state: dict[str, Tensor], path: Path, under: str | None) -> None:
    try:
        torch.save(state if under is None else {under: state}, path)
    except RuntimeError as error:  # torch's writer wraps what the disk said
        raise OSError(str(error)) from error


def _write_safetensors(state: dict[str, Tensor], path: Path, under: str | None) -> None:
    del under
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    seen: set[int] = set()
    for key, tensor in state.items():  # the format refuses two names for one memory
        if tensor.data_ptr() in seen and tensor.numel():
            state[key] = tensor.clone()
        seen.add(tensor.data_ptr())
    try:
        save_file(state, path, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(str(error)) from error


_WRITERS: dict[str, Callable[[dict[str, Tensor], Path, str | None], None]] = {
    ".pth": _write_torch,
    ".pt": _write_torch,
    ".safetensors": _write_safetensors,
}


def recognise(state: State, candidates: Iterable[type[Network]]) -> tuple[type[Network], dict[str, Any]] | None:
    """The first class that knows the unwrapped ``state`` as its own, and its constructor arguments, or None."""
    return next(_claims(state, candidates), None)


def _claims(state: State, candidates: Iterable[type[Network]]) -> Iterator[tuple[type[Network], dict[str, Any]]]:
    """Every class that takes the state for its own, with the arguments."""
    for candidate in candidates:
        # a file of another architecture may have some of the keys that a class looks for, but not all
        with contextlib.suppress(KeyError, IndexError, StopIteration, ValueError, ZeroDivisionError):
            arguments = candidate.recognise(state)
            if arguments is not None:
                yield candidate, arguments


def load_any(path: Path | str, candidates: Iterable[type[Network]], scale: int | None = None) -> Network:
    """The network that the file holds, with its weights; see ``identify``."""
    return identify(path, candidates, scale)[0]


def identify(
    path: Path | str, candidates: Iterable[type[Network]], scale: int | None = None
) -> tuple[Network, dict[str, Any]]:
    """The network that the file holds, with its weights, and the constructor arguments that were found.

    It is of the first of ``candidates`` that fits. ``scale`` is what the user expects; it decides where a file does not
    tell (x2 and x3 ESRGAN files look the same).

    Raises:
        WeightsError: the file cannot be read, is not recognised, or is of another scale.
    """
    path, candidates = Path(path), list(candidates)
    state = read_state(path)
    misfit: WeightsError | None = None
    for cls, arguments in _claims(state, candidates):
        try:
            network, found = _fitting(cls, arguments, state, path, scale)
        except WeightsError as error:  # seemingly of that class; another may know better, else the first one counts
            misfit = misfit or error
            continue
        if scale is not None and network.scale != scale:
            raise WeightsError(
                f"{path} enlarges {network.scale} times, where {scale} is wanted: set scale: {network.scale}"
            )
        return network, found
    looked_for = ", ".join(sorted(cls.__name__ for cls in candidates)) or "none"
    raise misfit or WeightsError(
        f"{path} was not recognised. Looked for {looked_for}. It begins with the keys {_listed(list(state))}. "
        f"Name the architecture and its options in network_G."
    )


def _fitting(
    cls: type[Network], arguments: dict[str, Any], state: State, path: Path, scale: int | None
) -> tuple[Network, dict[str, Any]]:
    """The network made with ``arguments``, in the wanted ``scale`` if the weights fit that as well."""
    if scale is not None and arguments.get("scale", scale) != scale:
        with contextlib.suppress(WeightsError):
            return _fitting(cls, {**arguments, "scale": scale}, state, path, scale)
    try:
        network = cls(**arguments)
    except ValueError as error:
        raise WeightsError(f"{path} looks like {cls.__name__}, but: {error}") from None
    _load(network, state, path, strict=True)
    return network, arguments
