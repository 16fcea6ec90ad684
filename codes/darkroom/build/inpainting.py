"""EdgeConnect's folders: a config.yml, weights with the iteration in their names, and what a run of a phase needs.

What differs from the published code: the newest weights are those of the highest iteration, not the last by spelling; a
generator and its discriminator are taken of one iteration; the optimizers' state is kept beside, below ``experiments``,
so that an interrupted run goes on exactly.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from ..archs import ARCHS
from ..config.dialects.edgeconnect import NAMES, PARTS, Config, to_native
from ..config.dialects.rules import Job
from ..config.source import Section, override
from ..config.source import read as read_options
from ..core.errors import DataError, OptionErrors
from ..core.network import Network
from ..data.flist import list_files
from ..data.images import Picture, as_bytes, read
from ..engine.experiment import NothingToDoError, find_state
from ..inference.folder import Job as FileJob
from ..inference.folder import Results, UpscaleSettings, work_through
from ..inference.folder import plan as plan_files
from ..inference.inpaint import Inpainter, outlines
from ..inference.weights import load_weights
from .device import choose_device
from .plan import Options
from .testing import parse_device

CONFIG = "config.yml"
TESTED = {1: ("EdgeModel",), 2: ("InpaintingModel",), **dict.fromkeys((3, 4), ("EdgeModel", "InpaintingModel"))}
"""What a test of each phase runs."""
Say = Callable[[str], None]


def newest(names: Iterable[str], part: str, kind: str) -> str | None:
    """Of files in a folder that with the weights of a part (``EdgeModel``) and kind (``gen``) of most iterations.

    One without a number in its name, as the authors published them, is older than all others.
    """
    found = _numbered(names, part, kind)
    return found[max(found)] if found else None


def newest_set(names: Sequence[str], part: str) -> dict[str, str]:
    """Generator and discriminator (``gen``, ``dis``) of the highest iteration of which there are both.

    Where there are never both, the newest of each.
    """
    files = {kind: _numbered(names, part, kind) for kind in ("gen", "dis")}
    common = files["gen"].keys() & files["dis"].keys()
    if common:
        return {kind: numbered[max(common)] for kind, numbered in files.items()}
    return {kind: file for kind in files if (file := newest(names, part, kind)) is not None}


def _numbered(names: Iterable[str], part: str, kind: str) -> dict[int, str]:
    pattern = re.compile(rf"{part}_{kind}(?:_(\d+))?\.pth")
    matches = [match for name in names if (match := pattern.fullmatch(name))]
    return {int(match[1] or -1): match[0] for match in matches}


def training_options(folder: Path, phase: int | None, settings: Sequence[str], say: Say) -> tuple[Options, Path]:
    """The options of a training run of a phase, and the file that they are from.

    The run goes on from the newest state of its own, or else from the newest weights in the folder.

    Raises:
        OptionErrors: there is no config.yml, or something in it is wrong.
        NothingToDoError: the weights have more iterations behind them than are to be trained.
    """
    folder = folder.expanduser().resolve()
    source, file = config_of(folder)
    override(file, settings)
    errors: list[str] = []
    notes: list[str] = []
    phase = phase or _phase(file)
    native = to_native(file, phase, folder, errors, notes)
    place = file.where()
    # what is wrong is told first, also in a folder where nothing is left to do
    for key, value in ({} if errors else _beginning(folder, phase, native, say)).items():
        native["path"].put(key, value, place)
    return Options(native, notes, errors), source


def config_of(folder: Path) -> tuple[Path, Section]:
    """The config.yml of a folder, or the file itself.

    Raises:
        OptionErrors: there is none.
    """
    source = folder / CONFIG
    if not source.is_file():
        where = f"there is no folder {folder}" if not folder.is_dir() else f"there is no {CONFIG} in {folder}"
        raise OptionErrors([f"{where}; copy options/inpaint/config.yml there, and write your folders of images in it"])
    return source, read_options(source)


def _phase(file: Section) -> int:
    phase = file.get("MODEL", 1)
    return phase if phase in NAMES else 1


def _beginning(folder: Path, phase: int, native: Section, say: Say) -> dict[str, Any]:
    """``resume_state``, or ``pretrain`` and ``start``."""
    names = [path.name for path in folder.iterdir() if path.is_file()]
    sets = {part: newest_set(names, part) for part in ("EdgeModel", "InpaintingModel")}
    fields = {"EdgeModel": {"gen": "G", "dis": "D"} if phase == 1 else {"gen": "E", "dis": "D_E"}}
    fields["InpaintingModel"] = {"gen": "G", "dis": "D"}
    wanted = [*PARTS[phase], *(["EdgeModel"] if phase == 3 else [])]
    pretrain = {
        fields[part][kind]: str(folder / file)
        for part in wanted
        for kind, file in sets[part].items()
        if f"network_{fields[part][kind]}" in native
    }
    alone = newest(names, "EdgeModel", "gen") if phase == 3 else None
    if alone is not None:
        pretrain["E"] = str(folder / alone)
    if phase == 3 and "E" not in pretrain:
        text = "model 3 needs the edge generator, a file EdgeModel_gen.pth or EdgeModel_gen_<iteration>.pth"
        raise OptionErrors([f"{folder}: {text}; train model 1 first, or put the published files there"])
    trained = [sets[part]["gen"] for part in PARTS[phase] if "gen" in sets[part]]
    start = max((iterations_of(folder / file) for file in trained), default=0)  # so that what it saves is the newest
    experiment = folder / "experiments" / native["name"]
    state_file, state = find_state(experiment, "auto", lambda message: None)
    done = state["parts"]["loop"]["step"] if state is not None else -1
    last = native["train"]["iterations"]
    if max(start, done) >= last:
        text = f"{max(start, done):,} iterations are done, and MAX_ITERS is {last:,}: nothing to do"
        raise NothingToDoError(f"{folder}: {text}. To train further, raise MAX_ITERS")
    if done >= start:
        return {"resume_state": str(state_file), "pretrain": _section({"E": pretrain["E"]} if phase == 3 else {})}
    if start:
        say(f"Going on from {', '.join(trained)}: iteration {start:,}.")
    return {"pretrain": _section(pretrain), "start": start}


def _section(values: Mapping[str, Any]) -> Section:
    return Section.make("the folder", dict(values))


def iterations_of(file: Path) -> int:
    """How many a weights file has behind it: as it says, else as its name says, else none."""
    named = re.search(r"_(\d+)\.pth$", file.name)
    try:
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # a file that cannot be read is for loading it to tell
        content = {}
    said = content.get("iteration") if isinstance(content, Mapping) else None
    return int(said) if said is not None else int(named[1]) if named else 0


def load_inpainter(
    folder: Path, device: torch.device, say: Say = print, parts: Sequence[str] = ("EdgeModel", "InpaintingModel")
) -> Inpainter:
    """The generators of a folder, the newest ones; only those of ``parts``.

    Raises:
        OptionErrors: one is not there.
        WeightsError: one cannot be loaded.
    """
    names = [path.name for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    networks: dict[str, Network | None] = {}
    for part, kind in (("EdgeModel", "edge_generator"), ("InpaintingModel", "inpaint_generator")):
        networks[part] = _generator(folder, names, part, kind, say) if part in parts else None
    return Inpainter(networks["EdgeModel"], networks["InpaintingModel"], device)


def _generator(folder: Path, names: Sequence[str], part: str, kind: str, say: Say) -> Network:
    file = newest(names, part, "gen")
    if file is None:
        found = ", ".join(name for name in names if name.endswith(".pth")) or "no .pth file"
        raise OptionErrors([f"{folder}: there is no {part}_gen.pth or {part}_gen_<iteration>.pth, but {found}"])
    network: Network = ARCHS[kind]()
    for note in load_weights(network, folder / file, strict=True):
        say(note)
    say(f"{part}: {file}")
    return network


def fill_folder(
    folder: Path, phase: int, inputs: Sequence[str], masks: Sequence[str], output: Path, edges: Sequence[str],
    sigma: float | None, device: str | None, say: Say,
) -> int:  # fmt: skip
    """Every picture of ``inputs`` with its mask, in order, through the phase's networks, into ``output``.

    A single mask or file of edges is for all pictures. The exit code is 1 if a file failed.

    Raises:
        DarkroomError: there is nothing to read, the numbers of files differ, or the networks cannot be loaded.
    """
    _, file = config_of(folder)
    errors: list[str] = []
    config = Config(Job(file, errors, []))
    if errors:
        raise OptionErrors(errors)
    sources = list_files(inputs)
    holes = dict(zip(sources, _for_each(sources, masks, "--mask"), strict=True))
    lines = dict(zip(sources, _for_each(sources, edges, "--edge"), strict=True)) if edges else {}
    target = choose_device(parse_device(device) if device or config["DEVICE"] else (), say)
    inpainter = load_inpainter(folder, target, say, TESTED[phase])
    given = sigma if sigma is not None else config["SIGMA"] or 2.0  # 0 is random, in training
    tags = ("", "_edge", "_masked") if config["DEBUG"] else ("",)

    def work(job: FileJob, picture: Picture) -> Results:
        image = as_bytes(picture.as_channels(3))
        hole = _hole(holes[job.source], image.shape[:2])
        known = _lines(lines[job.source], image.shape[:2]) if lines else None
        made, drawn = filled(inpainter, phase, image, hole, known, given)
        white = np.where(hole[:, :, None], np.uint8(255), image)
        shown = (made, 255 - drawn[:, :, None], white)  # black lines on white
        return {tag: Picture(np.ascontiguousarray(pixels)) for tag, pixels in zip(tags, shown, strict=False)}

    jobs = plan_files(sources, output, UpscaleSettings(), tags)
    report = work_through(jobs, work, say=say)
    say(f"{report}\nResults: {output}")
    return 1 if report.failed else 0


def _for_each(sources: Sequence[Path], names: Sequence[str], flag: str) -> list[Path]:
    files = list_files(names)
    if len(files) not in (1, len(sources)):
        count = f"expected one file, or as many as there are pictures, {len(sources)}"
        raise DataError(f"{flag}: {count}; found {len(files)}")
    return files * len(sources) if len(files) == 1 else files


def _hole(path: Path, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: where the mask is not black."""
    mask = read(path).as_channels(1)[:, :, 0]
    if mask.shape != size:
        mask = cv2.resize(mask, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
    hole: np.ndarray = mask > 0
    return hole


def _lines(path: Path, size: tuple[int, int]) -> np.ndarray:
    lines = read(path).as_channels(1)[:, :, 0]
    return lines if lines.shape == size else cv2.resize(lines, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)


def filled(
    inpainter: Inpainter, phase: int, image: np.ndarray, hole: np.ndarray, known: np.ndarray | None, sigma: float
) -> tuple[np.ndarray, np.ndarray]:
    """What the phase makes, (H, W, 3), and the edges that it went by, (H, W), both uint8.

    Phase 1 makes edges, in the hole those that it predicts; phase 2 fills by the given edges; 3 and 4 by all that the
    edge generator makes of the whole picture.
    """
    given = outlines(image, hole, sigma) * np.uint8(255) if known is None else known
    if phase == 2:
        return inpainter.fill(image, hole, given), given
    edges = inpainter.completed(image, hole, sigma)
    drawn = (np.where(hole, edges, given / 255.0) * 255).astype(np.uint8)
    if phase == 1:
        return np.repeat(drawn[:, :, None], 3, axis=2), drawn
    return inpainter.fill(image, hole, edges), (edges * 255).astype(np.uint8)
