"""Deciding which replica runs on which worker; pure.

What the head knows is rebuilt after a restart from its store (deployments) and from the workers' reports
(replicas). So the decision depends only on the present state, not on how it came about.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from attrs import field, frozen

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaOrder, ReplicaReport, ReplicaState
from sllm_actors.serving.deployment.spec import DeploymentSpec
from sllm_actors.serving.messages import Inventory

from .placement import Candidate, choose


@frozen
class PlacementWait:
    """A replica that should run has no place: no worker has room for it.

    Attributes:
        since: When that began, in seconds on the clock of the head's actors.
        missing: What is missing, in one sentence for a person.
        overdue: Whether it has lasted longer than the start-up timeout. The head still goes on trying.
    """

    since: float
    missing: str
    overdue: bool = False


@frozen
class Deployment:
    """One deployment, as the head knows it.

    Attributes:
        spec: What was deployed.
        revision: Its revision, from 1.
        deleting: Whether it is being deleted.
        next_number: The first replica number that was never given out.
        created: When it was deployed, in seconds since the epoch.
        unfit: By node: why that worker cannot run it, or "" if it can. A worker that is missing has not been
            asked yet, and gets no replica.
        wait: Set while a replica of it has no place; see ``waiting``.
    """

    spec: DeploymentSpec
    revision: int
    deleting: bool = False
    next_number: int = 0
    created: float = 0.0
    unfit: Mapping[str, str] = field(factory=dict)
    wait: PlacementWait | None = None


@frozen
class Worker:
    """One worker that is linked and has reported.

    Attributes:
        node: Its node id.
        inventory: What it has.
        replicas: The last report of each of its replicas, by key.
    """

    node: str
    inventory: Inventory
    replicas: Mapping[ReplicaKey, ReplicaReport] = field(factory=dict)


Placements = Mapping[ReplicaKey, str]
"""The node id of the worker that each replica belongs to, by key."""


@frozen
class Plan:
    """The result of ``reconcile``.

    Attributes:
        placements: Where each replica belongs now.
        next_numbers: By deployment that gave out numbers: the first that is still free. To be stored before
            any order is sent, so that no number is used twice.
        orders: By node: all replicas that the worker should run.
        gone: Ids of deployments that were being deleted, and of which nothing runs any more.
        unplaced: Ids of deployments of which a replica found no place.
    """

    placements: Placements
    next_numbers: dict[str, int]
    orders: dict[str, tuple[ReplicaOrder, ...]]
    gone: tuple[str, ...]
    unplaced: tuple[str, ...] = ()


def reconcile(
    deployments: Mapping[str, Deployment], workers: Mapping[str, Worker], placements: Placements
) -> Plan:
    """Decide where replicas belong.

    - A running replica of the current revision stays on the worker that reports it.
    - A placement on a worker that is not linked is given up.
    - Of too many replicas, those go first that are furthest from serving; among equals those that come back
      on a worker whose placement was given up; then the youngest.
    - Missing replicas are placed (see ``choose``). GPUs count as used until the last process of the replica
      that had them has ended.

    Applied to its own result, with no new report, it returns the same placements.

    Args:
        deployments: All deployments, by id.
        workers: The workers that are linked and have reported, by node id.
        placements: The placements of the last plan.
    """
    placed = _adopted(deployments, workers, placements)
    active = {name: each for name, each in sorted(deployments.items()) if not each.deleting}
    for name, deployment in active.items():
        for key in _surplus(deployment.spec, _of(name, placed), placed, workers, set(placements)):
            del placed[key]
    next_numbers: dict[str, int] = {}
    unplaced = []
    for name, deployment in active.items():
        number = deployment.next_number
        for turn in _missing(deployment.spec, _of(name, placed)):
            node = choose(_candidates(deployment, deployments, workers, placed))
            if node is None:
                unplaced.append(name)
                break
            number = _number_for(number, turn, deployment.spec.replicas)
            placed[ReplicaKey(name, deployment.revision, number)] = node
            number += 1
        if number != deployment.next_number:
            next_numbers[name] = number
    return Plan(
        placements=placed,
        next_numbers=next_numbers,
        orders={
            node: tuple(
                _order(deployments[key.deployment], key, len(worker.inventory.gpus))
                for key in sorted(placed)
                if placed[key] == node
            )
            for node, worker in sorted(workers.items())
        },
        gone=tuple(
            name
            for name, deployment in sorted(deployments.items())
            if deployment.deleting and not running(name, workers)
        ),
        unplaced=tuple(unplaced),
    )


def running(deployment: str, workers: Mapping[str, Worker]) -> list[tuple[str, ReplicaReport]]:
    """Return the replicas of a deployment that may have a process: pairs of node id and report."""
    return [
        (node, report)
        for node, worker in sorted(workers.items())
        for report in _processes(worker)
        if report.id.deployment == deployment
    ]


def used_gpus(
    node: str, deployments: Mapping[str, Deployment], workers: Mapping[str, Worker], placements: Placements
) -> int:
    """Return how many GPUs of a worker are taken.

    They are taken by replicas that belong there, and by those that are ending, until their last process has
    ended.
    """
    here = {key for key, where in placements.items() if where == node}
    if node in workers:
        here |= {report.id.key for report in _processes(workers[node])}
    total = len(workers[node].inventory.gpus) if node in workers else 0
    known = [deployments[key.deployment].spec for key in here if key.deployment in deployments]
    return sum(spec.gpus_on(total) for spec in known)


def _processes(worker: Worker) -> list[ReplicaReport]:
    return [r for _, r in sorted(worker.replicas.items()) if r.state is not ReplicaState.STOPPED]


def _of(deployment: str, placed: Placements) -> list[ReplicaKey]:
    return [key for key in sorted(placed) if key.deployment == deployment]


def _adopted(
    deployments: Mapping[str, Deployment], workers: Mapping[str, Worker], placements: Placements
) -> dict[ReplicaKey, str]:
    def wanted(key: ReplicaKey) -> bool:
        deployment = deployments.get(key.deployment)
        return deployment is not None and not deployment.deleting and deployment.revision == key.revision

    placed = {key: node for key, node in sorted(placements.items()) if node in workers and wanted(key)}
    for node, worker in sorted(workers.items()):
        for key, report in sorted(worker.replicas.items()):
            leaving = report.state in (ReplicaState.DRAINING, ReplicaState.STOPPED)
            if wanted(key) and not leaving:
                placed.setdefault(key, node)
    return placed


_DISTANCE = {ReplicaState.READY: 0, ReplicaState.ASLEEP: 1, ReplicaState.STARTING: 2, ReplicaState.PENDING: 3}


def _surplus(
    spec: DeploymentSpec,
    own: list[ReplicaKey],
    placed: Placements,
    workers: Mapping[str, Worker],
    expected: Collection[ReplicaKey],
) -> list[ReplicaKey]:
    def distance(key: ReplicaKey) -> tuple[int, bool, int]:
        report = workers[placed[key]].replicas.get(key)
        return (_DISTANCE.get(report.state, 4) if report else 3, key not in expected, key.number)

    surplus: list[ReplicaKey] = []
    taken: dict[int, int] = {}
    for key in sorted(own, key=distance):
        # Each endpoint of an external deployment has a turn of its own; elsewhere any replica is as good.
        turn = key.number % spec.replicas if spec.endpoints else 0
        taken[turn] = taken.get(turn, 0) + 1
        if taken[turn] > (1 if spec.endpoints else spec.replicas):
            surplus.append(key)
    return surplus


def _missing(spec: DeploymentSpec, own: list[ReplicaKey]) -> list[int | None]:
    if spec.endpoints:
        covered = {key.number % spec.replicas for key in own}
        return [turn for turn in range(spec.replicas) if turn not in covered]
    return [None] * (spec.replicas - len(own))


def _number_for(number: int, turn: int | None, turns: int) -> int:
    return number if turn is None else number + (turn - number) % turns


def _candidates(
    deployment: Deployment,
    deployments: Mapping[str, Deployment],
    workers: Mapping[str, Worker],
    placed: Placements,
) -> list[Candidate]:
    candidates = []
    for node, worker in sorted(workers.items()):
        if deployment.unfit.get(node) != "":
            continue
        here = [key for key, where in placed.items() if where == node]
        used = used_gpus(node, deployments, workers, placed)
        candidates.append(
            Candidate(
                node,
                needs=deployment.spec.gpus_on(len(worker.inventory.gpus)),
                free_gpus=max(0, worker.inventory.usable_gpus - used),
                same=sum(key.deployment == deployment.spec.id for key in here),
                replicas=len(here),
            )
        )
    return candidates


def _order(deployment: Deployment, key: ReplicaKey, gpus: int) -> ReplicaOrder:
    spec = deployment.spec
    return ReplicaOrder(
        key=key,
        model=spec.model,
        backend=spec.backend,
        source=spec.source_of(key.number),
        settings=spec.settings,
        num_gpus=spec.gpus_on(gpus),
        startup_timeout=spec.startup_timeout,
        drain_timeout=spec.drain_timeout,
        env=spec.env,
        secret_env=spec.secret_env,
    )
