"""What a run says: lines on the screen and in files, figures for machines, scalars and images for TensorBoard."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from . import distributed

FORMAT = "%(asctime)s.%(msecs)03d - %(levelname)s: %(message)s"
DATE = "%y-%m-%d %H:%M:%S"


class _BarHandler(logging.Handler):
    """Writes above a progress bar, if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line."""
        from tqdm import tqdm

        line = self.format(record)
        encoding = sys.stdout.encoding or "utf-8"
        with contextlib.suppress(OSError, ValueError):  # nobody reads any more: no reason to stop training
            tqdm.write(line.encode(encoding, "backslashreplace").decode(encoding), file=sys.stdout)
            sys.stdout.flush()


class Log:
    """The log of a run. Only the first process writes.

    Until ``open`` says where, lines wait: the first line of a run tells what became of the folder that they go to.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[int, str]] | None = []
        self._tensorboard: Path | None = None
        self._writer: Any = None
        self._figures_file: Path | None = None
        self._first = distributed.rank() == 0
        self._logger = self._make("run", logging.INFO if self._first else logging.WARNING)
        self._validation = self._make("validation", logging.INFO)
        self._add(self._logger, _BarHandler())

    def open(
        self, folder: Path | None, tensorboard: Path | None, kind: str = "train", first: Sequence[str] = ()
    ) -> None:
        """Write the lines ``first``, those that wait, and all others, also into ``folder`` unless it is None.

        ``kind`` begins the name of the log, ``train_<time>.log``; TensorBoard's files go into ``tensorboard``.
        """
        if self._first and folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            stamp = time.strftime("%y%m%d-%H%M%S")
            self._add(self._logger, logging.FileHandler(folder / f"{kind}_{stamp}.log", encoding="utf-8"))
            self._add(self._validation, logging.FileHandler(folder / f"val_{stamp}.log", encoding="utf-8", delay=True))
            self._figures_file = folder / "metrics.jsonl"
        self._tensorboard = tensorboard if self._first else None
        self._flush(first)

    def _flush(self, first: Sequence[str] = ()) -> None:
        waiting, self._waiting = self._waiting or [], None
        for level, message in [*((logging.INFO, line) for line in first), *waiting]:
            self._logger.log(level, message)

    def _make(self, name: str, level: int) -> logging.Logger:
        logger = logging.getLogger(f"darkroom.{name}.{id(self)}")
        logger.propagate = False
        logger.setLevel(level)
        return logger

    def _add(self, logger: logging.Logger, handler: logging.Handler) -> None:
        handler.setFormatter(logging.Formatter(FORMAT, DATE))
        logger.addHandler(handler)

    def _write(self, level: int, message: str) -> None:
        if self._waiting is not None:
            self._waiting.append((level, message))
        else:
            self._logger.log(level, message)

    def say(self, message: str) -> None:
        """A line on the screen and in the file."""
        self._write(logging.INFO, message)

    def warn(self, message: str) -> None:
        """A line that asks for attention; the other processes may say it too."""
        self._write(logging.WARNING, message if self._first else f"[process {distributed.rank()}] {message}")

    def validation(self, message: str) -> None:
        """A line for the validation's own file."""
        self._validation.info(message)

    def figures(self, step: int, figures: Mapping[str, float], *, scalars: bool = True) -> None:
        """One line of ``metrics.jsonl``, and TensorBoard scalars by the same names."""
        if self._figures_file is not None:
            try:
                with self._figures_file.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"iter": step, **figures}) + "\n")
            except OSError as error:
                self.warn(f"{self._figures_file} cannot be written any more: {error}")
                self._figures_file = None
        if scalars and self.board is not None:
            for name, value in figures.items():
                self.board.add_scalar(name, value, step)

    def image(self, name: str, image: Tensor, step: int) -> None:
        """A (C, H, W) uint8 image for TensorBoard."""
        if self.board is not None:
            self.board.add_image(name, image, step)

    @property
    def board(self) -> Any:
        """TensorBoard's writer, made when something is written: importing it takes a second."""
        if self._writer is None and self._tensorboard is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._tensorboard))
        return self._writer

    def close(self, *, failed: bool = False) -> None:
        """Put everything on the disk; lines that still wait go to the screen, of a ``failed`` start only warnings."""
        if failed:
            self._waiting = [line for line in self._waiting or () if line[0] >= logging.WARNING]
        self._flush()
        if self._writer is not None:
            self._writer.close()
        for logger in (self._logger, self._validation):
            for handler in [*logger.handlers]:
                handler.close()
                logger.removeHandler(handler)
