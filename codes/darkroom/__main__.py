"""python -m darkroom TOOL: the commands around training."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

TOOLS = {
    "train": ("darkroom.cli.train", "train a model as an option file says"),
    "test": ("darkroom.cli.test", "run a model over folders of images"),
    "pack": ("darkroom.cli.pack", "decode images once, so that training reads raw pixels"),
    "preview": ("darkroom.cli.preview", "write a sheet of the first samples of a training"),
    "eval": ("darkroom.cli.eval", "measure a folder of images against another"),
    "convert": ("darkroom.cli.convert", "rewrite a weights file for other programs"),
    "interpolate": ("darkroom.cli.interpolate", "mix models of one architecture"),
    "extract": ("darkroom.cli.extract", "take averaged weights out of a state or a file"),
    "export": ("darkroom.cli.export", "write a model as ONNX"),
    "segment": ("darkroom.cli.segment", "make the segmentation maps that SFTGAN reads"),
    "srflow": ("darkroom.cli.srflow", "draw, restore and mix images with the latents of an SRFlow model"),
    "paint": ("darkroom.cli.paint", "try an inpainting model by hand, on a page in the browser"),
    "subimages": ("darkroom.cli.subimages", "cut images into pieces that are read quickly"),
    "downscale": ("darkroom.cli.downscale", "make low-resolution images, with any kernel"),
    "crops": ("darkroom.cli.crops", "cut training crops out of a collection of photographs"),
    "faulty": ("darkroom.cli.faulty", "find damaged image files"),
    "similar": ("darkroom.cli.similar", "find images that are nearly the same, or of little detail"),
    "align": ("darkroom.cli.align", "check whether pairs of images show the same at the same place"),
    "transfer-colors": ("darkroom.cli.transfer_colors", "give images the colours of others"),
    "frames": ("darkroom.cli.frames", "take frames, or pairs of them, out of videos"),
    "options": ("darkroom.cli.options", "write the reference of all options and its JSON schema"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool that the first argument names; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        lines = "\n".join(f"  {name:15} {about}" for name, (_, about) in TOOLS.items())
        sys.stdout.write(f"usage: python -m darkroom TOOL [--help | arguments]\n\ntools:\n{lines}\n\n")
        sys.stdout.write("example: python -m darkroom train -opt options/sr/quickstart.yml\n")
        return 0
    name, *rest = arguments
    if name not in TOOLS:
        sys.stderr.write(f"error: there is no tool {name!r}; there are: {', '.join(TOOLS)}\n")
        return 2
    code: int = importlib.import_module(TOOLS[name][0]).main(rest)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
