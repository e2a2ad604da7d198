"""``deployments.json``: the head's deployments once more, in a file, for when its database is lost.

What runs comes back from workers; a deployment that has no replica comes back only from here. See ``beside``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from attrs import field, frozen
from sqlalchemy.engine import Connection

from . import schema
from .beside import FileBeside, list_of, read_beside, remedy, separated
from .problem import StoreProblem
from .records import DeletionRecord, DeploymentRecord, RevisionRecord, StoredState
from .rows import UnreadableDeployment, check_deployments, rows_in_pages
from .writes import change_deployments

DEPLOYMENTS_FILE: Final = "deployments.json"

DEPLOYMENTS: Final = "deployments"
"""What the file holds."""


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


def deployments_file(folder: Path) -> FileBeside:
    """Return the file of a folder."""
    return FileBeside(folder / DEPLOYMENTS_FILE, DEPLOYMENTS, change_deployments, _lines)


def read_deployments(path: Path) -> DeploymentsFile | None:
    """Return what the file holds, or None where it is not there; a damaged one is put aside with a warning.

    Raises:
        StoreProblem: It was written by a later version, holds a deployment that this version cannot read, or
            cannot be moved aside.
    """

    def check(found: DeploymentsFile) -> None:
        try:
            check_deployments(StoredState(deployments=found.deployments, revisions=found.revisions))
        except UnreadableDeployment as problem:
            raise StoreProblem(
                f"the deployment {problem.deployment} in {path} cannot be read ({problem.why}):"
                f" {remedy(DEPLOYMENTS)}"
            ) from None

    meaning = "the database is new, and only what workers run comes back"
    return read_beside(path, DeploymentsFile, check, without=DEPLOYMENTS, meaning=meaning)


def _lines(connection: Connection) -> Iterator[str]:
    for table in (schema.DEPLOYMENTS, schema.REVISIONS, schema.DELETIONS):
        yield from list_of(connection, table, table.name)
    numbers = rows_in_pages(connection, schema.LAST_REVISIONS)
    yield ',\n"last_revisions": {'
    yield from separated(f"{json.dumps(row['id'])}: {row['revision']}" for row in numbers)
    yield "}"
