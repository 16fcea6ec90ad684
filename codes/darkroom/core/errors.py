"""Errors that are the user's to fix. The command line prints them without a traceback and exits with their code."""

from __future__ import annotations

from collections.abc import Sequence


class DarkroomError(Exception):
    """Something the user can mend: the message says what was expected, what was found, where, and what to do."""

    exit_code = 1


class OptionErrors(DarkroomError):
    """Everything that is wrong with an option file, at once, each with its line."""

    exit_code = 2

    def __init__(self, errors: Sequence[str]) -> None:
        """Keep ``errors``, one message each, and print them one a line."""
        self.errors = list(errors)
        count = "an error" if len(self.errors) == 1 else f"{len(self.errors)} errors"
        super().__init__("\n".join([f"the options have {count}:", *(f"  {e}" for e in self.errors)]))


class DataError(DarkroomError):
    """Images or folders that cannot serve: nothing readable, pairs that do not match, sizes that do not fit."""


class WeightsError(DarkroomError):
    """A weights file that cannot be read or does not fit the network."""


class CheckpointError(DarkroomError):
    """A training state that cannot be written, found or read."""


class DivergedError(DarkroomError):
    """Training produced non-finite numbers too many times in a row."""
