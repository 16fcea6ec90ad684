"""The folder of a run: what is in it, whether to go on or to start anew, and that only one process uses it."""

from __future__ import annotations

import glob
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..core.errors import CheckpointError, DarkroomError
from .checkpoint import LEFT, PARTIAL, iteration, newest, number, preference, read_state, weights_of


class NothingToDoError(DarkroomError):
    """The run that is to go on has ended already. Not a failure."""

    exit_code = 0


@dataclass(frozen=True)
class Experiment:
    """``<root>/experiments/<name>``, locked for this process, and the state that the run goes on from, if it does."""

    folder: Path
    state_file: Path | None = None
    state: dict[str, Any] | None = None
    lock: FileLock | None = None

    def begin(self, beside: Path | None = None) -> str:
        """Make the folder ready once the run is known to be buildable; the first line to say about it.

        A run that starts anew moves an earlier one aside, and ``beside``, which belongs to it; what one left that
        saved nothing is used again. A crash's halves of files are swept.

        Raises:
            CheckpointError: the earlier run cannot be moved.
        """
        if self.state is not None:
            message = f"Continuing {self.folder} after iteration {self.step:,}, from {self.state_file}"
            left = self._leave_branch()
            message += f"; of the branch that is left, {left} states are kept as *.state.left" if left else ""
        elif _worth_keeping(self.folder):
            kept = archive(self.folder)
            if beside is not None and beside.is_dir():
                beside.rename(beside.with_name(kept.name))
            message = f"Starting anew in {self.folder}; the earlier run is kept as {kept}"
        else:
            message = f"Starting anew in {self.folder}"
            _aside(self.folder / "metrics.jsonl")
        for part in ("models", "training_state", "val_images"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        for leftover in self.folder.glob(f"*/*{PARTIAL}"):
            leftover.unlink(missing_ok=True)
        return message

    @property
    def step(self) -> int:
        """Iterations done in the state that the run goes on from; 0 without one."""
        return 0 if self.state is None else int(self.state["parts"]["loop"]["step"])

    def _leave_branch(self) -> int:
        """Set the states aside to which ``auto`` must not return, and ``latest_*`` weights with theirs; how many.

        They are those ahead of the one that goes on, and those of its iteration that ``auto`` prefers. That one stays
        throughout, so that a crash in between leaves a folder to go on from. The furthest go first: each one less is
        one less to mistake.
        """
        states = self.folder / "training_state"
        assert self.state_file is not None
        others = [p for p in states.glob("*.state") if not _same(p, self.state_file)]
        own = _same(self.state_file.parent, states)
        left = []
        for path in others:
            step = iteration(path)
            beside = step == self.step and (not own or preference(path) < preference(self.state_file))
            if step is not None and (step > self.step or beside):
                left.append((step, path))
        for _, path in sorted(left, reverse=True):
            if number(path) is None:  # a name that would lie; a number stays true
                for weights in weights_of(self.folder, path.stem):
                    _aside(weights)
            _aside(path)
        return len(left)


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
        found = newest(folder, say)
        if found is None:
            _tell_of_archive(folder, say)
        return found or (None, None)
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


def _worth_keeping(folder: Path) -> bool:
    """Whether a run has saved anything there."""
    saved = [*folder.glob("training_state/*"), *folder.glob("models/*")]
    return any(p.is_file() and p.suffix != PARTIAL for p in saved)


def _aside(path: Path) -> None:
    """Rename to ``<name>.left``, or ``.left2`` and so on: what was set aside before stays."""
    if path.exists():
        endings = (LEFT, *(f"{LEFT}{i}" for i in range(2, 999)))
        path.rename(next(p for e in endings if not (p := path.with_name(f"{path.name}{e}")).exists()))


def _same(a: Path, b: Path) -> bool:
    return a.resolve() == b.resolve()


def _tell_of_archive(folder: Path, say: Callable[[str], None]) -> None:
    """``auto`` starts anew, which may not be what was meant if there is an earlier run."""
    for kept in sorted(folder.parent.glob(f"{glob.escape(folder.name)}_archived_*"), reverse=True):
        found = newest(kept, lambda message: None)
        if found is not None:
            path, step = found[0], found[1]["parts"]["loop"]["step"]
            text = f"there is no state in {folder}, so this run starts anew. An earlier one of {step:,} iterations"
            say(f"resume_state: auto: {text} is archived; to continue it, set path.resume_state={path}")
            return


def _there(folder: Path) -> str:
    states = sorted(p.name for p in folder.glob("*.state")) if folder.is_dir() else []
    return f"In {folder} there are: {', '.join(states)}" if states else f"There are no states in {folder}."
