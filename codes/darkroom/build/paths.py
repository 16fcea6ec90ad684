"""Files and folders that options name: whether they are there, before anything is built."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..config.planner import Plan, Planner
from ..data.folders import nearby
from ..data.mixing import paths_of
from .plan import TrainPlan

FOLDERS = ("target", "input", "combined", "a", "b", "maps", "background", "images", "masks", "edges")
"""Options of datasets that name folders, or lists of files."""


def check_folders(p: Planner, datasets: Mapping[str, Plan], made: str | None = None) -> None:
    """All folders that datasets read; those below ``made`` are yet to be written.

    Raises:
        OptionErrors: some are not there.
    """
    for name, planned in datasets.items():
        for key in FOLDERS:
            roots = planned.arguments.get(key) or ()
            for root in paths_of(roots):
                path = Path(root).expanduser()
                if not path.exists() and not (made and path.is_relative_to(Path(made))):
                    text = f"dataset {name!r}: there is no folder {root}.{nearby(path)}"
                    p.error(planned.section.where(key), f"{planned.section.named(key)}: {text}")
    p.check()


def check_training_folders(plan: TrainPlan) -> None:
    """Those of training and validation.

    Raises:
        OptionErrors: some are not there.
    """
    datasets = {"train": plan.dataset, **{name: planned for name, (_, planned) in plan.sets.items()}}
    check_folders(Planner(plan.file), datasets, plan.run.sample_photographs)


def check_pretrained(plan: TrainPlan) -> None:
    """The weights that a run from the beginning starts with.

    Raises:
        OptionErrors: some are not there.
    """
    p, section = Planner(plan.file), plan.file.section("path").section("pretrain")
    for name, file in plan.path.pretrain.items():
        path = Path(file).expanduser()
        if not path.is_file():
            key = section.named(name) if name in section.names else f"pretrain.{name}"
            p.error(
                section.where(name),
                f"path.{key}: there is no weights file {file}.{nearby(path)} Train one, or "
                "remove the line to start from scratch",
            )
    p.check()
