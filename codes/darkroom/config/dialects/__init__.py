"""Languages that option files may be written in, other than our own. All of them end as native sections."""

from __future__ import annotations

from ..source import Section
from . import trainner
from .trainner_reference import documented_page, documented_schema

__all__ = ["documented_page", "documented_schema", "to_native"]


def to_native(file: Section, errors: list[str], notes: list[str]) -> Section:
    """The native file that says what ``file`` says; ``file`` itself if it is native. It is not changed.

    What is wrong goes to ``errors``, what the user should be told at the start goes to ``notes``, each with its place.
    A file is of a dialect if it has a key that only the dialect has; it may have native sections beside.
    """
    return trainner.translate(file, errors, notes) if trainner.recognises(file) else file
