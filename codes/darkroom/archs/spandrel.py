"""Every architecture of the library spandrel, for training and use: https://github.com/chaiNNer-org/spandrel.

spandrel makes networks from weights files alone: it finds the arguments of a network's constructor in the shapes of its
weights. Here such a network can also be made from those arguments, with fresh weights, and it is trained: nothing of
spandrel's own call, which clamps and records no gradients, is used.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.network import Network, State
from ..core.registry import did_you_mean
from . import ARCHS

PREFIX = "net."
"""Our network holds spandrel's under this name; files have spandrel's keys."""
RENAMED = ("conv_first.", "conv_first.1.")
"""A name in spandrel's SwinIR with unshuffling, and the one in files, without which it does not see the unshuffling."""
SCALES = ("upscale", "scale", "up_scale", "upscale_factor", "upscaling_factor")
"""What the constructors call the scale."""


def architectures() -> dict[str, tuple[Any, type[nn.Module]]]:
    """spandrel's architecture and network by the name of the network's class, such as ``SwinIR`` or ``RealPLKSR``."""
    import spandrel

    found = {}
    for support in spandrel.MAIN_REGISTRY.architectures():
        module = importlib.import_module(type(support.architecture).__module__)
        for name in module.__all__:
            member = getattr(module, name)
            if inspect.isclass(member) and issubclass(member, nn.Module):
                found[name] = support.architecture, member
    return found


@ARCHS.register("spandrel")
class SpandrelNetwork(Network):
    """(B, C, H, W) -> (B, C', scale*H, scale*W); images in [0, 1]. Any network of the library spandrel."""

    def __init__(self, arch: str, options: Mapping[str, Any] | None = None, scale: int | None = None) -> None:
        """Images of any size are padded to what the architecture asks for, and the result is cropped.

        Args:
            arch: Name of the network's class in spandrel, such as SwinIR, HAT, DAT, SPAN or RealPLKSR.
            options: Arguments of that class; what is not there is found in the weights to start from, or has the
                default of the class.
            scale: What the network is expected to enlarge by; by default that at the top of the file.

        Raises:
            ValueError: there is no such network or argument, it has another scale, or needs more than an image; or
                spandrel would read weights of the network back as another one.
        """
        super().__init__()
        architecture, cls = _named(arch)
        given = _with_scale(cls, dict(options or {}), scale)
        descriptor, self._renamed = _read_back(arch, architecture, _make(arch, cls, given))
        if scale is not None and descriptor.scale != scale:
            raise ValueError(f"expected a network of scale {scale}, but {arch} enlarges {descriptor.scale} times so")
        self.net = _with_options(arch, cls, given, descriptor)
        self.arch, self.scale = arch, descriptor.scale
        self.multiple_of = descriptor.size_requirements.multiple_of  # type: ignore[misc]  # known per network only
        self.half_precision = descriptor.supports_half  # type: ignore[misc]
        self._load: Callable[[dict[str, Tensor]], Any] = architecture.load
        self._padding: Callable[[int, int], tuple[int, int]] = descriptor.size_requirements.get_padding
        self._call: Callable[[nn.Module, Tensor], Tensor] = descriptor._call_fn

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', scale*H, scale*W)."""
        height, width = (side * self.scale for side in x.shape[-2:])
        right, bottom = self._padding(x.shape[-1], x.shape[-2])
        if right or bottom:
            mirrors = right < x.shape[-1] and bottom < x.shape[-2]
            x = F.pad(x, (0, right, 0, bottom), mode="reflect" if mirrors else "replicate")
        else:
            x = x.clone()  # some of them change their input in place
        return self._call(self.net, x)[..., :height, :width]

    @classmethod
    def recognise(cls, state: State) -> dict[str, Any] | None:
        """The class of the network in ``state`` and its arguments, as far as a file of options can hold them."""
        import spandrel

        try:
            descriptor = spandrel.MAIN_REGISTRY.load(dict(state))
        except Exception:  # there is no common type for what its architectures raise
            return None
        arch = next((name for name, (_, cls) in architectures().items() if type(descriptor.model) is cls), None)
        if arch is None or not isinstance(descriptor, spandrel.ImageModelDescriptor):
            return None
        return {"arch": arch, "options": _options(descriptor.model)}

    def from_public(self, state: State) -> dict[str, Tensor]:
        """``state`` under our keys; older keys of the architecture become those of today."""
        own = self.state_dict()
        if any(f"{PREFIX}{key}" not in own for key in state):
            with contextlib.suppress(Exception):  # it is of another architecture: let the keys say so
                state = self._load(dict(state)).model.state_dict()
        return {f"{PREFIX}{key}": tensor for key, tensor in state.items()}

    def to_public(self, state: State, layout: str | None = None) -> dict[str, Tensor]:
        """The keys that spandrel and other programs read; there is no other layout."""
        public = {key.removeprefix(PREFIX): tensor for key, tensor in super().to_public(state, layout).items()}
        return _rename(public) if self._renamed else public


