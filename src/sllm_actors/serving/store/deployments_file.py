"""``deployments.json``: the head's deployments once more, in a file, for when its database is lost.

What runs comes back from workers; a deployment that has no replica comes back only from here. The file is
written behind the database, whole, and read only where a database is made anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from attrs import asdict, field, frozen

from sllm_actors import __version__
from sllm_actors.files import FileProblem, put_aside, read_record, write_whole

from .problem import StoreProblem
from .records import DeletionRecord, DeploymentRecord, RevisionRecord, StoredState
from .rows import UnreadableDeployment, check_deployments

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
        deployments: As in ``StoredState``, like the rest.
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


def write_deployments(path: Path, state: StoredState, now: float) -> None:
    """Write the file whole, of mode 0600.

    Raises:
        OSError: It cannot be written; what was there before is as it was.
    """
    write_whole(path, _in_pieces(_lines(state, now)), durable=True)


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


def _lines(state: StoredState, now: float) -> Iterator[str]:
    """Yield the file line by line, a record a line: no single step holds up the other threads for long."""
    yield f'{{"format": {FORMAT}, "program": {json.dumps(__version__)}, "written": {json.dumps(now)}'
    parts: dict[str, tuple[Any, ...]] = {
        "deployments": state.deployments,
        "revisions": state.revisions,
        "deletions": state.deletions,
    }
    for name, records in parts.items():
        yield f',\n"{name}": ['
        for place, record in enumerate(records):
            yield f"{',' if place else ''}\n {json.dumps(asdict(record, recurse=False))}"
        yield "]"
    yield from _mapping("last_revisions", state.last_revisions)
    yield "}\n"


def _mapping(name: str, values: Mapping[str, int]) -> Iterator[str]:
    yield f',\n"{name}": {{'
    for place, (key, value) in enumerate(values.items()):
        yield f"{',' if place else ''}\n {json.dumps(key)}: {value}"
    yield "}"


def _in_pieces(lines: Iterator[str]) -> Iterator[bytes]:
    piece = bytearray()
    for line in lines:
        piece += line.encode()
        if len(piece) >= _PIECE:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)
