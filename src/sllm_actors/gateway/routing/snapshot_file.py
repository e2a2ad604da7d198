"""The last routing table on disk: a gateway that starts while the head is away begins with it."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from sllm_actors.files import FileProblem, put_aside, read_record, write_record
from sllm_actors.serving.messages import RoutingTable

LARGEST = 64 * 2**20
VERSION = 1


@frozen
class _Snapshot:
    version: int
    table: RoutingTable


def save_table(path: Path, table: RoutingTable) -> None:
    """Replace the file, whole or not at all, readable by its owner only. Blocks.

    Raises:
        OSError: It could not be written; the old file is as it was.
    """
    write_record(path, _Snapshot(VERSION, table), durable=True)


def load_table(path: Path) -> RoutingTable | None:
    """Return the table in the file, or None where there is none. Blocks.

    One that is damaged or of another version is put aside with a warning.

    Raises:
        FileProblem: It cannot be put aside.
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