def _named(arch: str) -> tuple[Any, type[nn.Module]]:
    known = architectures()
    if arch in known:
        return known[arch]
    versions = [name for name, (architecture, _) in known.items() if architecture.id == arch]
    if versions:
        raise ValueError(f"arch: expected one of the networks of {arch}: {', '.join(versions)}")
    names = ", ".join(sorted(known))
    raise ValueError(f"arch: spandrel has no network {arch!r}.{did_you_mean(arch, known)} There are: {names}")


def _with_scale(cls: type[nn.Module], options: dict[str, Any], scale: int | None) -> dict[str, Any]:
    """``options`` with the scale under the name that it has there, unless they say it."""
    name = next((name for name in SCALES if name in inspect.signature(cls).parameters), None)
    return options if scale is None or name is None else {name: scale, **options}


def _make(arch: str, cls: type[nn.Module], options: Mapping[str, Any]) -> nn.Module:
    known = inspect.signature(cls).parameters
    unknown = next((name for name in options if name not in known), None)
    if unknown is not None:
        hint = did_you_mean(unknown, known)
        raise ValueError(f"options: {arch} has no option {unknown!r}.{hint} It takes: {', '.join(known)}")
    missing = [n for n, p in known.items() if p.default is inspect.Parameter.empty and n not in options]
    if missing:
        raise ValueError(f"options: {arch} needs {', '.join(missing)}")
    try:
        return cls(**options)
    except Exception as error:  # what the constructors raise for bad values has no common type
        raise ValueError(f"options: {arch} cannot be made with {dict(options)}: {error}") from error


def _read_back(arch: str, architecture: Any, net: nn.Module) -> tuple[Any, bool]:
    """The network that spandrel finds in the weights of ``net``, with its facts; and whether under ``RENAMED`` keys."""
    import spandrel

    state = net.state_dict()
    reason: Exception | None = None
    for renamed in (False, True) if any(key.startswith(RENAMED[0]) for key in state) else (False,):
        try:
            descriptor = spandrel.MAIN_REGISTRY.load(_rename(state) if renamed else dict(state))
            break
        except Exception as error:  # there is no common type for what its architectures raise
            reason = reason or error
    else:
        raise ValueError(f"spandrel cannot read weights of this {arch} back: {reason}") from reason
    if descriptor.architecture.id != architecture.id:
        raise ValueError(f"spandrel takes weights of this {arch} for {descriptor.architecture.id}: set other options")
    if not isinstance(descriptor, spandrel.ImageModelDescriptor):
        raise ValueError(f"{arch} takes more than an image: not supported")
    return descriptor, renamed


def _rename(state: State) -> dict[str, Tensor]:
    ours, theirs = RENAMED
    return {theirs + k.removeprefix(ours) if k.startswith(ours) else k: tensor for k, tensor in state.items()}


def _with_options(arch: str, cls: type[nn.Module], given: Mapping[str, Any], descriptor: Any) -> nn.Module:
    """The descriptor's network; if it lacks some of the ``given`` options, as those of training, another with them.

    What weights do not tell, such as a window size, must be what spandrel takes for granted: else the result would
    not be that of other programs.
    """
    theirs: nn.Module = descriptor.model
    found = _options(theirs)
    others = {name: found[name] for name, value in given.items() if found.get(name, value) != _written(value)}
    if not others:
        return theirs
    ours = _make(arch, cls, {**vars(theirs)["hyperparameters"], **given})
    side = max(descriptor.size_requirements.minimum, 4 * descriptor.size_requirements.multiple_of, 16)
    x = torch.linspace(0, 1, descriptor.input_channels * side * side).view(1, -1, side, side)
    try:
        ours.load_state_dict(theirs.state_dict())
        with torch.no_grad():
            a, b = (descriptor._call_fn(net.eval(), x) for net in (ours, theirs))
        same = a.shape == b.shape and torch.allclose(a, b, atol=1e-5)
    except Exception:  # of another size, or not even able to compute
        same = False
    if not same:
        wanted = ", ".join(f"{name}: {value}" for name, value in others.items())
        raise ValueError(f"options: weights of {arch} do not tell these, and programs read {wanted}; write that")
    return ours.train()


def _options(net: nn.Module) -> dict[str, Any]:
    """The arguments of its constructor that an option file can hold. Classes of layers are left to their defaults."""
    options = {}
    for name, value in vars(net)["hyperparameters"].items():
        with contextlib.suppress(TypeError, ValueError):
            if name in inspect.signature(type(net)).parameters:
                options[name] = _written(value)
    return options


def _written(value: Any) -> Any:
    """As JSON and YAML hold it: tuples are lists."""
    return json.loads(json.dumps(value))
