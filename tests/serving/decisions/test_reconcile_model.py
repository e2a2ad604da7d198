"""Whatever happens to workers, replicas and the head, in whatever order: what must hold after each step, and
what the cluster must come to when nothing more happens."""

from __future__ import annotations

import pytest
from attrs import define, evolve, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.serving.kit import inventory, report, spec

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaOrder, ReplicaReport, ReplicaState
from sllm_actors.serving.decisions.reconcile import Deployment, Plan, Worker, reconcile
from sllm_actors.serving.deployment.spec import DeploymentSpec

MODELS = {
    "cpu": spec("cpu", replicas=2),
    "one": spec("one", replicas=2, gpus=1),
    "two": spec("two", replicas=1, gpus=2),
    "out": spec("out", backend="external", endpoints=("http://a", "http://b", "http://c")),
}
GPUS = {"w1": 2, "w2": 1, "w3": 0}
UNFIT = {("cpu:llamacpp", "w3"), ("out:external", "w1")}
ENDING = (ReplicaState.DRAINING, ReplicaState.STOPPED)
WORKING = (ReplicaState.STARTING, ReplicaState.READY, ReplicaState.FAILED)


@define
class Machine:
    """A worker as it really is: it goes on while nobody hears of it."""

    gpus: int
    linked: bool = True
    desired: tuple[ReplicaOrder, ...] = ()
    replicas: dict[ReplicaKey, ReplicaState] = field(factory=dict)
    gpus_of: dict[ReplicaKey, int] = field(factory=dict)

    def obey(self) -> None:
        """Start what is new and drain what is no longer wanted, as ``WorkerActor`` does."""
        wanted = {order.key for order in self.desired}
        for order in self.desired:
            self.gpus_of[order.key] = order.num_gpus
            self.replicas.setdefault(order.key, ReplicaState.STARTING)
        for key in set(self.replicas) - wanted:
            self.replicas[key] = ReplicaState.DRAINING

    def end(self, key: ReplicaKey) -> None:
        """A replica that drains is gone; it is started again if it is wanted again."""
        del self.replicas[key]
        self.obey()

    def come_to_rest(self) -> None:
        """What drains is gone, and everything else is ready."""
        for key, state in sorted(self.replicas.items()):
            if state in ENDING:
                self.end(key)
            else:
                self.replicas[key] = ReplicaState.READY

    def reports(self) -> tuple[ReplicaReport, ...]:
        return tuple(report(key, state) for key, state in sorted(self.replicas.items()))


