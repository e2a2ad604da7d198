"""The file with what the head said last: a gateway that starts while the head is away begins with it."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from sllm_actors.files import FileProblem, put_aside, read_record, write_record
from sllm_actors.serving.messages import ServedModel, WorkerAddress

LARGEST = 64 * 2**20
"""Bytes that the file may have when it is read."""

VERSION = 2
"""The version of the file's format that is written, and the only one that is read."""


@frozen
class Snapshot:
    """What the head has said.

    Attributes:
        models: What is deployed.
        workers: Where workers are reached.
        version: Of the file's format.
    """

    models: tuple[ServedModel, ...] = ()
    workers: tuple[WorkerAddress, ...] = ()
    version: int = VERSION


def save_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Write a snapshot to the file, whole or not at all, readable by its owner only.

    Blocks: call it in a thread.

    Raises:
        OSError: The file could not be written; the old one is as it was.
    """
    write_record(path, snapshot, durable=True)


def load_snapshot(path: Path) -> Snapshot | None:
    """Return the snapshot in the file, or None if there is none. Blocks: call it in a thread.

    A file that is damaged, or of another version, counts as none: it is renamed, with a warning in the log.

    Raises:
        FileProblem: Such a file could not be renamed.
    """
    try:
        snapshot = read_record(path, Snapshot, LARGEST)
        if snapshot is None or snapshot.version == VERSION:
            return snapshot
        problem = FileProblem(path, f"is of version {snapshot.version}, not {VERSION}")
    except FileProblem as found:
        problem = found
    put_aside(problem, "until the head is linked, this gateway knows of no deployment")
    return None
