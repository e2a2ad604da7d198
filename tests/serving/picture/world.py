"""A small world around a picture: workers that obey its orders, a store that holds its writes, a clock."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving import control
from sllm_actors.serving.control import Change
from sllm_actors.serving.deployment.document import read_document
from sllm_actors.serving.deployment.spec import DeploymentSpec
from sllm_actors.serving.journal.noted import Noted
from sllm_actors.serving.messages import Demand, Done, ServedModel, WorkerAddress
from sllm_actors.serving.picture.audit import Audit
from sllm_actors.serving.picture.deployment import Deployment
from sllm_actors.serving.picture.effects import Effects
from sllm_actors.serving.picture.events import (
    DemandReported,
    DocumentRead,
    Event,
    InventoryReported,
    NodeLost,
    NodeUp,
    NumbersReserved,
    ReplicasReported,
    TimePassed,
)
from sllm_actors.serving.picture.picture import Picture
from sllm_actors.serving.store.records import StoredState
from sllm_actors.serving.store.writes import StoreWrite

from .machine import Machine
from .stored import StoreOfRecords

GATEWAY = "gateway"
BEAT = 1.0
"""Seconds after which the gateway repeats what its clients want."""

WALL = 1_000_000.0
"""Seconds since the epoch when the world's clock shows 0."""


