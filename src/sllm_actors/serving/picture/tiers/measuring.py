"""How long replicas took to be READY: what reports tell of that, and what gateways are told to expect."""

from __future__ import annotations

from collections.abc import Iterable

from sllm_actors.engines.messages import ReplicaReport, ReplicaState
from sllm_actors.serving.decisions.start_cost import Cost, CostKey, StartCosts, Tier
from sllm_actors.serving.picture.deployment import Deployment
from sllm_actors.serving.picture.replica import KnownReplica
from sllm_actors.serving.store.records import MeasuredRecord

_STARTED = (ReplicaState.READY, ReplicaState.ASLEEP, ReplicaState.DRAINING)


def known_costs(measured: Iterable[MeasuredRecord]) -> tuple[Cost, ...]:
    """Return the costs among what the store has of measurements, in the same order."""
    tiers = {tier.value: tier for tier in Tier}
    return tuple(
        Cost(CostKey(each.engine, each.worker, tiers[each.kind]), each.value)
        for each in measured
        if each.kind in tiers
    )


def learn(costs: StartCosts, replica: KnownReplica, before: ReplicaReport | None) -> Cost | None:
    """Take what the report of a replica says of its last start or wake; return what is known by that.

    Args:
        costs: What is known.
        replica: It has taken the report.
        before: The report that it had; None if this is the first. What that one tells may have been learned
            by an earlier head.
    """
    report = replica.report
    if report is None or report.state is not ReplicaState.READY or not report.fingerprint:
        return None
    slept = before is not None and before.state is ReplicaState.ASLEEP
    if slept and report.woke_in and replica.slept is not None:
        key, seconds = CostKey(report.fingerprint, replica.node, Tier.asleep(replica.slept)), report.woke_in
    elif report.started_in and (
        before is None or before.state not in _STARTED or before.starts != report.starts
    ):
        key, seconds = CostKey(report.fingerprint, replica.node, Tier.STOPPED), report.started_in
        if before is None and costs.measured(key) is not None:
            return None
    else:
        return None
    return costs.learn(key, seconds)


def expect(deployment: Deployment, costs: StartCosts) -> None:
    """Let gateways hear how long a start and a wake of a deployment's replicas are expected to take.

    Two digits of each are told, so that not every start changes the route.
    """
    engine = deployment.revisions[deployment.target].fingerprint
    wakes = [costs.known(engine, tier) for tier in (Tier.ASLEEP_1, Tier.ASLEEP_2)]
    deployment.starts_in = _two_digits(costs.known(engine, Tier.STOPPED) or 0.0)
    deployment.wakes_in = _two_digits(min((each for each in wakes if each is not None), default=0.0))


def _two_digits(seconds: float) -> float:
    return float(f"{seconds:.1e}")