class Cluster(RuleBasedStateMachine):
    """Rules are what can happen; the head's picture may lag behind what the machines really do."""

    def __init__(self) -> None:
        super().__init__()
        self.machines = {node: Machine(gpus) for node, gpus in GPUS.items()}
        self.stored: dict[str, Deployment] = {}  # what a restart finds on disk
        self.revisions: dict[str, tuple[int, int]] = {}
        self.given: set[ReplicaKey] = set()
        self.forget_everything()

    def forget_everything(self) -> None:
        """The head starts: it has its store, and no report."""
        self.deployments = {name: evolve(each, unfit={}) for name, each in self.stored.items()}
        self.workers: dict[str, Worker] = {}
        self.placements: dict[ReplicaKey, str] = {}
        self.awaited = {node for node, machine in self.machines.items() if machine.linked}

    # ---- the head's side

    def apply(self) -> None:
        if self.awaited:
            return
        before, adopted = self.workers, set(self.placements)
        plan = reconcile(self.deployments, self.workers, self.placements)
        self.check(plan)
        for name in plan.gone:
            assert all(key.deployment != name for each in before.values() for key in each.replicas)
        for key in set(plan.placements) - adopted:
            if key.number >= self.deployments[key.deployment].next_number:
                assert key not in self.given, "a number was given out twice"
                assert self.deployments[key.deployment].unfit[plan.placements[key]] == ""
                self.given.add(key)
        for name, number in plan.next_numbers.items():
            self.deployments[name] = evolve(self.deployments[name], next_number=number)
            self.stored[name] = evolve(self.stored[name], next_number=number)
        self.placements = dict(plan.placements)
        again = reconcile(self.deployments, before, self.placements)
        assert again == evolve(plan, next_numbers={}), "the same picture gave another plan"
        for node, orders in plan.orders.items():
            self.machines[node].desired = orders
        for name in plan.gone:
            gone = self.deployments.pop(name)
            self.revisions[name] = (gone.revision, gone.next_number)
            del self.stored[name]

    def check(self, plan: Plan) -> None:
        ordered = [(node, order) for node, orders in plan.orders.items() for order in orders]
        keys = [order.key for _, order in ordered]
        assert len(keys) == len(set(keys)), "a place was given to two workers"
        assert {key: plan.placements[key] for key in keys} == {order.key: node for node, order in ordered}
        for node, orders in plan.orders.items():
            assert sum(order.num_gpus for order in orders) <= self.machines[node].gpus
            taken = {order.key for order in orders} | set(self.workers[node].replicas)
            if not taken <= set(self.workers[node].replicas) | set(self.placements):  # something is placed
                fits = sum(self.gpus_of(key) for key in taken) <= self.machines[node].gpus
                assert fits, "what is on its way out holds its GPUs"
        for name, deployment in self.deployments.items():
            mine = [order for _, order in ordered if order.key.deployment == name]
            assert len(mine) <= (0 if deployment.deleting else deployment.spec.replicas)
            assert len({order.source for order in mine}) == (
                len(mine) if deployment.spec.endpoints else min(len(mine), 1)
            )
            if not deployment.deleting and not deployment.spec.endpoints:
                ready = {
                    key
                    for worker in self.workers.values()
                    for key, each in worker.replicas.items()
                    if (key.deployment, key.revision) == (name, deployment.revision)
                    and each.state is ReplicaState.READY
                }
                kept = ready & set(plan.placements)
                assert len(kept) == min(len(ready), deployment.spec.replicas), "a ready replica was given up"

    def gpus_of(self, key: ReplicaKey) -> int:
        known = self.deployments.get(key.deployment)
        return known.spec.gpus if known else 0

    def hear(self, node: str) -> None:
        """Take a report."""
        machine = self.machines[node]
        self.workers[node] = Worker(
            node, inventory(machine.gpus), {each.id.key: each for each in machine.reports()}
        )
        self.awaited.discard(node)
        self.apply()

    def learn_fitness(self, node: str) -> None:
        """Take a worker's answer to whether it could run what is deployed."""
        for name, deployment in self.deployments.items():
            problem = "it has no such file" if (name, node) in UNFIT else ""
            self.deployments[name] = evolve(deployment, unfit={**deployment.unfit, node: problem})
        self.apply()

    # ---- what happens

    @initialize(models=st.sets(st.sampled_from(sorted(MODELS))))
    def begin(self, models: set[str]) -> None:
        for model in sorted(models):
            self.deploy(model)
        for node in (*GPUS, *GPUS):
            self.worker_does_everything_and_says_so(node)

    @rule(node=st.sampled_from(sorted(GPUS)))
    def link_comes(self, node: str) -> None:
        self.machines[node].linked = True

    @rule(node=st.sampled_from(sorted(GPUS)), dies=st.booleans())
    def link_goes(self, node: str, dies: bool) -> None:
        machine = self.machines[node]
        machine.linked = False
        if dies:
            machine.desired, machine.replicas = (), {}
        if self.workers.pop(node, None):
            for name, deployment in self.deployments.items():
                self.deployments[name] = evolve(
                    deployment, unfit={n: said for n, said in deployment.unfit.items() if n != node}
                )
            self.apply()

    @rule(node=st.sampled_from(sorted(GPUS)))
    def worker_does_everything_and_says_so(self, node: str) -> None:
        machine = self.machines[node]
        if machine.linked:
            self.hear(node)
            self.learn_fitness(node)
            machine.obey()
            machine.come_to_rest()
            self.hear(node)

    @rule(node=st.sampled_from(sorted(GPUS)))
    def worker_answers(self, node: str) -> None:
        if node in self.workers:
            self.learn_fitness(node)

    @rule(node=st.sampled_from(sorted(GPUS)))
    def worker_obeys(self, node: str) -> None:
        self.machines[node].obey()

    @rule(node=st.sampled_from(sorted(GPUS)))
    def worker_reports(self, node: str) -> None:
        if self.machines[node].linked:
            self.hear(node)

    @rule(
        node=st.sampled_from(sorted(GPUS)),
        pick=st.randoms(use_true_random=False),
        state=st.sampled_from(WORKING),
    )
    def replica_changes(self, node: str, pick: object, state: ReplicaState) -> None:
        replicas = self.machines[node].replicas
        working = sorted(key for key, now in replicas.items() if now not in ENDING)
        if working:
            replicas[pick.choice(working)] = state  # type: ignore[attr-defined]

    @rule(node=st.sampled_from(sorted(GPUS)))
    def draining_ends(self, node: str) -> None:
        machine = self.machines[node]
        for key in sorted(key for key, now in machine.replicas.items() if now in ENDING)[:1]:
            machine.end(key)

    @rule(model=st.sampled_from(sorted(MODELS)))
    def deploy(self, model: str) -> None:
        wanted: DeploymentSpec = MODELS[model]
        if wanted.id not in self.stored:
            revision, number = self.revisions.get(wanted.id, (0, 0))
            fresh = Deployment(wanted, revision + 1, next_number=number)
            self.stored[wanted.id] = self.deployments[wanted.id] = fresh
            self.apply()

    @rule(model=st.sampled_from(sorted(MODELS)))
    def delete(self, model: str) -> None:
        name = MODELS[model].id
        if name in self.stored:
            self.stored[name] = evolve(self.stored[name], deleting=True)
            self.deployments[name] = evolve(self.deployments[name], deleting=True)
            self.apply()

    @rule()
    def head_restarts(self) -> None:
        self.forget_everything()
        self.apply()

    @precondition(lambda self: self.awaited)
    @rule()
    def head_settles(self) -> None:
        self.awaited = set()
        self.apply()

    # ---- what must hold

    @invariant()
    def no_revision_runs_that_was_never_deployed(self) -> None:
        for machine in self.machines.values():
            assert set(machine.replicas) <= self.given

    def teardown(self) -> None:
        """Nothing more happens: everybody reports and obeys until nothing changes."""
        for node, machine in self.machines.items():
            machine.linked = machine.linked or node == "w3"
        self.awaited = set()
        for _ in range(12):
            for node, machine in self.machines.items():
                if not machine.linked:
                    continue
                self.hear(node)
                self.learn_fitness(node)
                machine.obey()
                machine.come_to_rest()
        self.settled()

    def settled(self) -> None:
        linked = {node: machine for node, machine in self.machines.items() if machine.linked}
        assert not any(each.deleting for each in self.deployments.values()), "a deletion did not end"
        free = {
            node: machine.gpus - sum(machine.gpus_of[key] for key in machine.replicas)
            for node, machine in linked.items()
        }
        assert all(left >= 0 for left in free.values())
        assert {key.deployment for machine in linked.values() for key in machine.replicas} <= set(self.stored)
        for name, deployment in self.deployments.items():
            runs = [key for machine in linked.values() for key in machine.replicas if key.deployment == name]
            assert len(runs) <= deployment.spec.replicas
            fitting = [left for node, left in free.items() if (name, node) not in UNFIT]
            full = max(fitting, default=-1) < deployment.spec.gpus
            assert len(runs) == deployment.spec.replicas or full, "there was room"


TestCluster = pytest.mark.slow(Cluster.TestCase)
TestCluster.settings = settings(max_examples=120, stateful_step_count=30, deadline=None)
