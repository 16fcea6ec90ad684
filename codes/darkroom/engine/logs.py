"""What a run says: lines on the screen and in files, figures for machines, scalars and images for TensorBoard."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Mapping
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

        tqdm.write(self.format(record), file=sys.stdout)
        sys.stdout.flush()


class Log:
    """The log of a run. Only the first process writes."""

    def __init__(self, folder: Path | None = None, tensorboard: Path | None = None, kind: str = "train") -> None:
        """Write files into ``folder`` and TensorBoard's into ``tensorboard``; None writes none.

        ``kind`` begins the name of the log: ``train_<time>.log``.
        """
        self._tensorboard = tensorboard if distributed.rank() == 0 else None
        self._writer: Any = None
        self._figures_file: Path | None = None
        self._logger = logging.getLogger(f"darkroom.run.{id(self)}")
        self._logger.propagate = False
        self._logger.setLevel(logging.INFO if distributed.rank() == 0 else logging.CRITICAL)
        self._validation = logging.getLogger(f"darkroom.validation.{id(self)}")
        self._validation.propagate = False
        self._validation.setLevel(logging.INFO)
        self._add(self._logger, _BarHandler())
        if folder is not None and distributed.rank() == 0:
            folder.mkdir(parents=True, exist_ok=True)
            stamp = time.strftime("%y%m%d-%H%M%S")
            self._add(self._logger, logging.FileHandler(folder / f"{kind}_{stamp}.log", encoding="utf-8"))
            self._add(self._validation, logging.FileHandler(folder / f"val_{stamp}.log", encoding="utf-8", delay=True))
            self._figures_file = folder / "metrics.jsonl"

    def _add(self, logger: logging.Logger, handler: logging.Handler) -> None:
        handler.setFormatter(logging.Formatter(FORMAT, DATE))
        logger.addHandler(handler)

    def say(self, message: str) -> None:
        """A line on the screen and in the file."""
        self._logger.info(message)

    def warn(self, message: str) -> None:
        """A line that asks for attention."""
        self._logger.warning(message)

    def validation(self, message: str) -> None:
        """A line for the validation's own file."""
        self._validation.info(message)

    def figures(self, step: int, figures: Mapping[str, float], *, scalars: bool = True) -> None:
        """One line of ``metrics.jsonl``, and TensorBoard scalars by the same names."""
        if self._figures_file is not None:
            with self._figures_file.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"iter": step, **figures}) + "\n")
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

    def close(self) -> None:
        """Put everything on the disk."""
        if self._writer is not None:
            self._writer.close()
        for logger in (self._logger, self._validation):
            for handler in [*logger.handlers]:
                handler.close()
                logger.removeHandler(handler)
