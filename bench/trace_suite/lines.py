"""Lines of trace files, and what is said of one that is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


class BadTrace(Exception):
    """A file is no trace of the format that it is read as; the text is one sentence that names file and
    line."""

    def __init__(self, name: str, line: int, why: str) -> None:
        super().__init__(f"{name}, line {line}: {why}")


class UnreadableTrace(BadTrace):
    """A file cannot be read at all."""

    def __init__(self, name: str, why: str) -> None:
        Exception.__init__(self, f"{name} cannot be read: {why}")


def read_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text file.

    Raises:
        UnreadableTrace: It cannot be read, or is no text.
    """
    try:
        with path.open(encoding="utf-8") as file:
            yield from file
    except OSError as error:
        raise UnreadableTrace(str(path), error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise UnreadableTrace(str(path), "it is no text") from error
