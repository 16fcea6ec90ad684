"""The ResNet generator of CycleGAN, https://arxiv.org/abs/1703.10593.

After Johnson's network for style transfer, https://arxiv.org/abs/1603.08155; in the paper's words c7s1-64, d128, d256,
R256 (nine times), u128, u64, c7s1-3. Initialised with N(0, 0.02). It reads and writes the authors' files.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ..core.network import State
from . import ARCHS
from .blocks import PublicNetwork, Table, conv_block, init_normal, numbered, preset
from .translation import Norm, Upsampling, check_sides, has_bias, twice_as_large, upsampling_at, with_parts

Padding = Literal["reflect", "replicate", "zero"]
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""What norms hold besides parameters, in the authors' files even those that do not use it."""


class ResidualBlock(nn.Module):
    """R: two convolutions with norms, and dropout between them if wanted, added to what goes in."""

    def __init__(self, nf: int, norm_type: Norm, use_dropout: bool, padding_type: Padding) -> None:
        super().__init__()
        mode = "zeros" if padding_type == "zero" else padding_type

        def conv() -> nn.Module:
            return nn.Conv2d(nf, nf, 3, padding=1, padding_mode=mode, bias=has_bias(norm_type))

        self.conv1 = conv_block(conv(), nf, nf, norm_type, "relu")
        self.dropout = nn.Dropout(0.5) if use_dropout else nn.Identity()
        self.conv2 = conv_block(conv(), nf, nf, norm_type)

    def forward(self, x: Tensor) -> Tensor:
        """(B, nf, H, W) to the same shape."""
        return x + self.conv2(self.dropout(self.conv1(x)))


@ARCHS.register("resnet", "resnet_net")
class ResNetGenerator(PublicNetwork):
    """(B, in_nc, H, W) -> (B, out_nc, H, W); images in [-1, 1], the sides must be multiples of 4.

    ``norm_type`` batch leaves the convolutions without bias. ``padding_type`` is that of the residual blocks.
    ``upsample_mode`` upconv enlarges by repeating pixels and convolving, upconv_bilinear by interpolation.
    """

    multiple_of: ClassVar[int] = 4
    signed = True
    keeps_gray: ClassVar[bool] = False

    def __init__(
        self,
        in_nc: int = 3,
        out_nc: int = 3,
        nf: int = 64,
        n_blocks: int = 9,
        norm_type: Norm = "instance",
        use_dropout: bool = False,
        padding_type: Padding = "reflect",
        upsample_mode: Upsampling = "deconv",
    ) -> None:
        super().__init__()
        _check(n_blocks, padding_type)
        self.norm_type, self.padding_type, self.layout = norm_type, padding_type, "dropout" if use_dropout else "plain"
        bias = has_bias(norm_type)

        def block(conv: nn.Module, out: int) -> nn.Module:
            return conv_block(conv, out, out, norm_type, "relu")

        def smaller(width: int) -> nn.Module:
            return block(nn.Conv2d(width // 2, width, 3, stride=2, padding=1, bias=bias), width)

        def larger(width: int) -> nn.Module:
            return block(twice_as_large(upsample_mode, 2 * width, width, 3, bias), width)

        self.first = block(nn.Conv2d(in_nc, nf, 7, padding=3, padding_mode="reflect", bias=bias), nf)
        self.downs = nn.Sequential(smaller(2 * nf), smaller(4 * nf))
        blocks = (ResidualBlock(4 * nf, norm_type, use_dropout, padding_type) for _ in range(n_blocks))
        self.trunk = nn.Sequential(*blocks)
        self.ups = nn.Sequential(larger(2 * nf), larger(nf))
        self.last = nn.Conv2d(nf, out_nc, 7, padding=3, padding_mode="reflect")
        init_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_nc, H, W) -> (B, out_nc, H, W), in [-1, 1].

        Raises:
            ValueError: a side is not a multiple of 4.
        """
        check_sides(x, self.multiple_of)
        return torch.tanh(self.last(self.ups(self.trunk(self.downs(self.first(x))))))

    def layouts(self) -> dict[str, Table]:
        """``plain``, and ``dropout`` of networks with dropout, where the second layers of a block have higher numbers.

        Files of either load into networks with dropout and without: the numbers of a block's convolutions, 1 and 5 or
        1 and 6 (padded with zeros 0 and 3 or 0 and 4), tell which it is.
        """
        return {"plain": self._table(0), "dropout": self._table(1)}

    def from_public(self, state: State) -> dict[str, Tensor]:
        """``state`` under our keys, from either layout; statistics of instance norms are dropped."""
        if self.norm_type == "instance":
            state = {key: tensor for key, tensor in state.items() if key.rpartition(".")[2] not in STATISTICS}
        return super().from_public(state)

    def _table(self, dropout: int) -> Table:
        """Layers count from 0 through the network and through each block, pads, activations and ``dropout`` too."""
        head = {"first": self.first, "downs.0": self.downs[0], "downs.1": self.downs[1]}
        table = numbered(head, "model", start=1)
        pad = 0 if self.padding_type == "zero" else 1
        for i, block in enumerate(self.trunk.children()):
            public = f"model.{10 + i}.conv_block"
            table |= numbered({f"trunk.{i}.conv1": block.get_submodule("conv1")}, public, start=pad)
            table |= numbered({f"trunk.{i}.conv2": block.get_submodule("conv2")}, public, start=2 * pad + 3 + dropout)
        end = 10 + len(self.trunk)
        ups = {"ups.0": self.ups[0], "ups.1": self.ups[1]}
        table |= numbered(ups, "model", start=end) | {"last": f"model.{end + 7}"}
        held = {path for path, module in self.named_modules() if not isinstance(module, nn.InstanceNorm2d)}
        return with_parts(self, {ours: theirs for ours, theirs in table.items() if ours in held})

    @classmethod
    def recognise(cls, state: State) -> dict[str, Any] | None:
        """The options of the network in ``state``; reflections are assumed where it pads with them or replicates."""
        end = 1 + max((int(m[1]) for key in state if (m := re.match(r"model\.(\d+)\.conv_block\.", key))), default=-1)
        first, last = state.get("model.1.weight"), state.get(f"model.{end + 7}.weight")
        if first is None or last is None:
            return None
        convs = [n for n in range(7) if _ndim(state, f"model.10.conv_block.{n}.weight") == 4]
        return {
            "in_nc": first.shape[1],
            "out_nc": last.shape[0],
            "nf": first.shape[0],
            "n_blocks": end - 10,
            "norm_type": "instance" if "model.1.bias" in state else "batch",
            "use_dropout": convs[1] == 2 * convs[0] + 4,
            "padding_type": "reflect" if convs[0] else "zero",
            "upsample_mode": upsampling_at(state, f"model.{end}"),
        }


ARCHS.register("resnet_6blocks")(preset(ResNetGenerator, "resnet_6blocks", n_blocks=6))
ARCHS.register("resnet_9blocks")(preset(ResNetGenerator, "resnet_9blocks", n_blocks=9))


def _check(n_blocks: int, padding_type: Padding) -> None:
    if n_blocks < 1:
        raise ValueError(f"expected n_blocks to be 1 or more, found {n_blocks}")
    if padding_type not in ("reflect", "replicate", "zero"):
        raise ValueError(f"expected padding_type to be reflect, replicate or zero, found {padding_type!r}")


def _ndim(state: State, key: str) -> int:
    return state[key].ndim if key in state else 0
