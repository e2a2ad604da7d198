"""A store that holds what the picture writes, in memory, and that can be away."""

from __future__ import annotations

from sllm_actors.serving.store.records import (
    DeletionRecord,
    DeploymentRecord,
    MeasuredRecord,
    NodeRecord,
    PausesRecord,
    RevisionRecord,
    StoredState,
)
from sllm_actors.serving.store.writes import (
    DropDeletion,
    DropNode,
    DropNodeKey,
    DropRevision,
    PutDeletion,
    PutDeployment,
    PutMeasured,
    PutNode,
    PutPauses,
    PutRevision,
    RemoveDeployment,
    StoreWrite,
)


class StoreOfRecords:
    """Holds what the picture writes, as the real store does."""

    def __init__(self) -> None:
        self.fresh = True
        self.deployments: dict[str, DeploymentRecord] = {}
        self.revisions: dict[tuple[str, int], RevisionRecord] = {}
        self.nodes: dict[str, NodeRecord] = {}
        self.deletions: dict[str, DeletionRecord] = {}
        self.last_revisions: dict[str, int] = {}
        self.pauses: dict[str, PausesRecord] = {}
        self.measured: dict[tuple[str, str, str], MeasuredRecord] = {}

    def apply(self, writes: list[StoreWrite]) -> None:
        for write in writes:
            self._apply(write)

    def _apply(self, write: StoreWrite) -> None:
        match write:
            case PutDeployment(record):
                self.deployments[record.uid] = record
                self.fresh = self.fresh and record.recovered
            case PutRevision(record):
                assert record.uid in self.deployments, "a revision came before its deployment"
                self.revisions[record.uid, record.revision] = record
                name = self.deployments[record.uid].id
                self.last_revisions[name] = max(record.revision, self.last_revisions.get(name, 0))
            case DropRevision(uid, number):
                self.revisions.pop((uid, number), None)
                if (known := self.deployments.get(uid)) is not None:
                    assert number not in (known.current, known.target), "a revision that matters was dropped"
            case RemoveDeployment(uid, at):
                if (known := self.deployments.pop(uid, None)) is not None:
                    self.pauses.pop(uid, None)
                    self.deletions[uid] = DeletionRecord(uid, known.id, at)
                for key in [key for key in self.revisions if key[0] == uid]:
                    del self.revisions[key]
            case PutMeasured(measured):
                self.measured[measured.engine, measured.worker, measured.kind] = measured
            case PutPauses(pauses):
                assert pauses.uid in self.deployments, "what goes with a deployment came after it was gone"
                self.pauses[pauses.uid] = pauses
            case PutNode(record):
                self.nodes[record.id] = record
            case DropNodeKey():
                pass  # keys are no matter of the picture
            case DropNode(node):
                self.nodes.pop(node, None)
            case PutDeletion(deletion):
                self.deletions[deletion.uid] = deletion
            case DropDeletion(uid):
                self.deletions.pop(uid, None)
            case _:
                raise AssertionError(write)

    def load(self) -> StoredState:
        return StoredState(
            fresh=self.fresh,
            epoch=1,
            deployments=tuple(self.deployments.values()),
            revisions=tuple(self.revisions.values()),
            deletions=tuple(self.deletions.values()),
            nodes=tuple(self.nodes.values()),
            last_revisions=dict(self.last_revisions),
            pauses=dict(self.pauses),
            measured=tuple(sorted(self.measured.values(), key=lambda each: each.at)),
        )
