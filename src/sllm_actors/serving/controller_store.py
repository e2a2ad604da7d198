"""The store as the controller uses it: by deployment ids, each with one revision.

Every method blocks: call it in a thread. Each raises ``StoreProblem`` if the database fails.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable

from attrs import evolve, frozen

from .deployment.document import read_document, write_document
from .deployment.spec import DeploymentSpec
from .store.records import (
    DeploymentRecord,
    DropNode,
    NodeRecord,
    PutDeployment,
    PutNode,
    PutRevision,
    RemoveDeployment,
    RevisionRecord,
)
from .store.store import Store


@frozen
class StoredDeployment:
    """A deployment in the store, active or being deleted.

    Attributes:
        spec: What was deployed.
        revision: Its revision, from 1.
        deleting: Whether it is being deleted.
        next_number: The first replica number that was never given out.
        created: When it was deployed, in seconds since the epoch.
    """

    spec: DeploymentSpec
    revision: int
    deleting: bool
    next_number: int
    created: float


class ControllerStore:
    """The deployments and nodes of an open store; any thread may use it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def deployments(self) -> list[StoredDeployment]:
        """Return the deployments that are active or being deleted, in the order of their ids."""
        state = self._store.load()
        documents = {(each.uid, each.revision): each.document for each in state.revisions}
        return [
            StoredDeployment(
                read_document(documents[each.uid, each.current])[0],
                each.current,
                each.deleting,
                each.reserved,
                each.created,
            )
            for each in state.deployments
        ]

    def deploy(self, spec: DeploymentSpec, now: float) -> StoredDeployment:
        """Add a deployment, at the next revision of its id; ``now`` is in seconds since the epoch."""
        revision = self._store.load().last_revisions.get(spec.id, 0) + 1
        uid = secrets.token_hex(16)
        record = DeploymentRecord(uid, spec.id, now, current=revision)
        document = json.dumps(write_document(spec))
        self._store.apply([PutDeployment(record), PutRevision(RevisionRecord(uid, revision, document, now))])
        return StoredDeployment(spec, revision, False, 0, now)

    def set_deleting(self, deployment: str) -> None:
        """Mark a deployment as being deleted."""
        records = self._records([deployment])
        self._store.apply([PutDeployment(evolve(each, deleting=True)) for each in records])

    def forget(self, deployment: str) -> None:
        """Remove a deployment; the next one with its id goes on with the next revision."""
        self._store.apply([RemoveDeployment(each.uid, time.time()) for each in self._records([deployment])])

    def reserve_numbers(self, next_numbers: dict[str, int]) -> None:
        """Store the first replica number that was never given out, by deployment."""
        records = self._records(next_numbers)
        self._store.apply([PutDeployment(evolve(each, reserved=next_numbers[each.id])) for each in records])

    def nodes(self, role: str) -> set[str]:
        """Return the ids of the known nodes of a role."""
        return {each.id for each in self._store.load().nodes if each.role == role}

    def saw_node(self, node: str, role: str, now: float) -> None:
        """Add a node, or update when it was last seen (seconds since the epoch)."""
        self._store.apply([PutNode(NodeRecord(node, role, last_seen=now))])

    def forget_nodes(self, nodes: Iterable[str]) -> None:
        """Remove nodes; the keys that their ids are bound to are kept."""
        self._store.apply([DropNode(node) for node in sorted(nodes)])

    def _records(self, deployments: Iterable[str]) -> list[DeploymentRecord]:
        wanted = set(deployments)
        return [each for each in self._store.load().deployments if each.id in wanted]
