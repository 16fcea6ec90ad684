"""The folder of a run: what is in it, whether to go on or to start anew, and that only one process uses it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..core.errors import CheckpointError
from .checkpoint import PARTIAL, newest, read_state


@dataclass(frozen=True)
class Experiment:
    """``<root>/experiments/<name>``, locked for this process, and the state that the run goes on from, if it does."""

    folder: Path
    state_file: Path | None = None
    state: dict[str, Any] | None = None
    lock: FileLock | None = None

    def begin(self, beside: Path | None = None) -> str:
        """Make the folder ready once the run is known to be buildable; the first line to say about it.

        A run that starts anew moves an earlier one aside, and ``beside``, which belongs to it; a crash's halves of
        files are swept.

        Raises:
            CheckpointError: the earlier run cannot be moved.
        """
        if self.state is not None:
            steps = self.state["parts"]["loop"]["step"]
            message = f"Continuing {self.folder} after iteration {steps:,}, from {self.state_file}"
            later = [p for p in self.folder.glob("training_state/*.state") if p.stem.isdigit() and int(p.stem) > steps]
            for path in later:  # of a branch that is left now: 'auto' must not return to it
                path.replace(path.with_name(f"{path.name}.left"))
            message += f"; {len(later)} later states are kept as *.state.left" if later else ""
        elif _anything_in(self.folder):
            kept = archive(self.folder)
            if beside is not None and beside.is_dir():
                beside.rename(beside.with_name(kept.name))
            message = f"Starting anew in {self.folder}; the earlier run is kept as {kept}"
        else:
            message = f"Starting anew in {self.folder}"
        for part in ("models", "training_state", "val_images"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        for leftover in self.folder.glob(f"*/*{PARTIAL}"):
            leftover.unlink(missing_ok=True)
        return message


def enter(root: Path, name: str, resume: str | None, say: Callable[[str], None]) -> Experiment:
    """Lock the folder and find the state to go on from; nothing else is touched yet.

    Raises:
        CheckpointError: another process trains in the folder, or the state to resume from is not there.
    """
    folder = root / "experiments" / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.parent / f".{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise CheckpointError(
            f"{folder}: another process is training there. Wait for it, or give this run another 'name'."
        ) from None
    try:
        return Experiment(folder, *find_state(folder, resume, say), lock)
    except BaseException:
        lock.release()
        raise


def find_state(
    folder: Path, resume: str | None, say: Callable[[str], None]
) -> tuple[Path | None, dict[str, Any] | None]:
    """The state that ``resume`` means: a file, a folder's newest whole one, or ``auto``: the experiment's, if any.

    Raises:
        CheckpointError: the file or folder has none.
    """
    if resume is None:
        return None, None
    if resume == "auto":
        return newest(folder, say) or (None, None)
    path = Path(resume).expanduser()
    if not path.is_dir():
        if not path.exists():
            raise CheckpointError(f"resume_state: {path} does not exist. {_there(path.parent)}")
        return path, read_state(path)
    found = newest(path, say)
    if found is None:
        raise CheckpointError(f"resume_state: {path} has no whole training state (*.state)")
    return found


def archive(folder: Path) -> Path:
    """Move the folder of an earlier run aside, under a name with the time."""
    stamp = time.strftime("%y%m%d-%H%M%S")
    candidates = [
        folder.with_name(f"{folder.name}_archived_{stamp}{extra}") for extra in ("", *(f"_{i}" for i in range(2, 99)))
    ]
    target = next(c for c in candidates if not c.exists())
    try:
        folder.rename(target)
    except OSError as error:
        raise CheckpointError(
            f"{folder}: the earlier run cannot be moved to {target} ({error}). Close what has its files open, "
            "set another 'name', or continue it with resume_state: auto."
        ) from None
    return target


def _anything_in(folder: Path) -> bool:
    return folder.is_dir() and any(p.is_file() for p in folder.rglob("*"))


def _there(folder: Path) -> str:
    states = sorted(p.name for p in folder.glob("*.state")) if folder.is_dir() else []
    return f"In {folder} there are: {', '.join(states)}" if states else f"There are no states in {folder}."
