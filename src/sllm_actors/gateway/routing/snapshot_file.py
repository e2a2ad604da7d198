"""The file with the last routing table: a gateway that starts while the head is away begins with it."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from sllm_actors.files import FileProblem, put_aside, read_record, write_record
from sllm_actors.serving.messages import RoutingTable

LARGEST = 64 * 2**20
"""Bytes that the file may have when it is read."""

VERSION = 1
"""The version of the file's format that is written, and the only one that is read."""


@frozen
class _Snapshot:
    version: int
    table: RoutingTable


def save_table(path: Path, table: RoutingTable) -> None:
    """Write a table to the file, whole or not at all, readable by its owner only.

    Blocks: call it in a thread.

    Raises:
        OSError: The file could not be written; the old one is as it was.
    """
    write_record(path, _Snapshot(VERSION, table), durable=True)


def load_table(path: Path) -> RoutingTable | None:
    """Return the table in the file, or None if there is none. Blocks: call it in a thread.

    A file that is damaged, or of another version, counts as none: it is renamed, with a warning in the log.

    Raises:
        FileProblem: Such a file could not be renamed.
    """
    try:
        snapshot = read_record(path, _Snapshot, LARGEST)
        if snapshot is None:
            return None
        if snapshot.version == VERSION:
            return snapshot.table
        problem = FileProblem(path, f"is of version {snapshot.version}, not {VERSION}")
    except FileProblem as found:
        problem = found
    put_aside(problem, "until the head is linked, this gateway knows of no deployment")
    return None
