"""What a node keeps on disk, in memory: it outlives the process, and may be away or lost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anyio import to_thread

from sllm_actors.disk import Disk
from sllm_actors.gateway.routing.memory.snapshot_file import Snapshot, SnapshotFile
from sllm_actors.serving.store.journal_filter import EVERYTHING, JournalFilter
from sllm_actors.serving.store.problem import StoreProblem
from sllm_actors.serving.store.records import (
    DeletionRecord,
    DeploymentRecord,
    JournalEntry,
    MeasuredRecord,
    NodeRecord,
    RevisionRecord,
    StoredState,
)
from sllm_actors.serving.store.store import Store
from sllm_actors.serving.store.writes import (
    AddJournal,
    DropDeletion,
    DropNode,
    DropNodeKey,
    DropRevision,
    PutDeletion,
    PutDeployment,
    PutMeasured,
    PutNode,
    PutRevision,
    RaiseEpoch,
    RemoveDeployment,
    StoreWrite,
)
from sllm_actors.serving.worker.epoch import ObeyedEpoch


class MemoryStore(Store):
    """The head's store: what is applied is kept, all of it or nothing.

    Attributes:
        away: Whether nothing can be read or written now.
        ids: Each deployment that was ever kept here, by uid: its id.
    """

    def __init__(self) -> None:
        self.away = False
        self.fresh = True
        self.epoch = 0
        self.deployments: dict[str, DeploymentRecord] = {}
        self.revisions: dict[tuple[str, int], RevisionRecord] = {}
        self.deletions: dict[str, DeletionRecord] = {}
        self.nodes: dict[str, NodeRecord] = {}
        self.last_revisions: dict[str, int] = {}
        self.measured: dict[tuple[str, str, str], MeasuredRecord] = {}
        self.ids: dict[str, str] = {}
        self.entries: dict[int, JournalEntry] = {}

    def copy(self) -> MemoryStore:
        """Return another store with the same content, on a disk that takes it."""
        other = MemoryStore()
        for name, value in vars(self).items():
            setattr(other, name, value.copy() if isinstance(value, dict) else value)
        other.away = False
        return other

    def load(self) -> StoredState:
        self._answer()
        return StoredState(
            fresh=self.fresh,
            epoch=self.epoch,
            deployments=tuple(sorted(self.deployments.values(), key=lambda each: each.id)),
            revisions=tuple(self.revisions[key] for key in sorted(self.revisions)),
            deletions=tuple(self.deletions.values()),
            nodes=tuple(self.nodes[name] for name in sorted(self.nodes)),
            last_revisions=dict(self.last_revisions),
            measured=tuple(sorted(self.measured.values(), key=lambda each: each.at)),
        )

    def apply(self, writes: Sequence[StoreWrite]) -> None:
        self._answer()
        for write in writes:
            self._apply(write)
        for uid, number in self.revisions:
            assert uid in self.deployments, f"revision {number} of {uid}, which is not deployed"
        for uid, record in self.deployments.items():
            for number in {record.current, record.target or record.current}:
                assert (uid, number) in self.revisions, f"{record.id} has lost its revision {number}"

    def journal(
        self,
        limit: int,
        *,
        after: int | None = None,
        until: int | None = None,
        wanted: JournalFilter = EVERYTHING,
    ) -> list[JournalEntry]:
        self._answer()
        found = [
            entry
            for number, entry in sorted(self.entries.items())
            if number > (after or 0) and (until is None or number <= until) and wanted.passes(entry)
        ]
        return found[-limit:] if after is None else found[:limit]

    def _answer(self) -> None:
        if self.away:
            raise StoreProblem("the disk of the store is away")

    def _apply(self, write: StoreWrite) -> None:
        match write:
            case PutDeployment(record):
                self.deployments[record.uid] = record
                self.ids[record.uid] = record.id
                self.fresh = self.fresh and record.recovered
            case PutRevision(record):
                self.revisions[record.uid, record.revision] = record
                name = self.ids[record.uid]
                self.last_revisions[name] = max(record.revision, self.last_revisions.get(name, 0))
            case DropRevision(uid, number):
                self.revisions.pop((uid, number), None)
            case RemoveDeployment(uid, at):
                known = self.deployments.pop(uid, None)
                if known is not None:
                    self.deletions[uid] = DeletionRecord(uid, known.id, at)
                for key in [key for key in self.revisions if key[0] == uid]:
                    del self.revisions[key]
            case PutDeletion(deletion):
                self.deletions[deletion.uid] = deletion
            case DropDeletion(uid):
                self.deletions.pop(uid, None)
            case PutMeasured(measured):
                self.measured[measured.engine, measured.worker, measured.kind] = measured
            case PutNode(record):
                self.nodes[record.id] = record
            case DropNodeKey():
                pass  # keys are no matter of the picture
            case DropNode(node):
                self.nodes.pop(node, None)
            case RaiseEpoch(epoch):
                self.epoch = max(self.epoch, epoch)
            case AddJournal(entries):
                self.entries.update((entry.number, entry) for entry in entries)


class KeptEpoch(ObeyedEpoch):
    """The epoch that a worker has obeyed; ``kept`` is what its disk has."""

    def __init__(self, kept: list[int]) -> None:
        super().__init__(Path("/nowhere/epoch.json"), PromptDisk())
        self.on_disk = kept
        self.value = self._kept = kept[0]

    def _write(self) -> None:
        self._kept = self.on_disk[0] = self.value


class PromptDisk(Disk):
    """A disk that answers as the simulation's threads do."""

    async def run(self, path: Any, call: Any, **_more: Any) -> Any:
        return await to_thread.run_sync(call)


class KeptSnapshot(SnapshotFile):
    """A gateway's snapshot; ``kept`` is what its disk has."""

    def __init__(self, kept: list[Snapshot]) -> None:
        super().__init__(Path("/nowhere/routing.json"))
        self._content = kept

    def save(self, number: int, snapshot: Snapshot) -> None:
        if number > self._newest:
            self._newest = number
            self._content[:] = [snapshot]

    def load(self) -> Snapshot | None:
        return self._content[0] if self._content else None
