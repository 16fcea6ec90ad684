"""What all tools share: outputs apart from inputs, work in threads, and a journal that lets a second run go on.

A tool plans ``Task``s, and ``carry_out`` does those that its ``Journal`` does not know as done. Tools that only look at
files go over them with ``Workers.over``, and keep in the journal what they saw.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import cv2
import torch
from tqdm import tqdm

from ..core.errors import DataError
from ..data.folders import some
from ..inference.folder import FAILURES, Failure, Job, Report, UpscaleSettings, plan, reason_of

__all__ = [
    "Failure", "Journal", "Report", "Task", "Workers", "apart", "carry_out", "look_at", "stamp", "tasks", "write_table",
    "write_text",
]  # fmt: skip

T = TypeVar("T")
R = TypeVar("R")
Stamp = tuple[str, int, int]
"""Path, size and time of change of a file."""

_FAILURES = (*FAILURES, cv2.error)


@dataclass(frozen=True, slots=True)
class Task(Job):
    """A job whose result depends on more files, or has more files than are known before."""

    place: Path = Path()
    """Where the result belongs: folder and stem. ``targets`` are the files that are known to become of it."""
    also: tuple[Path, ...] = ()
    """Other files that the result depends on."""

    @property
    def files(self) -> tuple[Path, ...]:
        """All that the result depends on."""
        return self.source, *self.also


@dataclass(frozen=True, slots=True)
class Workers:
    """How work is spread and shown."""

    jobs: int | None = None
    """Threads; None: as many as there are cores."""
    say: Callable[[str], None] = tqdm.write
    """Is told what fails, when it fails."""
    progress: bool = True
    """Whether to show a bar on stderr; it never shows where there is no terminal."""

    def over(
        self,
        items: Iterable[T],
        work: Callable[[T], R],
        path: Callable[[T], Path],
        unit: str = "file",
        total: int | None = None,
    ) -> Iterator[tuple[T, R | Failure]]:
        """Each of ``items`` in order, with what ``work`` made of it or why that failed; ``path`` is its name.

        The items may come from a generator, a few ahead of the work; then ``total`` says how many are expected.

        Raises:
            KeyboardInterrupt: Ctrl-C; what was begun is finished, and the message says how much is done.
        """
        jobs = self.jobs or os.cpu_count() or 1
        begun: deque[tuple[T, Future[R]]] = deque()
        # each thread of torch's own would start as many again
        pool = ThreadPoolExecutor(jobs, initializer=torch.set_num_threads, initargs=(1,))
        done, rest = 0, iter(items)
        total = len(items) if isinstance(items, Sequence) else total
        with tqdm(total=total, unit=unit, disable=None if self.progress else True) as bar:
            try:
                while True:
                    # no more than that, as results may be large
                    while len(begun) < 2 * jobs and (item := next(rest, None)) is not None:
                        begun.append((item, pool.submit(work, item)))
                    if not begun:
                        break
                    item, future = begun.popleft()
                    try:
                        outcome: R | Failure = future.result()
                    except _FAILURES as error:
                        outcome = self._failed(path(item), error)
                    yield item, outcome
                    done += 1
                    bar.update()
            except KeyboardInterrupt:
                self.say("stopping: what was begun is finished first; Ctrl-C again ends at once")
                said = f"{done} of {'?' if total is None else total} are done; the same command goes on from there"
                raise KeyboardInterrupt(said) from None
            finally:
                pool.shutdown(cancel_futures=True)

    def _failed(self, path: Path, error: BaseException) -> Failure:
        failure = Failure(path, reason_of(error))
        self.say(f"{failure.source}: {failure.reason}")
        return failure


class Journal:
    """What was made of, or seen in, which files: lines of JSON in a hidden file of the output folder.

    An entry counts as long as its files have the same size and time of change, and what was made of them has not been
    made anew of others. A line that a killed process left unfinished counts for nothing.
    """

    def __init__(self, folder: Path, tool: str, settings: Mapping[str, Any] | None = None) -> None:
        """Read the journal of ``tool`` in ``folder``, which both are made if they are not there.

        Raises:
            DataError: it is of a run with other ``settings``, so that the folder would become a mixture; or nothing can
                be written there.
        """
        self._folder = folder
        self._file = folder / f".darkroom-{tool}.jsonl"
        self._entries: dict[tuple[Stamp, ...], Any] = {}
        self._makers: dict[str, tuple[Stamp, ...]] = {}
        self._names: dict[str, set[str]] = {}
        given = json.loads(json.dumps(dict(settings or {})))
        try:
            before = self._load()
            if before is not None and self._entries:
                self._compare(before, given)
            elif before != given:
                self._append({"tool": tool, "settings": given})
        except OSError as error:
            raise DataError(f"{folder} cannot be written: {error.strerror or error}. Choose another folder") from None

    def known(self, files: Sequence[Path]) -> Any | None:
        """What was noted about ``files`` as they are now; None if nothing was."""
        try:
            return self._entries.get(stamp(files))
        except OSError:
            return None

    def note(self, stamps: tuple[Stamp, ...], value: Any) -> None:
        """Keep ``value``, anything that JSON can hold, about files as they were when ``stamp`` saw them."""
        self._keep(stamps, value)
        self._append({"files": stamps, "value": value})

    def _keep(self, stamps: tuple[Stamp, ...], value: Any) -> None:
        self._entries[stamps] = value
        if isinstance(value, list) and all(isinstance(name, str) for name in value):
            self._makers.update(dict.fromkeys(value, stamps))
            self._names.setdefault(stamps[0][0], set()).update(value)

    def begin(self, stamps: tuple[Stamp, ...]) -> None:
        """Note that files are worked on. What is found of them later is theirs, but not all of it."""
        self.note(stamps, False)

    def written(self, files: Sequence[Path], targets: Sequence[Path] = ()) -> bool:
        """Whether what was made of ``files`` is there, ``targets`` among it."""
        try:
            now = stamp(files)
        except OSError:
            return False
        names = self._entries.get(now)
        if not isinstance(names, list) or not {self._name(target) for target in targets} <= {*names}:
            return False
        return all(self._makers[name] == now and (self._folder / name).exists() for name in names)

    def wrote(self, stamps: tuple[Stamp, ...], targets: Sequence[Path]) -> None:
        """Note that ``targets`` were made of files, beside what had been made of them before.

        What had been made of the first of them before it changed, and was not made anew, is removed.
        """
        known = self._entries.get(stamps)
        names = {self._name(target) for target in targets} | {*(known if isinstance(known, list) else ())}
        source = stamps[0]
        for name in self._names.pop(source[0], set()) - names:
            by = self._makers[name]
            if by[0][0] == source[0] and by[0] != source:
                (self._folder / name).unlink(missing_ok=True)
            else:
                self._names.setdefault(by[0][0], set()).add(name)
        self.note(stamps, sorted(names))

    def refuse_others(self, planned: Iterable[tuple[Path, Path]]) -> None:
        """Refuse results that would take the place of what was made of other files, if these are still there.

        ``planned`` are the files, each with one of the results or with the folder for all of them.

        Raises:
            DataError: there are such results. Nothing was written.
        """
        makers: dict[str, str] = {}
        for name, by in self._makers.items():
            makers |= {name: by[0][0], name.rpartition("/")[0]: by[0][0]}
        found = []
        for file, result in planned:
            maker = makers.get(self._name(result))
            if maker and maker != os.path.abspath(file) and result.exists() and Path(maker).exists():  # noqa: PTH100
                found.append(f"{result}, made of {maker}, now of {file}")
        if found:
            raise DataError(
                f"{len(found)} results would take the place of those of other files: {some(found, 3)}. Take another "
                "folder, or remove them. Nothing was written"
            )

    def _name(self, target: Path) -> str:
        return target.relative_to(self._folder).as_posix()

    def _load(self) -> dict[str, Any] | None:
        """Read what is there; the settings."""
        settings = None
        text = self._file.read_text(encoding="utf-8", errors="surrogateescape") if self._file.exists() else ""
        for written in text.split("\n"):
            try:
                line = json.loads(written)
            except ValueError:
                continue
            if isinstance(line, dict) and "settings" in line:
                settings = line["settings"]
            elif isinstance(line, dict) and "files" in line:
                self._keep(tuple((p, n, t) for p, n, t in line["files"]), line["value"])
        return settings

    def _append(self, line: Mapping[str, Any]) -> None:
        """In a line of its own, whatever a killed process left at the end."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._file.open("ab") as file:
            start = b"\n" if file.tell() else b""
            file.write(start + json.dumps(line).encode())

    def _compare(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        changed = [f"{k} {before.get(k)}, now {v}" for k, v in now.items() if before.get(k) != v]
        if changed:
            raise DataError(
                f"{self._folder} was made with {'; '.join(changed)}. Take another folder, or remove that one, for it "
                "would become a mixture of both"
            )


def stamp(files: Sequence[Path]) -> tuple[Stamp, ...]:
    """What tells files from what they were before.

    Raises:
        OSError: there is no such file.
    """
    return tuple((os.path.abspath(f), s.st_size, s.st_mtime_ns) for f in files for s in (f.stat(),))  # noqa: PTH100


def apart(inputs: Sequence[Path], outputs: Sequence[Path]) -> None:
    """Refuse folders to write to that are, hold, or lie in, a file or folder to read from.

    Raises:
        DataError: two of them overlap.
    """
    for given in inputs:
        for folder in outputs:
            a, b = given.expanduser().resolve(), folder.expanduser().resolve()
            if a == b or a in b.parents or b in a.parents:
                raise DataError(
                    f"results would be written to {folder} and images read from {given}: expected two places apart, "
                    "so that no result is taken for an input, and no input is overwritten. Nothing was written"
                )


def tasks(inputs: Sequence[Path], output: Path, folders: Sequence[Path] = ()) -> list[Task]:
    """A task for each image of ``inputs``, files and folders, with its ``place`` in ``output``, sub-folders kept.

    ``folders`` of the output are those that are written to, where it is not the output itself.

    Raises:
        DataError: there is no image, or one of the inputs and what is written to overlap.
    """
    apart(inputs, folders or [output])
    return [Task(job.source, {}, job.targets[""].with_suffix("")) for job in plan(inputs, output, UpscaleSettings())]


def carry_out(
    todo: Sequence[Task], work: Callable[[Task], Sequence[Path]], journal: Journal, workers: Workers
) -> Report:
    """Do ``work``, which returns the files that it has written, for each task unless the journal knows them as written.

    Raises:
        DataError: see ``Journal.refuse_others``.
        KeyboardInterrupt: Ctrl-C; its message says how many are done.
    """
    journal.refuse_others((task.source, target) for task in todo for target in task.targets.values())
    there = [journal.written(task.files, [*task.targets.values()]) for task in todo]
    report = Report(skipped=[task for task, done in zip(todo, there, strict=True) if done])
    missing = [task for task, done in zip(todo, there, strict=True) if not done]
    for task, outcome in workers.over(missing, lambda t: (stamp(t.files), work(t)), lambda t: t.source):
        if isinstance(outcome, Failure):
            report.failed.append(outcome)
        else:
            journal.wrote(*outcome)
            report.done.append(task)
    return report


def look_at(
    items: Sequence[T], look: Callable[[T], R], files: Callable[[T], Sequence[Path]], journal: Journal, workers: Workers
) -> list[R | Failure]:
    """What ``look``, whose results JSON can hold, sees in each of ``items``, unless the journal knows it already.

    ``files`` of an item are what it sees; the first is its name.

    Raises:
        KeyboardInterrupt: Ctrl-C; its message says how many are done.
    """
    known = [journal.known(files(item)) for item in items]
    unknown = [item for item, value in zip(items, known, strict=True) if value is None]
    seen: list[R | Failure] = []
    for _, outcome in workers.over(unknown, lambda i: (stamp(files(i)), look(i)), lambda i: files(i)[0]):
        if isinstance(outcome, Failure):
            seen.append(outcome)
        else:
            journal.note(*outcome)
            seen.append(outcome[1])
    fresh = iter(seen)
    return [next(fresh) if value is None else value for value in known]


def write_table(file: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file, which appears whole or not at all."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    write_text(file, text.getvalue())


def write_text(file: Path, text: str) -> None:
    """Write a text file, which appears whole or not at all.

    Raises:
        DataError: it cannot be written.
    """
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8", errors="surrogateescape")  # names of files may be no text
        partial.replace(file)
    except OSError as error:
        raise DataError(f"{file} cannot be written: {error.strerror or error}. Choose another place") from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
