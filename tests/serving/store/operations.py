"""What a store should hold: the plain definition of its writes, and random operations for it. Pure."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from typing import TypeAlias

from attrs import evolve, field, frozen, mutable
from tests.serving.store.stored import record, revision

from sllm_actors.serving.store.applying import MEASURED_KEPT
from sllm_actors.serving.store.records import (
    ApiKeyRecord,
    DeletionRecord,
    DeploymentRecord,
    JournalEntry,
    MeasuredRecord,
    NodeKey,
    NodeRecord,
    PausesRecord,
    RevisionRecord,
    StoredState,
)
from sllm_actors.serving.store.writes import (
    AddJournal,
    DropApiKey,
    DropDeletion,
    DropNode,
    DropRevision,
    PutApiKey,
    PutDeletion,
    PutDeployment,
    PutMeasured,
    PutNode,
    PutPauses,
    PutRevision,
    RaiseEpoch,
    RemoveDeployment,
    StoreWrite,
)


@frozen
class Bind:
    """A key that is bound, which is a call of its own."""

    node: str
    key: NodeKey


Operation: TypeAlias = Bind | tuple[StoreWrite, ...]


@mutable
class Model:
    """A store in memory."""

    fresh: bool = True
    epoch: int = 0
    deployments: dict[str, DeploymentRecord] = field(factory=dict)
    revisions: dict[tuple[str, int], RevisionRecord] = field(factory=dict)
    deletions: dict[str, DeletionRecord] = field(factory=dict)
    nodes: dict[str, NodeRecord] = field(factory=dict)
    keys: dict[str, NodeKey] = field(factory=dict)
    last_revisions: dict[str, int] = field(factory=dict)
    journal: list[JournalEntry] = field(factory=list)
    measured: dict[tuple[str, str, str], MeasuredRecord] = field(factory=dict)
    pauses: dict[str, PausesRecord] = field(factory=dict)
    api_keys: dict[str, ApiKeyRecord] = field(factory=dict)

    @classmethod
    def of(cls, state: StoredState) -> Model:
        return cls(
            fresh=state.fresh,
            epoch=state.epoch,
            deployments={each.uid: each for each in state.deployments},
            revisions={(each.uid, each.revision): each for each in state.revisions},
            deletions={each.uid: each for each in state.deletions},
            nodes={each.id: each for each in state.nodes},
            last_revisions=dict(state.last_revisions),
            measured={(each.engine, each.worker, each.kind): each for each in state.measured},
            pauses=dict(state.pauses),
            api_keys={each.name: each for each in state.api_keys},
        )

    def apply(self, operation: Operation) -> None:
        if isinstance(operation, Bind):
            self.keys[operation.node] = operation.key
            return
        for write in operation:
            self._apply(write)
        for each in self.revisions.values():
            name = self.deployments[each.uid].id
            self.last_revisions[name] = max(each.revision, self.last_revisions.get(name, 0))

    def _apply(self, write: StoreWrite) -> None:
        match write:
            case PutDeployment(deployment):
                self.deployments[deployment.uid] = deployment
                self.fresh &= deployment.recovered
            case PutRevision(each):
                self.revisions[each.uid, each.revision] = each
            case DropRevision(uid, number):
                self.revisions.pop((uid, number), None)
            case RemoveDeployment(uid, at):
                gone = self.deployments.pop(uid, None)
                if gone is not None:
                    self.pauses.pop(uid, None)
                    self.deletions[uid] = DeletionRecord(uid, gone.id, at)
                self.revisions = {key: each for key, each in self.revisions.items() if key[0] != uid}
            case PutDeletion(deletion):
                self.deletions[deletion.uid] = deletion
            case DropDeletion(uid):
                self.deletions.pop(uid, None)
            case PutNode(node):
                self.nodes[node.id] = node
            case DropNode(name):
                self.nodes.pop(name, None)
            case PutMeasured(measured):
                self.measured[measured.engine, measured.worker, measured.kind] = measured
                oldest = measured.at - MEASURED_KEPT
                self.measured = {key: each for key, each in self.measured.items() if each.at >= oldest}
            case PutPauses(pauses):
                self.pauses[pauses.uid] = pauses
            case PutApiKey(key):
                self.api_keys[key.name] = key
            case DropApiKey(name):
                self.api_keys.pop(name, None)
            case RaiseEpoch(epoch):
                self.epoch = max(self.epoch, epoch)
            case AddJournal(entries):
                self.journal += entries

    @property
    def state(self) -> StoredState:
        return StoredState(
            fresh=self.fresh,
            epoch=self.epoch,
            deployments=tuple(sorted(self.deployments.values(), key=lambda each: (each.id, each.uid))),
            revisions=tuple(each for _, each in sorted(self.revisions.items(), key=lambda item: item[0])),
            deletions=tuple(sorted(self.deletions.values(), key=lambda each: (each.at, each.uid))),
            nodes=tuple(each for _, each in sorted(self.nodes.items(), key=lambda item: item[0])),
            last_revisions=dict(self.last_revisions),
            measured=tuple(sorted(self.measured.values(), key=lambda each: (each.at, each.engine))),
            pauses=dict(self.pauses),
            api_keys=tuple(each for _, each in sorted(self.api_keys.items())),
        )


def operations(seed: int, model: Model) -> Iterator[Operation]:
    """Yield random operations for ever; each is applied to the model by the caller, before the next one."""
    rng = random.Random(seed)
    while True:
        yield _numbered(_draw(rng, model), len(model.journal) + 1)


def _draw(rng: random.Random, model: Model) -> Operation:
    kind = rng.choice(
        [
            *("deploy", "deploy", "update", "update", "change", "remove"),
            *("forget", "node", "head", "run", "key"),
        ]
    )
    now = float(rng.randrange(10**9)) / 4
    if kind == "deploy" or not model.deployments:
        return _deploy(rng, model, now)
    chosen = model.deployments[rng.choice(sorted(model.deployments))]
    if kind == "update":
        return _update(rng, model, chosen, now)
    if kind == "change":
        some = rng.sample(sorted(model.deployments), rng.randint(1, len(model.deployments)))
        learned = PausesRecord(chosen.uid, json.dumps({"3": now, "17": 2.5}), now / 8, now)
        return PutPauses(learned), *(
            PutDeployment(evolve(each, reserved=each.reserved + 64, generation=each.generation + 1))
            for each in map(model.deployments.__getitem__, some)
        )
    if kind == "remove":
        if not chosen.deleting:
            return (PutDeployment(evolve(chosen, deleting=True)), *_journal(rng, chosen.id, now))
        return (*_journal(rng, chosen.id, now), RemoveDeployment(chosen.uid, now))
    if kind == "forget":
        some = rng.sample(sorted(model.deletions), len(model.deletions) // 2)
        rival = DeletionRecord(f"rival-{rng.randrange(1000)}", chosen.id, now)
        return PutDeletion(rival), *(DropDeletion(uid) for uid in some)
    if kind == "key":
        return _key(rng, now)
    name = f"worker-{rng.randrange(6)}"
    if kind == "run":
        known = MeasuredRecord(f"engine-{rng.randrange(3)}", name, "memory", now / 8, now)
        return (PutMeasured(known), *_journal(rng, name, now))
    if kind == "node":
        return _node(rng, name, now)
    return (RaiseEpoch(rng.randrange(1000)), *_journal(rng, name, now, most=400))


def _key(rng: random.Random, now: float) -> Operation:
    name = f"key-{rng.randrange(5)}"
    put = PutApiKey(ApiKeyRecord(name, rng.randbytes(32).hex(), rng.randrange(1, 9) / 4, now))
    return (DropApiKey(name),) if rng.random() < 0.3 else (put, DropApiKey("key-0"))


def _node(rng: random.Random, name: str, now: float) -> Operation:
    match rng.randrange(3):
        case 0:
            return Bind(name, NodeKey("worker", rng.randbytes(32)))
        case 1:
            return (DropNode(name),)
        case _:
            return (PutNode(NodeRecord(name, "worker", f"box {name}", now, draining=rng.random() < 0.3)),)


def _deploy(rng: random.Random, model: Model, now: float) -> Operation:
    name = f"model-{rng.randrange(12)}:vllm"
    uid = rng.randbytes(16).hex()
    number = model.last_revisions.get(name, 0) + 1
    new = record(uid, name, created=now, current=number, recovered=rng.random() < 0.2)
    put: list[StoreWrite] = [
        PutDeployment(new),
        PutRevision(revision(uid, name, number, created=now)),
    ]
    rng.shuffle(put)
    return (*put, *_journal(rng, name, now))


def _update(rng: random.Random, model: Model, old: DeploymentRecord, now: float) -> Operation:
    current = model.revisions[old.uid, old.current]
    if old.target is None:
        number = model.last_revisions[old.id] + 1
        new = evolve(old, target=number, paused=rng.choice(["", "a person asked"]))
        return (PutDeployment(new), PutRevision(evolve(current, revision=number, created=now)))
    if rng.random() < 0.3:
        failed = evolve(model.revisions[old.uid, old.target], failed="it did not start")
        return (PutDeployment(evolve(old, target=None)), PutRevision(failed), *_journal(rng, old.id, now))
    new = evolve(old, current=old.target, target=None, paused="")
    return (PutDeployment(new), DropRevision(old.uid, old.current))


def _journal(rng: random.Random, subject: str, now: float, *, most: int = 3) -> list[StoreWrite]:
    count = rng.randint(0, most)
    entries = (JournalEntry(now, subject, "noted", f"entry {n} of {count}") for n in range(count))
    return [AddJournal(tuple(entries))]


def _numbered(operation: Operation, first: int) -> Operation:
    if isinstance(operation, Bind):
        return operation
    numbers = itertools.count(first)
    return tuple(
        AddJournal(tuple(evolve(each, number=next(numbers)) for each in write.entries))
        if isinstance(write, AddJournal)
        else write
        for write in operation
    )
