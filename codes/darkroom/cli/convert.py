"""Rewrite a weights file in the keys or the format that another program reads. The weights stay as they are."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from .launch import guarded, tidily

EPILOG = """examples:
  python scripts/convert_model.py RealESRGAN_x4plus.pth esrgan.pth --to old
  python scripts/convert_model.py experiments/x4/models/best_G.pth real.pth --to realesrgan
  python scripts/convert_model.py model.pth model.safetensors
  python scripts/convert_model.py 5000_D.pth d.pth --to basicsr --network "{type: discriminator_vgg, size: 128}"

layouts of ESRGAN: old (model.1.sub.0...), new (RRDB_trunk.0...), realesrgan (body.0..., under params in a .pth file);
of MSRResNet: new, basicsr; of VGG discriminators: features, fea, sn, ppon, basicsr.
exit codes: 0 written; 1 the file is not recognised or has no such layout; 2 a wrong command line."""


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    p = argparse.ArgumentParser(
        "convert_model.py", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("source", type=Path, help=".pth, .pt or .safetensors")
    p.add_argument("target", type=Path, help="the file to write; its suffix says the format")
    p.add_argument("--to", metavar="LAYOUT", help="old, new, realesrgan, ..., or safetensors; default: the keys it has")
    p.add_argument("--network", metavar="TYPE", help="the architecture, where a file cannot tell (discriminators)")
    p.add_argument("--scale", type=int, help="of the network, where a file cannot tell (old-layout x3)")
    p.add_argument("--force", action="store_true", help="replace a file that is there")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parser().parse_args(argv)
    return guarded(lambda: _convert(args))


def _convert(args: argparse.Namespace) -> int:
    from ..build.model_files import convert

    tidily()
    convert(
        args.source, args.target, args.to, network=args.network, scale=args.scale, force=args.force, say=print
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
