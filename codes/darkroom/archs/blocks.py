"""Building blocks that several families of networks share.

Activations and norms by name, convolution blocks, partial convolutions, spectral norm, initialisation, and the tables
that translate between our readable module names and the key layouts of public weights files.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.network import Network, State

Act = Literal["relu", "leakyrelu", "lrelu", "prelu", "tanh", "sigmoid", "swish"]
Norm = Literal["batch", "instance", "none"]
Mode = Literal["CNA", "NAC", "CNAC"]
ConvType = Literal["Conv2D", "PartialConv2D"]
UpsampleMode = Literal["upconv", "pixelshuffle"]
OutMode = Literal["tanh", "scaltanh", "sigmoid", "clamp"]
N = TypeVar("N", bound=Network)
Table = dict[str, str]
"""Module path of ours -> module path in a public file."""


def preset(network: type[N], name: str, **defaults: Any) -> Callable[..., N]:
    """The constructor with other defaults; its signature still shows every option."""
    factory = functools.partial(network, **defaults)
    about = {"__name__": name, "__module__": network.__module__, "__doc__": f"{name}: {network.__doc__}"}
    vars(factory).update(about)
    return factory


class Swish(nn.Module):
    """``c x sigmoid(beta x)`` with a learnable ``beta`` and c that keeps the variance (https://arxiv.org/abs/1710.05941)."""

    gain = 1.67653251702

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.tensor(beta))

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        return self.gain * x * torch.sigmoid(self.beta * x)


class GaussianNoise(nn.Module):
    """Multiplicative noise ``x + sigma x n``, n ~ N(0, 1), in training only (ESRGAN+, https://arxiv.org/abs/2001.08073)."""

    def __init__(self, sigma: float = 0.1) -> None:
        super().__init__()
        self.sigma = sigma

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape; the noise carries no gradient."""
        if not self.training:
            return x
        return torch.addcmul(x, x.detach(), torch.randn_like(x), value=self.sigma)


class PartialConv2d(nn.Conv2d):
    """Convolution whose zero padding is made up for: sums are scaled by kernel area / pixels inside the image.

    Partial Convolution based Padding, https://arxiv.org/abs/1811.11718, equation 5. Square kernels, stride 1.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (the parent's name)
        """(B, C_in, H, W) -> (B, C_out, H, W)."""
        raw = F.conv2d(input, self.weight, None, self.stride, self.padding, self.dilation, self.groups)
        rows, columns = (_makeup(side, self.kernel_size[0], raw) for side in raw.shape[-2:])
        scaled = raw * (rows[:, None] * columns)
        return scaled if self.bias is None else scaled + self.bias[:, None, None]


def _makeup(side: int, kernel: int, like: Tensor) -> Tensor:
    """``kernel`` / how many of its taps lie inside, for each of ``side`` positions."""
    at = torch.arange(side, device=like.device)
    reach = kernel // 2
    inside = (at + reach).clamp(max=side - 1) - (at - reach).clamp(min=0) + 1
    return (kernel / inside).to(like.dtype)


def make_act(kind: Act, inplace: bool = True, slope: float = 0.2) -> nn.Module:
    """The activation of that name; ``slope`` is that of the leaky ReLU and the PReLU's start."""
    makers = {
        "relu": lambda: nn.ReLU(inplace),
        "leakyrelu": lambda: nn.LeakyReLU(slope, inplace),
        "lrelu": lambda: nn.LeakyReLU(slope, inplace),
        "prelu": lambda: nn.PReLU(init=slope),
        "tanh": nn.Tanh,
        "sigmoid": nn.Sigmoid,
        "swish": Swish,
    }
    if kind not in makers:
        raise ValueError(f"expected one of the activations {', '.join(makers)}, found {kind!r}")
    return makers[kind]()


def make_norm(kind: Norm | None, channels: int) -> nn.Module | None:
    """Batch norm, or instance norm without parameters, or None."""
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    if kind == "instance":
        return nn.InstanceNorm2d(channels)
    if kind in ("none", None):
        return None
    raise ValueError(f"expected the norm to be batch, instance or none, found {kind!r}")


