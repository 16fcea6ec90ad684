"""Try an inpainting model by hand: draw a mask and edges over a photograph, in the browser, and see the fill."""

from __future__ import annotations

import argparse
import threading
import webbrowser
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from .launch import guarded

EPILOG = """examples:
  python -m darkroom paint --path checkpoints/places2
  python -m darkroom paint --path checkpoints/places2 --image photo.jpg --max-side 512 --device cpu

The page is for this computer alone: it is served at 127.0.0.1, under an address with a token that is new each time.
Photographs larger than --max-side are made smaller for the model, and its fill is laid over them in their own size.
Ctrl-C ends it.

exit codes: 1 an error; 2 a wrong command line; 130 ended by Ctrl-C."""


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    raw = argparse.RawDescriptionHelpFormatter
    p = argparse.ArgumentParser("python -m darkroom paint", description=__doc__, epilog=EPILOG, formatter_class=raw)
    p.add_argument("--path", type=Path, required=True, metavar="MODEL_DIR", help="the folder with the model's weights")
    p.add_argument("--image", type=Path, metavar="FILE", help="the photograph to begin with; the page opens others")
    side = "longest side, in pixels, of what the model sees (default 1024)"
    p.add_argument("--max-side", type=_side, default=1024, metavar="PIXELS", help=side)
    p.add_argument("--port", type=_port, default=0, help="of the page; default: a free one")
    p.add_argument("--no-browser", action="store_true", help="only print the page's address")
    p.add_argument("--device", help="cpu, cuda or cuda:N; default: the first GPU, else the CPU")
    return p


def _side(text: str) -> int:
    value = int(text)
    if value < 64:
        raise argparse.ArgumentTypeError(f"expected 64 or more, found {text}")
    return value


def _port(text: str) -> int:
    value = int(text)
    if not 0 < value < 65536:
        raise argparse.ArgumentTypeError(f"expected 1 to 65535, found {text}")
    return value


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parser().parse_args(argv)
    return guarded(lambda: _paint(args))


def _paint(args: argparse.Namespace) -> int:
    from ..core.errors import DarkroomError

    if find_spec("werkzeug") is None:
        raise DarkroomError("the page needs the package Werkzeug: pip install werkzeug")
    from ..build.device import choose_device, describe
    from ..build.inpainting import load_inpainter
    from ..build.testing import parse_device
    from ..ui.painter import Painter
    from ..ui.server import Server, first_photograph

    first = first_photograph(args.image) if args.image else None
    device = choose_device(parse_device(args.device), print)
    painter = Painter(load_inpainter(args.path, device), args.max_side)
    server = Server(painter, args.port, first)
    print(f"{args.path} on {describe(device)}\nThe page: {server.url}\nCtrl-C ends it.", flush=True)
    if not args.no_browser:  # in a thread, as some browsers wait for the page, and a browser for terminals for its user
        threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
    server.run()  # until Ctrl-C, which ends the process on the spot: there is nothing to put in order
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
