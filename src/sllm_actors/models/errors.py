"""Why the files of a model cannot be used or downloaded, in sentences for a person."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

MOST_NAMED = 8
"""Names that one sentence lists."""


class SourceProblem(Exception):
    """A model's source is not there, or not what the backend reads. The text is one sentence for a person.

    "This worker" in it is the worker whose files were looked at.
    """


def unreadable(path: Path, error: OSError) -> SourceProblem:
    """Return what an ``OSError`` at a path means to the person who named the path. Blocks on the disk."""
    if isinstance(error, FileNotFoundError):
        if path.is_symlink():
            return SourceProblem(
                f"{path} on this worker is a link to {path.readlink()}, which does not exist"
            )
        return SourceProblem(f"{path} does not exist on this worker")
    return SourceProblem(f"{path} on this worker cannot be read: {error.strerror or error}")


def forbidden(folder: Path, error: OSError) -> SourceProblem:
    """Return the problem that a worker may not write to the folder for all models."""
    return SourceProblem(
        f"{error.filename or folder} cannot be written by the user of this worker ({os.geteuid()}):"
        f" {error.strerror}; give {folder} to that user, or name another folder with --storage-path"
    )


def not_whole(place: Path, missing: list[str]) -> SourceProblem:
    """Return the problem that these files of a model are missing in a folder."""
    more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
    return SourceProblem(f"{place} on this worker is not whole: {missing[0]} is missing{more}")


def list_names(names: Iterable[str]) -> str:
    """Return names in order, as a list within a sentence: ``MOST_NAMED`` of them, and "…" for the rest."""
    ordered = sorted(names)
    return ", ".join(ordered[:MOST_NAMED]) + (", …" if len(ordered) > MOST_NAMED else "")
