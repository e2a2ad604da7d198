"""Whatever happens, in whatever order: what holds after each step, and what the cluster comes to at last.

The long run:  make soak-picture
"""

from __future__ import annotations

import os
import sys

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving.control import Change, delete, drain
from sllm_actors.serving.deployment.spec import DeploymentSpec
from sllm_actors.serving.loading import requests
from sllm_actors.serving.picture.deployment import Deployment
from sllm_actors.serving.picture.missing import waiting_revision
from sllm_actors.serving.picture.node import Link
from sllm_actors.serving.picture.replica import Told

from .checked import CheckedPicture
from .definition import choose
from .world import World, count, spec_of

LONG = "SLLM_PICTURE_EXAMPLES" in os.environ
EXAMPLES = int(os.environ.get("SLLM_PICTURE_EXAMPLES", "60"))

GPUS = {"a": 2, "b": 1, "c": 0, "d": 2}
SLOTS = {"c": 2, "d": 1}  # of the others, any number of engines may run
MODELS = ("cpu", "one", "two", "any", "out", "idle")
URLS = ["http://a:1", "http://b:1", "http://c:1"]

machines = st.sampled_from(sorted(GPUS))
models = st.sampled_from(MODELS)
flags = st.booleans()


def document(model: str, engine: int, replicas: int) -> DeploymentSpec:
    """Return one of the deployments that the model knows."""
    match model:
        case "out":
            return spec_of(model, backend="external", endpoints=URLS[: 1 + (engine + replicas) % 3])
        case "any":  # on the CPU of a worker without GPUs, else on one GPU
            return spec_of(model, backend="vllm", backend_config={"seed": engine}, **count(replicas))
        case "idle":  # nothing of it runs unless somebody wants that
            command = {"backend_config": {"command": [f"run-{engine}"]}, "startup_timeout": 300}
            least = {"min_instances": 0, "max_instances": replicas, "keep_alive": 30}
            return spec_of(model, auto_scaling_config=least, **command)
        case _:
            command = {"backend_config": {"command": [f"run-{engine}"]}, "startup_timeout": 300}
            gpus = {"cpu": 0, "one": 1, "two": 2}[model]
            return spec_of(model, num_gpus=gpus, **command, **count(replicas))


