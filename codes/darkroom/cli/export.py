"""Write a model as ONNX, for other runtimes. The file is compared with PyTorch before it is there."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from .launch import guarded, tidily

EPILOG = """examples:
  python -m darkroom export experiments/x4/models/best_G.pth --onnx x4.onnx
  python -m darkroom export model.safetensors --onnx x4.onnx --half
  python -m darkroom export swinir.pth --onnx x4.onnx --size 256 256

It needs more packages: pip install onnx onnxruntime onnxscript
exit codes: 0 written; 1 the model is not recognised or cannot be exported; 2 a wrong command line."""


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    p = argparse.ArgumentParser(
        "python -m darkroom export", description=__doc__, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    p.add_argument("model", type=Path, help=".pth, .pt or .safetensors of any known architecture")
    p.add_argument("--onnx", type=Path, required=True, metavar="FILE", help="the file to write")
    p.add_argument("--opset", type=int, help="version of the operators; default: the exporter's newest")
    p.add_argument("--half", action="store_true", help="compute in float16")
    p.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="only for images of this size")
    p.add_argument("--scale", type=int, help="of the network, where a file cannot tell (old-layout x3)")
    p.add_argument("--force", action="store_true", help="replace a file that is there")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parser().parse_args(argv)
    return guarded(lambda: _export(args))


def _export(args: argparse.Namespace) -> int:
    from ..build.model_files import export

    tidily()
    export(
        args.model, args.onnx, opset=args.opset, half=args.half, size=tuple(args.size) if args.size else None,
        scale=args.scale, force=args.force, say=print,
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
