"""Find damaged image files by decoding every one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..data.folders import list_images
from ..data.images import UnreadableImage, read
from .work import Failure, Journal, Workers, apart, look_at, write_table, write_text


def faulty(inputs: Sequence[Path], output: Path, workers: Workers | None = None) -> tuple[list[Failure], int]:
    """The files of ``inputs`` that cannot be decoded, and the number of all.

    In ``output``, ``faulty.csv`` says what is wrong with them, and ``faulty.txt`` has a path a line. No file is
    changed. One that was looked at before and has not changed since is not decoded again.

    Raises:
        DataError: there is no image, or the output is not apart from the inputs.
    """
    apart(inputs, [output])
    files = list_images(inputs)
    reasons = look_at(files, _look, lambda file: (file,), Journal(output, "faulty"), workers or Workers())
    found = [r if isinstance(r, Failure) else Failure(file, r) for file, r in zip(files, reasons, strict=True) if r]
    write_table(output / "faulty.csv", ("file", "reason"), ((f.source, f.reason) for f in found))
    write_text(output / "faulty.txt", "".join(f"{f.source}\n" for f in found))
    return found, len(files)


def _look(file: Path) -> str:
    """Why a file is faulty; nothing if it is not."""
    try:
        read(file)
    except UnreadableImage as error:
        if isinstance(error.__context__, OSError):  # of the disk or its rights, and to be looked at again
            raise
        return error.reason
    return ""
