"""A small world around a picture: workers that obey its orders, a store that holds its writes, a clock."""

from __future__ import annotations

import json
from typing import Any

from attrs import evolve

from sllm_actors.actors import Incarnation
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaOrder, ReplicaReport, ReplicaState
from sllm_actors.serving.deployment.document import read_document
from sllm_actors.serving.deployment.spec import DeploymentSpec
from sllm_actors.serving.messages import Gpu, Inventory, Order, ServedModel
from sllm_actors.serving.picture.deployment import Deployment, revision_record
from sllm_actors.serving.picture.effects import Effects
from sllm_actors.serving.picture.events import (
    DeletionAsked,
    DeploymentAdded,
    DocumentRead,
    DrainSet,
    Event,
    InventoryReported,
    NodeLost,
    NodeUp,
    NumbersReserved,
    PolicyChanged,
    ReplicasReported,
    RevisionAdded,
    TimePassed,
)
from sllm_actors.serving.picture.picture import Picture
from sllm_actors.serving.store.records import (
    DeploymentRecord,
    DropDeletion,
    DropNode,
    DropRevision,
    NodeRecord,
    PutDeployment,
    PutNode,
    PutRevision,
    RemoveDeployment,
    RevisionRecord,
    StoredState,
    StoreWrite,
)

WALL = 1_000_000.0
"""Seconds since the epoch when the world's clock shows 0."""


class StoreOfRecords:
    """Holds what the picture writes, as the real store does."""

    def __init__(self) -> None:
        self.fresh = True
        self.deployments: dict[str, DeploymentRecord] = {}
        self.revisions: dict[tuple[str, int], RevisionRecord] = {}
        self.nodes: dict[str, NodeRecord] = {}
        self.deletions: dict[str, Any] = {}
        self.last_revisions: dict[str, int] = {}

    def apply(self, writes: list[StoreWrite]) -> None:
        from sllm_actors.serving.store.records import DeletionRecord

        self.fresh = False
        for write in writes:
            match write:
                case PutDeployment(record):
                    self.deployments[record.uid] = record
                case PutRevision(record):
                    assert record.uid in self.deployments
                    self.revisions[record.uid, record.revision] = record
                    name = self.deployments[record.uid].id
                    self.last_revisions[name] = max(record.revision, self.last_revisions.get(name, 0))
                case DropRevision(uid, number):
                    self.revisions.pop((uid, number), None)
                case RemoveDeployment(uid, at):
                    record = self.deployments.pop(uid)
                    self.deletions[uid] = DeletionRecord(uid, record.id, at)
                    for key in [key for key in self.revisions if key[0] == uid]:
                        del self.revisions[key]
                case PutNode(record):
                    self.nodes[record.id] = record
                case DropNode(node):
                    self.nodes.pop(node, None)
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
        )


class Machine:
    """A worker: what it was told, and what it runs. It lives on while its link, or the head, is away."""

    def __init__(self, name: str, gpus: int) -> None:
        self.name = name
        self.inventory = Inventory(
            name=name, port=8002, gpus=tuple(Gpu(f"{name}-{index}") for index in range(gpus)), cpus=8
        )
        self.changes = 0
        self.life = 1
        self.linked = False
        self.orders: dict[ReplicaKey, Order] = {}
        self.running: dict[ReplicaKey, ReplicaReport] = {}
        self.documents: dict[ReplicaKey, str] = {}
        self.refuses: dict[str, str] = {}
        self.fails: set[str] = set()

    @property
    def incarnation(self) -> Incarnation:
        return Incarnation(self.life, 0)

    def put(self, key: ReplicaKey, state: ReplicaState, **fields: Any) -> ReplicaReport:
        before = self.running.get(key) or ReplicaReport(key.attempt(1), state)
        self.running[key] = evolve(before, state=state, **fields)
        return self.running[key]

    def begin(self, order: ReplicaOrder) -> None:
        """Take an order to run, as a worker does: refuse it, or start."""
        name = order.key.deployment
        self.documents[order.key] = order.document
        report = ReplicaReport(
            order.key.attempt(1), ReplicaState.STARTING, gpus=order.num_gpus, fingerprint=order.fingerprint
        )
        if name in self.refuses:
            report = evolve(report, state=ReplicaState.FAILED, unfit=True, reason=self.refuses[name])
        self.running[order.key] = report


