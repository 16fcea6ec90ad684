"""Start an SFT network for SFTGAN from a model that was trained for PSNR.

The convolutions of an SRResNet without norms (model.0..., model.1.sub...) become those of the SFT network; what it has
in addition, the condition and the SFT layers, starts as Kaiming's normal initialisation times 0.1, with biases 0.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "codes"))

from darkroom.cli.launch import guarded, tidily

if TYPE_CHECKING:
    from torch import Tensor

    from darkroom.core.network import State

EPILOG = """examples:
  python scripts/transfer_params_sft.py -m SRGAN_bicx4_noBN_DIV2K.pth -o sft_net_ini.pth
  python scripts/transfer_params_sft.py -m experiments/psnr/models/best_G.pth -o sft_net_ini.pth --like sft_net_raw.pth

A model to start from: network_G: {type: sr_resnet, norm_type: null, act_type: relu}, trained with an l1 loss.
exit codes: 0 written; 1 the model does not fit; 2 a wrong command line."""
NO_MODEL = "expected an SRResNet with the keys model.0.weight, model.1.sub.0.res.0.weight, ..."


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    p = argparse.ArgumentParser(
        "transfer_params_sft.py",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("-m", "--model", type=Path, required=True, metavar="FILE", help="the PSNR model")
    p.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the SFT network to write")
    p.add_argument("--like", type=Path, metavar="FILE", help="an SFT network whose sizes are wanted")
    p.add_argument("--classes", type=int, default=8, help="of the segmentation maps (default 8; else see --like)")
    p.add_argument("--seed", type=int, default=0, help="of the random weights (default 0)")
    p.add_argument("--force", action="store_true", help="replace a file that is there")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parser().parse_args(argv)
    return guarded(lambda: _transfer(args))


def _transfer(args: argparse.Namespace) -> int:
    import torch

    from darkroom.archs.sft import SFTNet
    from darkroom.build.model_files import check_target, save
    from darkroom.inference.weights import read_state

    tidily()
    check_target(args.output, args.force)
    state = read_state(args.model)
    wanted = _sizes_like(args.like) if args.like else {}
    sizes = {"classes": args.classes, **wanted, **sft_sizes(state, args.model, wanted)}
    torch.manual_seed(args.seed)
    own = SFTNet(**sizes).state_dict()
    taken = transferred(state)
    save({**own, **taken}, args.output)
    said = ", ".join(f"{name}: {value}" for name, value in sizes.items())
    print(f"{args.output}: {len(taken)} tensors of {args.model}, {len(own) - len(taken)} new ones")
    print(f"network_G: {{type: sft_net, {said}}}")
    return 0


def transferred(state: State) -> dict[str, Tensor]:
    """The tensors of an SRResNet, key layout ``old``, under the keys of an SFT network.

    ``model.0`` is the first convolution, ``model.1.sub`` has the residual blocks and after them one more convolution,
    and from ``model.2`` on the image is enlarged.
    """
    blocks = _blocks(state)
    names = {"model.0": "conv0", f"model.1.sub.{blocks}": f"sft_branch.{blocks + 1}"}  # one SFT layer is in between
    for i in range(blocks):
        names |= {f"model.1.sub.{i}.res.{2 * n}": f"sft_branch.{i}.conv{n}" for n in (0, 1)}
    numbers = {int(key.split(".")[1]) for key in state}
    names |= {f"model.{n}": f"HR_branch.{n - 2}" for n in numbers if n > 1}
    return {f"{names[module]}.{kind}": t for key, t in state.items() for module, _, kind in (key.rpartition("."),)}


def sft_sizes(state: State, path: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    """The arguments of the SFT network that an SRResNet fits into.

    Raises:
        WeightsError: it is no SRResNet, or one that differs in more than sizes, or from the sizes that are ``wanted``.
    """
    from darkroom.archs.srresnet import SRResNet
    from darkroom.core.errors import WeightsError
    from darkroom.inference.weights import recognise

    known = recognise(state, [SRResNet])
    if known is None or not any(key.startswith("model.1.sub.0.res.") for key in state):
        raise WeightsError(f"{path}: {NO_MODEL}, found {', '.join(list(state)[:3])}, ...")
    found = known[1]
    expected = {"norm_type": None, "mode": "CNA", "act_type": "relu", "upsample_mode": "pixelshuffle"}
    for name, value in expected.items():
        if found[name] != value:
            raise WeightsError(f"{path} has {name}: {found[name]}; the SFT network is one with {name}: {value}")
    sizes = {name: found[name] for name in ("in_nc", "out_nc", "nf", "nb", "scale")}
    differing = [n for n, value in sizes.items() if wanted.get(n, value) != value]
    if differing:
        said = ", ".join(f"{n} {sizes[n]} instead of {wanted[n]}" for n in differing)
        raise WeightsError(f"{path} does not fit the SFT network of --like: {said}")
    return sizes


def _sizes_like(path: Path) -> dict[str, Any]:
    from darkroom.archs.sft import SFTNet
    from darkroom.core.errors import WeightsError
    from darkroom.inference.weights import identify

    sizes = identify(path, [SFTNet])[1]
    if sizes["version"] != "pytorch":
        raise WeightsError(f"{path} is the version {sizes['version']}, whose blocks are not an SRResNet's")
    return sizes


def _blocks(state: State) -> int:
    return 1 + max(int(key.split(".")[3]) for key in state if ".res." in key)


if __name__ == "__main__":
    raise SystemExit(main())
