"""Play with the latents of an SRFlow model: draw images, restore, transfer, interpolate, measure."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from .launch import guarded, tidily

EPILOG = """examples:
  python -m darkroom srflow temperature -i photos_small -m srflow.pth -o out --heats 0 0.5 0.8 --samples 2
  python -m darkroom srflow restore -i noisy.png -m srflow.pth -o out --normalise local
  python -m darkroom srflow MODE --help

exit codes: 0 all done; 1 an error, or a file that failed (the others are done); 2 a wrong command line;
130 stopped by Ctrl-C: what is done is whole."""

EXAMPLES = {
    "temperature": (
        "draw images at several temperatures: 0 is the mean image, 1 the whole variety",
        "-i photos_small -m srflow.pth -o out --heats 0 0.5 0.8 --samples 2",
    ),
    "restore": (
        "bring an image nearer to what the model takes for natural: encode, normalise its latents, decode",
        "-i noisy.png -m srflow.pth -o out --normalise local --heat 0.7",
    ),
    "latent-transfer": (
        "enlarge an image with the details, that is the latents, of another one",
        "-i small.png --source other.png -m srflow.pth -o out",
    ),
    "interpolate": (
        "images on the way between two latents, as files, a strip and a video",
        "-i small.png -m srflow.pth -o out --frames 24 --video",
    ),
    "feed-through": (
        "encode and decode images: the error, the likelihood, and where they do not fit the model",
        "-i photos -m srflow.pth -o out",
    ),
}
"""What each mode does, and its arguments in an example."""


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    raw = argparse.RawDescriptionHelpFormatter
    p = argparse.ArgumentParser("python -m darkroom srflow", description=__doc__, epilog=EPILOG, formatter_class=raw)
    modes = p.add_subparsers(dest="mode", metavar="MODE", required=True)
    for name, (about, example) in EXAMPLES.items():
        text = f"example:\n  python -m darkroom srflow {name} {example}"
        other = [name.replace("-", "_")] if "-" in name else []
        mode = modes.add_parser(
            name, aliases=other, help=about, description=f"{about}.".capitalize(), epilog=text, formatter_class=raw
        )
        mode.set_defaults(mode=name)
        _shared(mode)
        _OWN[name](mode)
    return p


def _shared(p: argparse.ArgumentParser) -> None:
    p.add_argument("-i", "--input", type=Path, nargs="+", required=True, metavar="PATH", help="images and folders")
    p.add_argument("-m", "--model", type=Path, required=True, metavar="FILE", help=".pth or .safetensors of SRFlow")
    p.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="where the results go")
    p.add_argument("--device", help="cpu, cuda or cuda:N; default: the first GPU, else the CPU")
    blocks = "blocks of the encoder that the flow sees, counted from 0, if they are not evenly spread"
    p.add_argument("--blocks", type=int, nargs="+", metavar="N", help=blocks)


def _temperature(p: argparse.ArgumentParser) -> None:
    heats = "standard deviations of the noise (default 0 0.3 0.6 0.9)"
    p.add_argument("--heats", type=_heat, nargs="+", default=[0.0, 0.3, 0.6, 0.9], metavar="T", help=heats)
    p.add_argument("--samples", type=_count, default=1, metavar="K", help="images at each heat (default 1)")
    _seed(p)
    _shrink(p)


def _restore(p: argparse.ArgumentParser) -> None:
    _low(p)
    p.add_argument("--normalise", choices=("global", "local", "none"), default="global", help="default: global")
    region = "side of the surroundings that count with local, in pixels of the image (default 64)"
    p.add_argument("--region", type=_count, default=64, metavar="PIXELS", help=region)
    _factor(p)


def _latent_transfer(p: argparse.ArgumentParser) -> None:
    p.add_argument("--source", type=Path, required=True, metavar="FILE", help="the image that gives its latents")
    _fit(p, "the source")
    _factor(p)
    _shrink(p)


def _interpolate(p: argparse.ArgumentParser) -> None:
    ends = p.add_mutually_exclusive_group()
    ends.add_argument(
        "--heats", type=_heat, nargs=2, default=[0.8, 0.8], metavar=("T0", "T1"),
        help="temperatures of the two latents, which are drawn (default 0.8 0.8)",
    )  # fmt: skip
    ends.add_argument(
        "--ends", type=Path, nargs=2, metavar=("FILE0", "FILE1"), help="instead, images that give their latents"
    )
    _fit(p, "the ends")
    _seed(p)
    p.add_argument("--frames", type=_frames, default=9, metavar="N", help="images, with both ends (default 9)")
    p.add_argument("--method", choices=("spherical", "linear"), default="spherical", help="default: spherical")
    p.add_argument("--video", action="store_true", help="write the frames as .mp4 too")
    p.add_argument("--fps", type=_fps, default=12, help="frames per second of the video (default 12)")
    _shrink(p)


def _seed(p: argparse.ArgumentParser) -> None:
    p.add_argument("--seed", type=int, default=0, help="of the noise: the same seed, the same images (default 0)")


def _low(p: argparse.ArgumentParser) -> None:
    text = "low-res versions, a file or a folder with the same names; default: bicubic ones are made"
    p.add_argument("--low", type=Path, metavar="PATH", help=text)


def _shrink(p: argparse.ArgumentParser) -> None:
    text = "the input has the size of the output: make it small first, bicubic"
    p.add_argument("--shrink", action="store_true", help=text)


def _fit(p: argparse.ArgumentParser, which: str) -> None:
    text = f"if {which} and the result differ in size: take the middle, or resize first; default: that is an error"
    p.add_argument("--fit", choices=("crop", "resize"), help=text)


def _factor(p: argparse.ArgumentParser) -> None:
    p.add_argument("--heat", type=_heat, default=1.0, metavar="T", help="multiplies the latents (default 1)")


def _heat(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"expected 0 or more, found {text}")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, found {text}")
    return value


def _frames(text: str) -> int:
    value = int(text)
    if value < 2:
        raise argparse.ArgumentTypeError(f"expected 2 or more, both ends, found {text}")
    return value


def _fps(text: str) -> float:
    value = float(text)
    if not 0 < value <= 240:
        raise argparse.ArgumentTypeError(f"expected more than 0 and up to 240, found {text}")
    return value


_OWN = {
    "temperature": _temperature,
    "restore": _restore,
    "latent-transfer": _latent_transfer,
    "interpolate": _interpolate,
    "feed-through": _low,
}
"""What adds the arguments that a mode has alone."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parser().parse_args(argv)
    return guarded(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    from ..build import srflow_tools as tools
    from ..build.srflow_pictures import open_flow

    tidily()
    flow = open_flow(args.model, device=args.device, blocks=args.blocks)
    shared = (flow, args.input, args.output)
    if args.mode == "temperature":
        return tools.temperature(*shared, heats=args.heats, samples=args.samples, seed=args.seed, shrink=args.shrink)
    if args.mode == "restore":
        return tools.restore(*shared, low=args.low, normalise=args.normalise, region=args.region, heat=args.heat)
    if args.mode == "latent-transfer":
        return tools.latent_transfer(*shared, source=args.source, fit=args.fit, heat=args.heat, shrink=args.shrink)
    if args.mode == "interpolate":
        return tools.interpolate(
            *shared, heats=tuple(args.heats), ends=args.ends, seed=args.seed, frames=args.frames, method=args.method,
            fit=args.fit, shrink=args.shrink, video=args.video, fps=args.fps,
        )  # fmt: skip
    return tools.feed_through(*shared, low=args.low)


if __name__ == "__main__":
    raise SystemExit(main())
