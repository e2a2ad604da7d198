"""Which replicas of a deployment sleep on, which wake, and what is to be awake beside them."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define

from sllm_actors.serving.decisions.start_cost import StartCosts
from sllm_actors.serving.decisions.tiers import Sleeper, SleepPolicy, sleep_level
from sllm_actors.serving.picture.deployment import Deployment
from sllm_actors.serving.picture.fleet import Fleet
from sllm_actors.serving.picture.replica import KnownReplica


@define(eq=False)
class Rest:
    """The replicas of one revision, by whether they are to sleep.

    Attributes:
        wanted: How many should be awake.
        awake: Those that are to be awake, with ``wake``.
        asleep: Those that sleep on.
        wake: Those that are to wake now: the quickest.
    """

    wanted: int
    awake: list[KnownReplica]
    asleep: list[KnownReplica]
    wake: list[KnownReplica]


def rest(deployment: Deployment, replicas: Iterable[KnownReplica], wanted: int) -> Rest:
    """Divide replicas of a deployment.

    Sleepers stand for replicas that are wanted, but not for those that requests or a minimum need: for these
    they wake. One that a person has put to sleep stands for these, too, until a request waits for it.

    Args:
        deployment: The deployment.
        replicas: Those of the revision that is wanted.
        wanted: How many are wanted.
    """
    awake: list[KnownReplica] = []
    asleep: list[KnownReplica] = []
    for replica in replicas:
        (awake if replica.sleep is None else asleep).append(replica)
    kept = 0 if deployment.held else sum(not replica.spare for replica in asleep)
    needed = max(0, min(deployment.needed, wanted) - kept, wanted - len(asleep))
    asleep.sort(key=lambda each: (each.sleep, each.distance))
    wake = asleep[: max(0, needed - len(awake))]
    return Rest(needed, awake + wake, asleep[len(wake) :], wake)


def level_of(
    replica: KnownReplica, deployment: Deployment, costs: StartCosts, *, memory_is_short: bool = False
) -> int | None:
    """Return the level at which a replica sleeps when it is not needed; None: it is stopped.

    Args:
        replica: The replica.
        deployment: Of which it is.
        costs: What wakes took.
        memory_is_short: See ``Sleeper``.
    """
    if deployment.unloaded:
        return None
    known = sleeper(replica, deployment, memory_is_short=memory_is_short)
    return sleep_level(known, policy_of(deployment), costs)


def memory_is_short(fleet: Fleet, replica: KnownReplica, deployment: Deployment) -> bool:
    """Return whether a worker has too little memory left for the weights of a replica that falls asleep.

    What the weights take is known only where the worker has the model on its disk; elsewhere the worker says
    so when it was to put the replica to sleep.
    """
    if replica.report is not None and replica.report.memory_short:
        return True
    node = fleet.nodes[replica.node]
    source = deployment.revisions[replica.key.revision].spec.source_of(0)
    weights = fleet.models.sizes(source).get(node.id, 0)
    free, budget = node.inventory.memory_free if node.inventory else 0, node.free.memory
    return weights > (free if budget is None else min(budget, free))


def sleeper(replica: KnownReplica, deployment: Deployment, *, memory_is_short: bool = False) -> Sleeper:
    """Return what ``decisions.tiers`` has to know of a replica."""
    engine = deployment.revisions[replica.key.revision].fingerprint
    report = replica.report
    can_sleep = report is not None and report.can_sleep
    return Sleeper(engine, replica.node, can_sleep=can_sleep, memory_is_short=memory_is_short)


def policy_of(deployment: Deployment) -> SleepPolicy:
    """Return what a deployment says about the sleep of its replicas."""
    scaling = deployment.spec.scaling
    return SleepPolicy(scaling.sleep_level, scaling.sleep_keep_alive)