class World:
    """The picture and everything around it, driven step by step. What workers say is delivered at once.

    Attributes:
        prompt: Whether linked workers obey at once; else when they are told to.
        store_away: Whether the store takes no writes now.
    """

    def __init__(
        self, *, settle_time: float = 10.0, make: Callable[..., Picture] = Picture, prompt: bool = True
    ) -> None:
        self.now = 0.0
        self.store = StoreOfRecords()
        self.store_away = False
        self.prompt = prompt
        self.machines: dict[str, Machine] = {}
        self.settle_time = settle_time
        self.uids = 0
        self.wants: set[str] = set()
        self._make = make
        self.begin_head()

    # ---- the head

    def begin_head(self) -> None:
        """Let a new head begin with the store; no node is linked yet."""
        self.routes: dict[str, ServedModel] = {}
        self.addresses: dict[str, WorkerAddress] = {}
        self.journal: list[Noted] = []
        self.unwritten: list[tuple[list[StoreWrite], dict[str, int]]] = []
        for machine in self.machines.values():
            machine.orders = {}
        state: StoredState = self.store.load()
        wall = WALL + self.now
        self.picture = self._make(state, now=self.now, wall=wall, settle_time=self.settle_time)

    def restart_head(self, *, link: bool = True) -> None:
        """Let a new head begin with the store; all links come up again."""
        linked = [each for each in self.machines.values() if each.linked]
        for machine in linked:
            machine.linked = False
        self.begin_head()
        self.send(TimePassed())
        for machine in linked:
            if link:
                self.link(machine.name)

    def lose_store(self) -> None:
        """Let a new head begin with an empty store."""
        self.store = StoreOfRecords()
        self.restart_head()

    def send(self, event: Event) -> None:
        """Let an event happen, and carry out everything that follows."""
        self.carry_out(self.picture.step(event, self.now))
        self.settle()

    def settle(self) -> None:
        while self.picture.more:
            self.picture.plan(self.now)
            self.carry_out(self.picture.effects())

    def carry_out(self, effects: Effects) -> None:
        self.journal += effects.journal
        for name, route in effects.routes.items():
            if route is None:
                self.routes.pop(name, None)
            else:
                self.routes[name] = route
        for node, address in effects.addresses.items():
            if address is None:
                del self.addresses[node]
            else:
                self.addresses[node] = address
        for (node, key), order in effects.orders.items():
            if order is None:
                self.machines[node].orders.pop(key, None)
            else:
                self.machines[node].orders[key] = order
        self.unwritten.append((effects.writes, effects.numbers))
        if not self.store_away:
            self.write()
        for node in {node for node, _ in effects.orders}:
            if self.prompt:
                self.obey(node)
        for node, key in effects.documents:
            machine = self.machines[node]
            document = machine.documents.get(key, "") if machine.linked else ""
            self.send(DocumentRead(key.uid, key.revision, document))

    def write(self) -> None:
        """Let the store take what waits for it."""
        while self.unwritten:
            writes, numbers = self.unwritten.pop(0)
            self.store.apply(writes)
            for uid, below in numbers.items():
                known = self.store.deployments.get(uid)
                assert known is None or known.reserved >= below, "numbers are used that are not in the store"
                self.send(NumbersReserved(uid, below))

    def audit(self) -> list[str]:
        return Audit(self.picture, lambda node: self.machines[node].orders).everything()

    # ---- workers

    def worker(self, name: str, gpus: int = 1, **inventory: Any) -> Machine:
        """Add a worker that is linked and has reported."""
        self.machines[name] = Machine(name, gpus, **inventory)
        self.link(name)
        return self.machines[name]

    def workers(self, names: str, gpus: int = 1) -> None:
        """Let workers join; each letter is the name of one."""
        for name in names:
            self.worker(name, gpus=gpus)

    def link(self, name: str, *, new_life: bool = False) -> None:
        """Let a worker's link come up; with ``new_life`` its process was started again, without engines."""
        machine = self.machines[name]
        if new_life:
            machine.running.clear()
        machine.life += 1
        machine.linked = True
        self.send(NodeUp(name, "worker", "10.0.0.1", machine.incarnation))
        self.inventory(name)
        known = self.picture.fleet.nodes[name].replicas
        gone = tuple(key for key in known if key not in machine.running)
        self.send(ReplicasReported(name, tuple(machine.running.values()), gone, whole=True))
        if self.prompt:
            self.obey(name)

    def unlink(self, name: str, *, left: bool = False) -> None:
        """Let a worker's link be lost, or ended by itself in good order; its engines go on."""
        machine = self.machines[name]
        machine.linked = False
        reason = "it said goodbye" if left else "it is silent"
        self.send(NodeLost(name, machine.incarnation, reason, left))

    def inventory(self, name: str) -> None:
        """Let a worker say what it has."""
        machine = self.machines[name]
        self.send(InventoryReported(name, machine.inventory, machine.changes))

    def obey(self, name: str) -> None:
        """Let a worker that is linked take its orders, and report what it does."""
        machine = self.machines[name]
        if machine.linked:
            put, removed = machine.obey()
            if put or removed:
                self.send(ReplicasReported(name, tuple(put), tuple(removed)))

    def end(self, name: str) -> None:
        """Let what drains on a worker be gone."""
        machine = self.machines[name]
        gone = machine.end()
        if gone and machine.linked:
            self.send(ReplicasReported(name, (), tuple(gone)))

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

    def change(self, change: object) -> None:
        """Write what somebody has asked for, and let it happen then, as the head's actor does."""
        if isinstance(change, Done):  # it is so already
            return
        assert isinstance(change, Change), change
        assert self.picture.hold(change.subject)
        self.commit(change)

    def commit(self, change: Change, *, stored: bool = True) -> None:
        """Let a change that is held be written, or fail for want of a store."""
        if stored:
            self.store.apply(list(change.writes))
        self.picture.release(change.subject)
        for event in change.events if stored else ():
            self.picture.take(event, self.now)
        self.picture.plan(self.now)
        self.carry_out(self.picture.effects())
        self.settle()

    def adding(self, spec: DeploymentSpec) -> Change:
        self.uids += 1
        return control.add(self.picture, spec, f"uid-{self.uids}", WALL + self.now, ())

    def updating(self, deployment: Deployment, spec: DeploymentSpec, *, allow_downtime: bool) -> object:
        wall = WALL + self.now
        return control.update(self.picture, deployment, spec, wall, (), allow_downtime=allow_downtime)

    def deploy(self, name: str, **document: Any) -> Deployment:
        """Deploy a model with the command backend (of no GPU), or another."""
        change = self.adding(spec_of(name, **document))
        self.change(change)
        return self.picture.catalogue.by_id[change.subject]

    def update(self, deployment: Deployment, *, allow_downtime: bool = False, **document: Any) -> None:
        """Give a deployment another document."""
        spec = spec_of(deployment.spec.model, **document)
        self.change(self.updating(deployment, spec, allow_downtime=allow_downtime))

    def delete(self, deployment: Deployment) -> None:
        """Delete a deployment."""
        self.change(control.delete(self.picture, deployment.id))

    def pause(self, deployment: Deployment) -> None:
        """Pause a rollout."""
        self.change(control.pause(self.picture, deployment.id))

    def resume(self, deployment: Deployment, *, allow_downtime: bool = False) -> None:
        """Resume a rollout."""
        self.change(control.resume(self.picture, deployment.id, allow_downtime=allow_downtime))

    def drain(self, node: str, *, draining: bool = True) -> None:
        """Drain a worker, or no longer."""
        self.change(control.drain(self.picture, node, draining=draining))

    def wait(self, seconds: float) -> None:
        """Let time pass, and everything happen that is due meanwhile."""
        end = self.now + seconds
        rounds, beat = 0, self.now
        while True:
            beat = beat + BEAT if self.wants else end
            while (due := self.picture.due()) is not None and due <= min(beat, end):
                self.now = max(self.now, due)
                self.send(TimePassed())
                rounds += 1
                assert rounds < 10_000, "something is due again and again"
            self.now = min(beat, end)
            self.send(DemandReported(GATEWAY) if self.wants else TimePassed())
            if self.now == end:
                return

    # ---- clients

    def want(self, name: str, *, held: int = 0, in_flight: int = 0, uses: int = 0, reached: int = 0) -> None:
        """Let the clients of a gateway want something else of a deployment; it says so each second."""
        if held or in_flight or uses:
            said = Demand(name, held, in_flight, reached, uses)
            self.wants.add(name)
            self.send(DemandReported(GATEWAY, (said,)))
        else:
            self.wants.discard(name)
            self.send(DemandReported(GATEWAY, (), (name,)))

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

    def is_settled(self) -> bool:
        """Return whether the head gives orders for what was deployed before its start."""
        return self.picture.settling.over

    def states(self, name: str) -> list[tuple[int, str]]:
        """Return the replicas of a worker: the revision and the state of each."""
        return sorted((key.revision, each.state.value) for key, each in self.machines[name].running.items())

    def told(self, event: str) -> list[str]:
        """Return the sentences of the journal about one kind of event."""
        return [each.sentence for each in self.journal if each.kind == event]


def spec_of(model: str, **document: Any) -> DeploymentSpec:
    """Return the specification of a deployment with the command backend, unless it names another."""
    body = {"model": model, "backend": "command", "backend_config": {"command": ["run"]}} | document
    if body["backend"] != "command" and body["backend_config"] == {"command": ["run"]}:
        del body["backend_config"]
    spec, _ = read_document(json.dumps(body))
    return spec


def count(least: int) -> dict[str, Any]:
    """Return the keys of a document that ask for so many replicas."""
    return {"auto_scaling_config": {"min_instances": least, "max_instances": max(1, least)}}