def make_conv(
    in_nc: int, out_nc: int, kernel: int = 3, stride: int = 1, bias: bool = True, convtype: ConvType = "Conv2D"
) -> nn.Conv2d:
    """A zero-padded convolution that keeps the size (even kernels lose one pixel)."""
    kinds = {"Conv2D": nn.Conv2d, "PartialConv2D": PartialConv2d}
    if convtype not in kinds:
        raise ValueError(f"expected the convolution to be one of {', '.join(kinds)}, found {convtype!r}")
    if convtype == "PartialConv2D" and (stride != 1 or kernel % 2 == 0):
        raise ValueError("PartialConv2D needs stride 1 and an odd kernel; use Conv2D here")
    return kinds[convtype](in_nc, out_nc, kernel, stride, (kernel - 1) // 2, bias=bias)


def conv_block(
    conv: nn.Module, in_nc: int, out_nc: int, norm: Norm | None = None, act: Act | None = None, mode: Mode = "CNA"
) -> nn.Sequential:
    """Convolution, norm and activation in the order of ``mode``, as modules ``conv``, ``norm``, ``act``."""
    if mode not in ("CNA", "NAC", "CNAC"):
        raise ValueError(f"expected the mode to be CNA, NAC or CNAC, found {mode!r}")
    first = mode == "NAC"
    normed = make_norm(norm, in_nc if first else out_nc)
    # an activation that comes first, without a norm, must not overwrite the tensor that a shortcut still needs
    active = None if act is None else make_act(act, inplace=not (first and normed is None))
    named = {"conv": conv, "norm": normed, "act": active}
    order = ("norm", "act", "conv") if first else ("conv", "norm", "act")
    return _sequential({name: module for name in order if (module := named[name]) is not None})


def _sequential(named: Mapping[str, nn.Module]) -> nn.Sequential:
    block = nn.Sequential()
    for name, module in named.items():
        block.add_module(name, module)
    return block


def upsampling_factors(scale: int) -> list[int]:
    """The stages of an upsampler: 4 -> [2, 2], 3 -> [3], 1 -> [].

    Raises:
        ValueError: ``scale`` is neither 3 nor a power of two.
    """
    if scale == 3:
        return [3]
    if scale < 1 or scale & (scale - 1):
        raise ValueError(f"expected the network's scale to be 1, 2, 3, 4 or 8, found {scale}")
    return [2] * (scale.bit_length() - 1)


def reconstruction(
    nf: int, out_nc: int, scale: int, act: Act, upsample_mode: UpsampleMode, convtype: ConvType, finalact: Act | None
) -> nn.Sequential:
    """Features (B, nf, h, w) -> image (B, out_nc, scale*h, scale*w); modules ``up1``... ``hr``, ``last``, ``final``."""
    if upsample_mode not in ("upconv", "pixelshuffle"):
        raise ValueError(f"expected upsample_mode to be upconv or pixelshuffle, found {upsample_mode!r}")
    stages: dict[str, nn.Module] = {}
    for i, factor in enumerate(upsampling_factors(scale), 1):
        if upsample_mode == "upconv":
            up, conv = nn.Upsample(scale_factor=factor, mode="nearest"), make_conv(nf, nf, convtype=convtype)
            stages[f"up{i}"] = _sequential({"up": up, "conv": conv, "act": make_act(act)})
        else:
            conv = make_conv(nf, nf * factor**2, convtype=convtype)
            stages[f"up{i}"] = _sequential({"conv": conv, "up": nn.PixelShuffle(factor), "act": make_act(act)})
    stages["hr"] = conv_block(make_conv(nf, nf, convtype=convtype), nf, nf, act=act)
    stages["last"] = conv_block(make_conv(nf, out_nc, convtype=convtype), nf, out_nc)
    if finalact is not None:
        stages["final"] = make_act(finalact)
    return _sequential(stages)


def cap(x: Tensor, outm: OutMode | None) -> Tensor:
    """An image within a range: ``tanh`` [-1, 1]; ``scaltanh``, (tanh + 1) / 2, ``sigmoid`` and ``clamp`` [0, 1]."""
    if outm is None:
        return x
    if outm == "tanh":
        return torch.tanh(x)
    if outm == "scaltanh":
        return (torch.tanh(x) + 1) / 2
    if outm == "sigmoid":
        return torch.sigmoid(x)
    if outm == "clamp":
        return x.clamp(0, 1)
    raise ValueError(f"expected outm to be tanh, scaltanh, sigmoid or clamp, found {outm!r}")


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """(B, C, H, W) mirrored at the right and the bottom until both sides are multiples of ``multiple``."""
    height, width = x.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    if not bottom and not right:
        return x
    mirrors = bottom < height and right < width
    return F.pad(x, (0, right, 0, bottom), mode="reflect" if mirrors else "replicate")


# Spectral norm, https://arxiv.org/abs/1802.05957, with the keys of torch.nn.utils.spectral_norm (weight_orig, weight_u,
# weight_v) that published discriminators have; plain modules instead of hooks, so that they copy, pickle and compile.


def spectral_weight(weight: Tensor, u: Tensor, v: Tensor, iterations: int, outputs: int = 0) -> Tensor:
    """``weight`` over its largest singular value u^T W v, after power iterations that update u and v."""
    with torch.autocast(weight.device.type, enabled=False):
        matrix = weight.transpose(0, outputs).flatten(1)
        if iterations:
            power_iteration(matrix.detach(), u, v, iterations)
            u, v = u.clone(), v.clone()  # the graph must survive another forward, which updates the buffers
        return weight / torch.dot(u, torch.mv(matrix, v))


@torch.no_grad()
def power_iteration(matrix: Tensor, u: Tensor, v: Tensor, iterations: int) -> None:
    """Algorithm 1 of the paper, in place: v = W^T u / |.|, u = W v / |.|."""
    for _ in range(iterations):
        v.copy_(F.normalize(torch.mv(matrix.t(), u), dim=0, eps=1e-12))
        u.copy_(F.normalize(torch.mv(matrix, v), dim=0, eps=1e-12))


class SpectralNorm(nn.Module):
    """Base: a bias, a weight, and estimates of the weight's first singular vectors."""

    outputs: ClassVar[int] = 0
    """The dimension of the weight that counts the channels made: 0, or 1 of a transposed convolution."""
    weight_u: Tensor
    weight_v: Tensor

    def __init__(self, shape: tuple[int, ...], bias: bool) -> None:
        super().__init__()
        made = shape[self.outputs]
        self.bias = nn.Parameter(torch.empty(made)) if bias else None
        self.weight_orig = nn.Parameter(torch.empty(shape))
        self.register_buffer("weight_u", torch.empty(made))
        self.register_buffer("weight_v", torch.empty(math.prod(shape) // made))
        nn.init.kaiming_uniform_(self.weight_orig, a=math.sqrt(5))
        if self.bias is not None:
            nn.init.zeros_(self.bias)
        self.estimate()

    def estimate(self, iterations: int = 15) -> None:
        """Start the estimates anew; to be called after the weight was set otherwise than by a state dict."""
        nn.init.normal_(self.weight_u)
        matrix = self.weight_orig.detach().transpose(0, self.outputs).flatten(1)
        power_iteration(matrix, self.weight_u, self.weight_v, iterations)

    def weight(self) -> Tensor:
        """The weight with spectral norm 1; one power iteration in training."""
        return spectral_weight(self.weight_orig, self.weight_u, self.weight_v, int(self.training), self.outputs)


class SpectralConv2d(SpectralNorm):
    """``nn.Conv2d`` under spectral norm."""

    def __init__(
        self,
        in_nc: int,
        out_nc: int,
        kernel: int,
        stride: int = 1,
        padding: int = 1,
        bias: bool = True,
        dilation: int = 1,
    ) -> None:
        super().__init__((out_nc, in_nc, kernel, kernel), bias)
        self.stride, self.padding, self.dilation = stride, padding, dilation

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, H', W')."""
        return F.conv2d(x, self.weight(), self.bias, self.stride, self.padding, self.dilation)


class SpectralLinear(SpectralNorm):
    """``nn.Linear`` under spectral norm."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__((out_features, in_features), bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return F.linear(x, self.weight(), self.bias)


@torch.no_grad()
def init_kaiming(network: nn.Module, scale: float = 1.0) -> None:
    """Kaiming's normal initialisation times ``scale``, biases 0. ESRGAN's generators start with 0.1 for stability."""
    for weight in _init_rest(network):
        nn.init.kaiming_normal_(weight)
        weight.mul_(scale)
    _estimate(network)


@torch.no_grad()
def init_normal(network: nn.Module, std: float = 0.02) -> None:
    """N(0, ``std``), biases 0: the initialisation of pix2pix and CycleGAN."""
    for weight in _init_rest(network):
        nn.init.normal_(weight, std=std)
    _estimate(network)


def _init_rest(network: nn.Module) -> list[Tensor]:
    """Set biases to 0 and norms to 1 and 0; the weights of convolutions and linear layers are returned."""
    weights = []
    for module in network.modules():
        if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear)):
            weights.append(module.weight)
        elif isinstance(module, SpectralNorm):
            weights.append(module.weight_orig)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
            continue
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    return weights