class World:
    """The picture and everything around it, driven step by step. What workers say is delivered at once."""

    def __init__(self, *, store: StoreOfRecords | None = None, settle_time: float = 10.0) -> None:
        self.now = 0.0
        self.store = store or StoreOfRecords()
        self.machines: dict[str, Machine] = {}
        self.routes: dict[str, ServedModel] = {}
        self.journal: list[tuple[str, str, str]] = []
        self.settle_time = settle_time
        self.uids = 0
        self.picture = self._new_picture()

    # ---- the head

    def _new_picture(self) -> Picture:
        return Picture(self.store.load(), now=self.now, wall=WALL + self.now, settle_time=self.settle_time)

    def restart_head(self) -> None:
        """Let a new head begin with the store; all links come up again."""
        linked = [each for each in self.machines.values() if each.linked]
        for machine in linked:
            machine.linked = False
        self.routes = {}
        self.picture = self._new_picture()
        self.settle()
        for machine in linked:
            self.link(machine.name)

    def send(self, event: Event) -> Effects:
        """Let an event happen, and carry out everything that follows."""
        effects = self.picture.step(event, self.now)
        self.carry_out(effects)
        self.settle()
        return effects

    def settle(self) -> None:
        while self.picture.more:
            self.picture.plan(self.now)
            self.carry_out(self.picture.effects())

    def carry_out(self, effects: Effects) -> None:
        self.store.apply(effects.writes)
        self.journal += effects.journal
        for name, route in effects.routes.items():
            if route is None:
                self.routes.pop(name, None)
            else:
                self.routes[name] = route
        for (node, key), order in effects.orders.items():
            if order is None:
                self.machines[node].orders.pop(key, None)
            else:
                self.machines[node].orders[key] = order
        for node in {node for node, _ in effects.orders}:
            if self.machines[node].linked:
                self.obey(node)
        for node, key in effects.documents:
            document = self.machines[node].documents.get(key, "")
            self.send(DocumentRead(key.uid, key.revision, document))
        for uid, below in effects.numbers.items():
            assert self.store.deployments[uid].reserved == below
            self.send(NumbersReserved(uid, below))

    # ---- workers

    def worker(self, name: str, gpus: int = 1) -> Machine:
        """Add a worker that is linked and has reported."""
        self.machines[name] = Machine(name, gpus)
        self.link(name)
        return self.machines[name]

    def link(self, name: str, *, new_life: bool = False) -> None:
        """Let a worker's link come up; with ``new_life`` its process was started again, without engines."""
        machine = self.machines[name]
        if new_life:
            machine.running.clear()
        machine.life += 1
        machine.linked = True
        self.send(NodeUp(name, "worker", "10.0.0.1", machine.incarnation))
        self.send(InventoryReported(name, machine.inventory, machine.changes))
        known = self.picture.fleet.nodes[name].replicas
        gone = tuple(key for key in known if key not in machine.running)
        self.send(ReplicasReported(name, tuple(machine.running.values()), gone, whole=True))
        self.obey(name)

    def unlink(self, name: str) -> None:
        """Let a worker's link be lost; its engines go on."""
        machine = self.machines[name]
        machine.linked = False
        self.send(NodeLost(name, machine.incarnation, "it is silent"))

    def obey(self, name: str) -> None:
        """Let a worker take its orders: what is to run begins to start, what is to stop is gone at once."""
        machine = self.machines[name]
        put, removed = [], []
        for key, order in list(machine.orders.items()):
            if order.run is not None and key not in machine.running:
                machine.begin(order.run)
                put.append(machine.running[key])
            elif order.run is None:
                machine.running.pop(key, None)
                removed.append(key)
        if put or removed:
            self.send(ReplicasReported(name, tuple(put), tuple(removed)))

    def say(self, name: str, key: ReplicaKey, state: ReplicaState, **fields: Any) -> None:
        """Let a worker report a replica."""
        report = self.machines[name].put(key, state, **fields)
        if self.machines[name].linked:
            self.send(ReplicasReported(name, (report,)))

    def ready(self, model: str = "") -> None:
        """Let every replica that is starting (of a deployment) become ready, until nothing changes."""
        changed = True
        while changed:
            changed = False
            for name, machine in self.machines.items():
                for key, report in list(machine.running.items()):
                    starting = report.state is ReplicaState.STARTING and key.deployment not in machine.fails
                    if starting and machine.linked and (not model or key.deployment == model):
                        self.say(name, key, ReplicaState.READY, failures=0)
                        changed = True

    # ---- people

    def deploy(self, name: str, **document: Any) -> Deployment:
        """Deploy a model with the command backend (of no GPU), or another."""
        spec = spec_of(name, **document)
        self.uids += 1
        uid = f"uid-{self.uids}"
        number = self.picture.catalogue.next_revision(spec.id)
        record = DeploymentRecord(uid, spec.id, WALL + self.now, current=number, reserved=64)
        revision = revision_record(uid, number, spec, WALL + self.now)
        self.store.apply([PutDeployment(record), PutRevision(revision)])
        self.send(DeploymentAdded(record, revision))
        return self.picture.catalogue.by_uid[uid]

    def update(self, deployment: Deployment, *, allow_downtime: bool = False, **document: Any) -> None:
        """Change the engine's part of a deployment."""
        spec = spec_of(deployment.spec.model, **document)
        number = self.picture.catalogue.next_revision(deployment.id)
        revision = revision_record(deployment.uid, number, spec, WALL + self.now)
        record = evolve(deployment.record, target=number, generation=deployment.generation + 1)
        self.store.apply([PutDeployment(record), PutRevision(revision)])
        self.send(RevisionAdded(deployment.uid, revision, record.generation, allow_downtime))

    def change_policy(self, deployment: Deployment, **document: Any) -> None:
        """Change what restarts nothing."""
        spec = spec_of(deployment.spec.model, **document)
        records = tuple(
            evolve(revision_record(deployment.uid, number, spec, each.created))
            for number, each in deployment.revisions.items()
        )
        record = evolve(deployment.record, generation=deployment.generation + 1)
        self.store.apply([PutDeployment(record), *(PutRevision(each) for each in records)])
        self.send(PolicyChanged(deployment.uid, records, record.generation))

    def delete(self, deployment: Deployment) -> None:
        """Delete a deployment."""
        self.store.apply([PutDeployment(evolve(deployment.record, deleting=True))])
        self.send(DeletionAsked(deployment.uid))

    def drain(self, node: str, *, draining: bool = True) -> None:
        """Drain a worker, or no longer."""
        known = self.picture.fleet.nodes[node]
        self.store.apply([PutNode(NodeRecord(node, "worker", known.name, 0.0, draining))])
        self.send(DrainSet(node, draining))

    def wait(self, seconds: float) -> None:
        """Let time pass, and everything happen that is due meanwhile."""
        end = self.now + seconds
        while (due := self.picture.due()) is not None and due <= end:
            self.now = max(self.now, due)
            self.send(TimePassed())
        self.now = end
        self.send(TimePassed())

    # ---- looking

    def where(self, model: str) -> dict[str, int]:
        """Return how many replicas of a deployment each worker is ordered to run."""
        found: dict[str, int] = {}
        for name, machine in self.machines.items():
            count = sum(
                order.run is not None and key.deployment == model for key, order in machine.orders.items()
            )
            if count:
                found[name] = count
        return found


def spec_of(model: str, **document: Any) -> DeploymentSpec:
    """Return the specification of a deployment with the command backend, unless it names another."""
    body = {"model": model, "backend": "command", "backend_config": {"command": ["run"]}} | document
    spec, _ = read_document(json.dumps(body))
    return spec
