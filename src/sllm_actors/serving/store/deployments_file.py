"""``deployments.json``: the head's deployments once more, in a file, for when its database is lost.

What runs comes back from workers; a deployment that has no replica comes back only from here. The file is
written behind the database, whole, and read only where a database is made anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from attrs import field, frozen
from sqlalchemy.engine import Connection

from sllm_actors import __version__
from sllm_actors.files import FileProblem, put_aside, read_record, write_whole

from . import schema
from .problem import StoreProblem
from .records import DeletionRecord, DeploymentRecord, RevisionRecord, StoredState
from .rows import UnreadableDeployment, check_deployments, rows_in_pages

DEPLOYMENTS_FILE: Final = "deployments.json"
FORMAT: Final = 1
LARGEST: Final = 1024 * 1024 * 1024
"""The most bytes that are read."""

_PIECE = 64 * 1024


@frozen
class DeploymentsFile:
    """The content of the file.

    Attributes:
        format: The number of this form of the file.
        program: The version of sllm_actors that wrote it.
        written: When it was written, in seconds since the epoch.
        deployments: In the order of uids, like revisions and deletions.
    """

    format: int
    program: str
    written: float
    deployments: tuple[DeploymentRecord, ...] = ()
    revisions: tuple[RevisionRecord, ...] = ()
    deletions: tuple[DeletionRecord, ...] = ()
    last_revisions: dict[str, int] = field(factory=dict)


@frozen
class _Head:
    """What files of every format begin with."""

    format: int
    program: str


def write_deployments(path: Path, connection: Connection, now: float) -> None:
    """Write the file whole, of mode 0600, as the database is now.

    Raises:
        OSError: It cannot be written; what was there before is as it was.
    """
    write_whole(path, _in_pieces(_lines(connection, now)), durable=True)


def read_deployments(path: Path) -> DeploymentsFile | None:
    """Return what the file holds, or None where it is not there; a damaged one is put aside with a warning.

    Raises:
        StoreProblem: It was written by a later version, holds a deployment that this version cannot read, or
            cannot be moved aside.
    """
    remedy = "use the version that wrote it, or move it away to begin without deployments"
    try:
        try:
            head = read_record(path, _Head, LARGEST)
            if head is None:
                return None
            if head.format > FORMAT:
                raise StoreProblem(
                    f"{path} has format {head.format} of sllm_actors {head.program:.40}, this program reads"
                    f" {FORMAT}: {remedy}"
                )
            found = read_record(path, DeploymentsFile, LARGEST)
            if found is None:
                return None
            check_deployments(StoredState(deployments=found.deployments, revisions=found.revisions))
        except UnreadableDeployment as problem:
            raise StoreProblem(
                f"the deployment {problem.deployment} in {path} cannot be read ({problem.why}): {remedy}"
            ) from None
        except FileProblem as problem:
            put_aside(problem, "the database is new, and only what workers run comes back")
            return None
    except FileProblem as problem:
        raise StoreProblem(str(problem)) from None
    return found


def _lines(connection: Connection, now: float) -> Iterator[str]:
    """Yield the file in lines, a record in each: no step of it holds up the other threads for long."""
    yield f'{{"format": {FORMAT}, "program": {json.dumps(__version__)}, "written": {json.dumps(now)}'
    for table in (schema.DEPLOYMENTS, schema.REVISIONS, schema.DELETIONS):
        yield f',\n"{table.name}": ['
        yield from _separated(json.dumps(row) for row in rows_in_pages(connection, table))
        yield "]"
    numbers = rows_in_pages(connection, schema.LAST_REVISIONS)
    yield ',\n"last_revisions": {'
    yield from _separated(f"{json.dumps(row['id'])}: {row['revision']}" for row in numbers)
    yield "}}\n"


def _separated(values: Iterable[str]) -> Iterator[str]:
    before = "\n "
    for value in values:
        yield f"{before}{value}"
        before = ",\n "


def _in_pieces(lines: Iterator[str]) -> Iterator[bytes]:
    piece = bytearray()
    for line in lines:
        piece += line.encode()
        if len(piece) >= _PIECE:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)