class Histories(RuleBasedStateMachine):
    """The rules are what can happen to a head, its store, its workers and its users."""

    make = CheckedPicture

    def __init__(self) -> None:
        super().__init__()
        self.outside = sys.exc_info()[1]
        self.world = World(make=self.make, prompt=False)
        self.acknowledged: dict[str, str] = {}  # by id: the uid that a person was told
        self.deleted: set[str] = set()
        self.drained: set[str] = set()
        self.held: Change | None = None
        self.lost = False
        self.placed: dict[str, set[ReplicaKey]] = {}  # by uid: what was to run after the last step
        for name, gpus in GPUS.items():
            self.world.worker(name, gpus, slots=SLOTS.get(name))

    @initialize(deployed=st.sets(models, min_size=1), prompt=flags, replicas=st.integers(1, 3))
    def begin(self, deployed: set[str], prompt: bool, replicas: int) -> None:
        self.world.prompt = prompt
        for model in sorted(deployed):
            self.deploy(model, 0, replicas)
        self.all_goes_well()

    @rule()
    def all_goes_well(self) -> None:
        for name, machine in self.world.machines.items():
            machine.slow = False
            self.world.obey(name)
            self.world.end(name)
        self.world.ready()

    # ---- links and machines

    @rule(node=machines)
    def link_comes(self, node: str) -> None:
        if not self.world.machines[node].linked:
            self.world.link(node)

    @rule(node=machines)
    def link_goes(self, node: str) -> None:
        if self.world.machines[node].linked:
            self.world.unlink(node)

    @rule(node=machines)
    def worker_is_started_again(self, node: str) -> None:
        self.world.link(node, new_life=True)

    @rule(node=machines)
    def worker_obeys(self, node: str) -> None:
        self.world.obey(node)

    @rule(slow=flags)
    def everybody_obeys(self, slow: bool) -> None:
        for name, machine in self.world.machines.items():
            machine.slow = slow
            self.world.obey(name)

    @rule(node=machines)
    def what_drains_ends(self, node: str) -> None:
        self.world.end(node)

    @rule(model=models)
    def engines_are_ready(self, model: str) -> None:
        self.world.ready(document(model, 0, 1).id)

    @rule(node=machines, failures=st.integers(1, 4), nth=st.integers(0, 7))
    def engine_fails(self, node: str, failures: int, nth: int) -> None:
        running = sorted(self.world.machines[node].running.items())
        if running:
            key, report = running[nth % len(running)]
            if report.state is not ReplicaState.DRAINING and not report.unfit:
                fields = {"failures": failures, "reason": "it broke"}
                self.world.say(node, key, ReplicaState.FAILED, **fields)

    @rule(node=machines, nth=st.integers(0, 7), sleeps=flags)
    def engine_starts_or_sleeps(self, node: str, nth: int, sleeps: bool) -> None:
        running = sorted(self.world.machines[node].running.items())
        if running:
            key, report = running[nth % len(running)]
            states = (ReplicaState.READY, ReplicaState.FAILED, ReplicaState.ASLEEP)
            if report.state in states and not report.unfit:
                self.world.say(node, key, ReplicaState.ASLEEP if sleeps else ReplicaState.STARTING)

    @rule(node=machines, model=models, refuses=flags)
    def worker_refuses(self, node: str, model: str, refuses: bool) -> None:
        machine = self.world.machines[node]
        name = document(model, 0, 1).id
        if refuses:
            machine.refuses[name] = "it has no such file"
        elif machine.refuses.pop(name, None):
            machine.changes += 1
            if machine.linked:
                self.world.inventory(node)

    @rule(node=machines, lost=st.integers(0, 1), stuck=st.integers(0, 1))
    def gpus_come_and_go(self, node: str, lost: int, stuck: int) -> None:
        machine = self.world.machines[node]
        machine.has_gpus(max(0, GPUS[node] - lost), stuck=stuck)
        if machine.linked:
            self.world.inventory(node)

    @rule(seconds=st.sampled_from([0.5, 3.0, 9.0, 31.0, 700.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.wait(seconds)

    # ---- the head and its store

    @rule(link=flags)
    def head_is_started_again(self, link: bool) -> None:
        self.held = None
        self.world.store_away = False
        self.world.restart_head(link=link)
        self.nothing_acknowledged_is_lost()

    @rule(away=flags)
    def store_goes_and_comes(self, away: bool) -> None:
        self.world.store_away = away
        if not away:
            self.world.write()

    @precondition(lambda self: not self.lost)
    @rule(really=st.integers(0, 3))
    def store_is_lost(self, really: int) -> None:
        if really:  # else most histories have this in them, and others do not come far
            return
        self.lost = True
        self.held = None
        self.world.store_away = False
        self.world.lose_store()
        self.acknowledged.clear()
        self.deleted.clear()
        self.drained.clear()

    # ---- people

    def happens(self, change: object) -> bool:
        """Let a change happen, if it is one, and the store takes it; return if it was acknowledged."""
        if not isinstance(change, Change) or self.world.store_away:
            return False
        if self.held is not None and self.held.subject == change.subject:
            return False
        self.world.change(change)
        return True

    @rule(model=models, engine=st.integers(0, 2), replicas=st.integers(1, 3))
    def deploy(self, model: str, engine: int, replicas: int) -> None:
        spec = document(model, engine, replicas)
        if spec.id not in self.world.picture.catalogue.by_id and self.happens(self.world.adding(spec)):
            self.acknowledged[spec.id] = self.world.picture.catalogue.by_id[spec.id].uid

    @rule(model=models, engine=st.integers(0, 2), replicas=st.integers(1, 3), downtime=flags)
    def update(self, model: str, engine: int, replicas: int, downtime: bool) -> None:
        spec = document(model, engine, replicas)
        known = self.world.picture.catalogue.by_id.get(spec.id)
        if known is not None:
            self.happens(self.world.updating(known, spec, allow_downtime=downtime))

    @rule(model=models)
    def delete(self, model: str) -> None:
        name = document(model, 0, 1).id
        known = self.world.picture.catalogue.by_id.get(name)
        if known is not None and self.happens(delete(self.world.picture, name)):
            self.acknowledged.pop(name, None)
            self.deleted.add(known.uid)

    @rule(model=models, pause=flags, downtime=flags)
    def pause_or_resume(self, model: str, pause: bool, downtime: bool) -> None:
        known = self.world.picture.catalogue.by_id.get(document(model, 0, 1).id)
        held = self.held is not None and known is not None and self.held.subject == known.id
        if known is None or not known.rolling or known.deleting or self.world.store_away or held:
            return
        if not pause:
            self.world.resume(known, allow_downtime=downtime)
        elif not known.paused:
            self.world.pause(known)

    @rule(model=st.sampled_from(["idle", "idle", "cpu", "one"]), force=flags, what=st.integers(0, 3))
    def by_hand(self, model: str, force: bool, what: int) -> None:
        name, picture = document(model, 0, 1).id, self.world.picture
        asked = (
            requests.load(picture, name),
            requests.unload(picture, name, force=force, wall=picture.wall(self.world.now)),
            requests.put_to_sleep(picture, name, 1 + force),
            requests.wake(picture, name),
        )[what]
        if isinstance(asked, Change):
            for event in asked.events:
                self.world.send(event)

    @rule(node=machines, nth=st.integers(0, 7), busy=flags)
    def engine_can_sleep_or_is_busy(self, node: str, nth: int, busy: bool) -> None:
        machine = self.world.machines[node]
        machine.busy.clear()
        running = sorted(machine.running.items())
        if running:
            key, report = running[nth % len(running)]
            if report.state is ReplicaState.READY:
                machine.busy |= {key} if busy else set()
                self.world.say(node, key, ReplicaState.READY, can_sleep=True)

    @rule(node=machines, draining=flags)
    def drain(self, node: str, draining: bool) -> None:
        if node not in self.world.picture.fleet.nodes:
            return
        if self.happens(drain(self.world.picture, node, draining=draining)):
            (self.drained.add if draining else self.drained.discard)(node)

    @precondition(lambda self: self.held is None and not self.world.store_away)
    @rule(model=models, engine=st.integers(0, 2))
    def change_begins(self, model: str, engine: int) -> None:
        known = self.world.picture.catalogue.by_id.get(document(model, 0, 1).id)
        if known is not None:
            change = self.world.updating(known, document(model, engine, 2), allow_downtime=False)
            if isinstance(change, Change):
                assert self.world.picture.hold(change.subject)
                self.held = change

    @precondition(lambda self: self.held is not None)
    @rule()
    def change_ends(self) -> None:
        change, self.held = self.held, None
        assert change is not None
        self.world.commit(change, stored=not self.world.store_away)

    # ---- what holds after each step

    def nothing_acknowledged_is_lost(self) -> None:
        catalogue = self.world.picture.catalogue
        for name, uid in self.acknowledged.items():
            assert uid in catalogue.by_uid, f"{name} is lost"
        for uid in self.deleted & catalogue.by_uid.keys():
            assert catalogue.by_uid[uid].deleting, f"{uid} has come back"
        nodes = self.world.picture.fleet.nodes
        for node in self.drained:
            assert nodes[node].draining, f"{node} is no longer drained"

    @invariant()
    def what_is_acknowledged_is_known(self) -> None:
        self.nothing_acknowledged_is_lost()

    @invariant()
    def the_audit_finds_nothing(self) -> None:
        assert self.world.audit() == []

    @invariant()
    def no_worker_is_over_committed(self) -> None:
        for name, node in self.world.picture.fleet.nodes.items():
            taken = sum(each.need.gpus for each in node.replicas.values())
            assert taken <= GPUS[name], f"{name} has more replicas than GPUs"
        for name, machine in self.world.machines.items():
            runs = sum(report.gpus for report in machine.running.values())
            assert runs <= GPUS[name], f"{name} runs more than it has room for"
        for name, slots in SLOTS.items():
            known = self.world.picture.fleet.nodes.get(name)  # a head without its store knows none at first
            taken = 0 if known is None else sum(each.need.slots for each in known.replicas.values())
            assert taken <= slots, f"{name} has more engines than slots"
            running = self.world.machines[name].running
            engines = sum(not key.deployment.endswith(":external") for key in running)
            assert engines <= slots, f"{name} runs more engines than it may"

    @invariant()
    def everything_wanted_has_a_place_or_a_reason(self) -> None:
        picture = self.world.picture
        for deployment in picture.catalogue.by_uid.values():
            if picture.is_planned(deployment) and not deployment.deleting:
                asks = deployment.next_number + 8 >= deployment.usable
                running = {replica.key: replica for replica in deployment.running()}
                before = self.placed.get(deployment.uid, set())
                placed, wanted = len(running), self.wanted(deployment)
                assert placed >= wanted or deployment.wait or asks, f"{deployment.id}: why?"
                # Where fewer are wanted than before, those that serve stay until others do, and so do those
                # that come back with their worker.
                back = sum(replica.returned and key not in before for key, replica in running.items())
                assert placed <= max(wanted + 1, len(before) + back), f"{deployment.id} has too many"
                self.placed[deployment.uid] = set(running)

    def wanted(self, deployment: Deployment) -> int:
        return len(waiting_revision(deployment).spec.endpoints) or deployment.wanted

    # ---- what it comes to

    def teardown(self) -> None:
        if sys.exc_info()[1] is self.outside:  # else a step has failed
            self.come_to_rest()
            self.check_rest()

    def come_to_rest(self) -> None:
        """Let every fault be over, and everything that is under way end."""
        world = self.world
        if self.held is not None:
            self.change_ends()
        world.store_away = False
        world.write()
        for name, machine in world.machines.items():
            machine.has_gpus(GPUS[name])
            machine.refuses.clear()
            machine.changes += 1
            if not machine.linked:
                world.link(name)
            world.inventory(name)
        for _ in range(20):
            for name, machine in world.machines.items():
                machine.slow = False
                machine.busy.clear()
                for key, report in list(machine.running.items()):
                    if report.state in (ReplicaState.FAILED, ReplicaState.ASLEEP):
                        world.say(name, key, ReplicaState.STARTING, unfit=False)
                world.obey(name)
                world.end(name)
            world.ready()
            world.wait(20.0)

    def check_rest(self) -> None:
        picture = self.world.picture
        self.nothing_acknowledged_is_lost()
        for name, machine in self.world.machines.items():
            node = picture.fleet.nodes[name]
            assert node.link is Link.UP
            ordered = {key for key, order in machine.orders.items() if order.run is not None}
            assert ordered == machine.running.keys() == node.replicas.keys(), f"{name} differs"
            assert all(each.ordered is Told.RUN for each in node.replicas.values())
            assert {key.uid for key in ordered} <= picture.catalogue.by_uid.keys()
        for deployment in picture.catalogue.by_uid.values():
            self.check_deployment(deployment)
        assert {each.uid for each in self.world.routes.values()} == picture.catalogue.by_uid.keys()
        for deployment in picture.catalogue.by_uid.values():
            picture.queue.mark(deployment)
        picture.plan(self.world.now)
        again = picture.effects()
        assert [again.orders, again.routes, again.journal, again.writes] == [{}, {}, [], []]

    def check_deployment(self, deployment: Deployment) -> None:
        placed, wanted = len(deployment.running()), self.wanted(deployment)
        assert not deployment.deleting
        if deployment.paused:
            assert deployment.rolling
            return
        if not wanted:  # a revision that is rolled out is proven by the next request
            awake = sum(replica.sleep is None for replica in deployment.running())
            assert (awake, deployment.unproven) == (0, deployment.rolling)
        elif placed < wanted or deployment.rolling:
            revision = deployment.revisions[deployment.target]
            assert deployment.wait is not None, f"{deployment.id} lacks replicas, and nobody knows why"
            assert choose(self.world.picture.fleet, deployment, revision, self.world.now) is None
        else:
            assert placed == wanted, f"{deployment.id} has {placed} replicas, not {wanted}"


Histories.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    # Making an example smaller takes minutes: the long run does it.
    phases=[Phase.explicit, Phase.reuse, Phase.generate, *([Phase.shrink] if LONG else [])],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestHistories = Histories.TestCase