def _estimate(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, SpectralNorm):
            module.estimate()


def parameters_to_buffers(*modules: nn.Module | None) -> None:
    """What published files hold but no output depends on: kept, and out of sight of optimizers and averages."""
    for part in (part for module in modules if module is not None for part in module.modules()):
        for name, parameter in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            part.register_buffer(name, parameter.detach())


class PublicNetwork(Network):
    """Abstract: a network whose public files have key layouts of their own, given as tables of module names."""

    layout: str
    """The layout that ``to_public`` writes where none is asked for."""

    def layouts(self) -> dict[str, Table]:
        """By name of the layout: our module path -> theirs, for every module that holds parameters or buffers."""
        raise NotImplementedError

    def from_public(self, state: State) -> dict[str, Tensor]:
        """``state`` under our keys, whichever of the layouts it has; what instance norms cannot hold is dropped."""
        tables = [{theirs: ours for ours, theirs in table.items()} for table in self.layouts().values()]
        best = max(tables, key=lambda table: sum(_module(key) in table for key in state))
        renamed = rename(state, best)
        # files of before torch 0.4 hold statistics that InstanceNorm2d never used
        without = {name for name, module in self.named_modules() if isinstance(module, nn.InstanceNorm2d)}
        return {key: tensor for key, tensor in renamed.items() if _module(key) not in without}

    def to_public(self, state: State, layout: str | None = None) -> dict[str, Tensor]:
        """``state`` in ``layout``, in the order that the original has.

        Raises:
            ValueError: there is no such layout, or it has no name for one of our modules.
        """
        tables, layout = self.layouts(), layout or self.layout
        if layout not in tables:
            raise ValueError(f"{type(self).__name__} has the key layouts {', '.join(tables)}, not {layout!r}")
        nameless = [key for key in state if _module(key) not in tables[layout]]
        if nameless:
            others = ", ".join(name for name in tables if name != layout)
            raise ValueError(f"the key layout {layout!r} has no name for {nameless[0]}: write another, {others}")
        return rename(state, tables[layout])


def rename(state: State, table: Table) -> dict[str, Tensor]:
    """``state`` with the module names of ``table`` replaced; other keys stay."""
    renamed = {}
    for key, tensor in state.items():
        module, _, leaf = key.rpartition(".")
        renamed[f"{table[module]}.{leaf}" if module in table else key] = tensor
    return renamed


def _module(key: str) -> str:
    return key.rpartition(".")[0]


def numbered(blocks: Mapping[str, nn.Module], public: str, start: int = 0) -> Table:
    """The table of ``blocks`` (our path -> module) whose children a public file numbers through in one sequence."""
    table: Table = {}
    for path, block in blocks.items():
        children = [f"{path}.{name}" for name, _ in block.named_children()] or [path]
        for child in children:
            table[child] = f"{public}.{start + len(table)}"
    return table
