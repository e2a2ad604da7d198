"""The changes of what the head keeps on disk, as plain values. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from attrs import frozen

from .records import (
    ApiKeyRecord,
    DeletionRecord,
    DeploymentRecord,
    JournalEntry,
    MeasuredRecord,
    NodeRecord,
    PausesRecord,
    RevisionRecord,
)


@frozen
class PutDeployment:
    """Add a deployment, or replace the one with the same uid."""

    record: DeploymentRecord


@frozen
class PutRevision:
    """Add a revision, or replace the one with the same uid and number.

    The deployment is in the store, or is put there in the same transaction.
    """

    record: RevisionRecord


@frozen
class DropRevision:
    """Remove a revision, if it is there."""

    uid: str
    revision: int


@frozen
class RemoveDeployment:
    """Remove a deployment and its revisions, and remember the deletion.

    Removing one that is not there changes nothing.
    """

    uid: str
    at: float


@frozen
class PutDeletion:
    """Remember the deletion of a deployment that is not in the store."""

    record: DeletionRecord


@frozen
class DropDeletion:
    """Forget a deletion, if it is remembered."""

    uid: str


@frozen
class PutNode:
    """Add a node, or replace the one with the same id."""

    record: NodeRecord


@frozen
class DropNode:
    """Remove a node, if it is there. Its key is kept: its id stays its own."""

    id: str


@frozen
class DropNodeKey:
    """Forget which key and role a node's id is bound to, if it is: another node may then have it."""

    node: str


@frozen
class PutMeasured:
    """Keep what was measured, in place of what was measured of the same before; what is old is forgotten."""

    record: MeasuredRecord


@frozen
class PutPauses:
    """Keep the pauses of a deployment, in place of what was kept of it before. They go with the deployment.

    The deployment is in the store, or is put there in the same transaction.
    """

    record: PausesRecord


@frozen
class PutApiKey:
    """Add an API key, or replace the one with the same name."""

    record: ApiKeyRecord


@frozen
class DropApiKey:
    """Remove an API key, if it is there."""

    name: str


@frozen
class RaiseEpoch:
    """Raise the epoch to this number, unless it is there or beyond already."""

    epoch: int


@frozen
class AddJournal:
    """Add entries to the journal, each in place of one with the same number. The newest are kept."""

    entries: tuple[JournalEntry, ...]


StoreWrite: TypeAlias = (
    PutDeployment
    | PutRevision
    | DropRevision
    | RemoveDeployment
    | PutDeletion
    | DropDeletion
    | PutNode
    | DropNode
    | DropNodeKey
    | PutMeasured
    | PutPauses
    | PutApiKey
    | DropApiKey
    | RaiseEpoch
    | AddJournal
)
"""One change of what the store holds."""

_BESIDE = (
    *(PutNode, DropNode, DropNodeKey, PutMeasured, PutPauses),
    *(PutApiKey, DropApiKey, RaiseEpoch, AddJournal),
)


def change_deployments(writes: Iterable[StoreWrite]) -> bool:
    """Return whether writes change what the file of deployments holds (see ``deployments_file``)."""
    return any(not isinstance(write, _BESIDE) for write in writes)
