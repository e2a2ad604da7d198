"""Letting the number of replicas of a deployment follow what its clients want."""

from __future__ import annotations

from attrs import evolve

from sllm_actors.serving.decisions.pauses import Pauses
from sllm_actors.serving.decisions.saturation import Gauges
from sllm_actors.serving.decisions.scaling import Counts, Decision, ScalingPolicy, decide, pressing
from sllm_actors.serving.deployment.schedule import Schedule
from sllm_actors.serving.picture.deployment import Deployment, least_of
from sllm_actors.serving.picture.effects import Effects
from sllm_actors.serving.picture.indices.demand import TotalDemand
from sllm_actors.serving.picture.indices.timers import sooner
from sllm_actors.serving.picture.replica import CRASH_LOOP, Told

SLACK = 0.01
"""Seconds after its time at which a schedule is looked at: by then that is over on each clock."""


def look(deployment: Deployment, demand: TotalDemand, now: float, wall: float) -> Decision:
    """Return how many replicas there should be. What is remembered of the load changes, and ``pressing``.

    Args:
        deployment: One that is not being deleted.
        demand: What its clients want.
        now: Seconds on the head's clock.
        wall: Seconds since the epoch.
    """
    scaler, policy, deployment.held = deployment.scaler, _policy(deployment, wall), demand.held
    scaler.service.take(demand.in_flight, demand.uses, now)
    scaler.take(demand.held + demand.in_flight, demand.uses, demand.keep_alive, now)
    deployment.unloaded = deployment.unloaded and not scaler.load.value
    if policy.learns and scaler.pauses is None:
        scaler.pauses = Pauses()
    counts, late = _counts(deployment, now)
    deployment.pressing = pressing(scaler, counts, policy, now)
    if deployment.unloading:
        return Decision(0, 0)
    decision = decide(scaler, deployment.wanted, counts, policy, now)
    if not (deployment.loaded or deployment.asked_for or scaler.load.value):
        # One that is only to be loaded once makes nobody go.
        decision = evolve(decision, needed=minimum(deployment, wall))
    due, until = decision.due, deployment.calendar.until
    if late is not None and scaler.load.value:
        due = sooner(due, late)
    if until is not None:
        due = sooner(due, now + until - wall + SLACK)
    return decision if due == decision.due else evolve(decision, due=due)


def scale(deployment: Deployment, demand: TotalDemand, effects: Effects, now: float, wall: float) -> None:
    """Let a deployment want as many replicas as it should; for the arguments see ``look``."""
    deployment.look_at = None
    if deployment.deleting:
        return
    if not deployment.settled:
        deployment.settled = True
        deployment.wanted = least_of(deployment.spec, loaded=deployment.loaded)
        deployment.count_running()
    deployment.unloading = deployment.unloading and bool(deployment.replicas)
    if not deployment.loaded and any(replica.serves for replica in deployment.running()):
        deployment.loaded, deployment.asked_for = True, False
        if deployment.scaler.rest is not None:
            deployment.scaler.rest = now
    decision = look(deployment, demand, now, wall)
    if decision.wanted != deployment.wanted:
        sentence = f"from {deployment.wanted} to {decision.wanted}: {decision.reason}"
        effects.note(deployment.id, "deployment.scaled", sentence)
        deployment.want(decision.wanted, decision.reason, now)
    deployment.needed = decision.needed
    deployment.scaler.hurried = False
    if not deployment.wanted:
        deployment.scaler.wish = None
    if deployment.rolling and not deployment.wanted and not deployment.running():
        deployment.unproven = True
    deployment.look_at = decision.due


def _policy(deployment: Deployment, wall: float) -> ScalingPolicy:
    """Return what a deployment says about its scaling, and let it know its bounds, as all that holds now."""
    spec = deployment.spec
    holds = deployment.calendar.at(spec.scaling.schedules, wall)
    made_of = (spec, holds, deployment.loaded, deployment.starts_in)
    if deployment.policy is None or made_of != deployment.policy_of:
        deployment.policy, deployment.policy_of = _new_policy(deployment, holds, wall), made_of
    return deployment.policy


def _new_policy(deployment: Deployment, holds: Schedule | None, wall: float) -> ScalingPolicy:
    spec = deployment.spec
    deployment.least = minimum(deployment, wall)
    scaling, least = spec.scaling, max(deployment.least, 0 if deployment.loaded else 1)
    target, most = scaling.target, scaling.max_instances
    if holds is not None:
        most = most if holds.max_instances is None else holds.max_instances
        target = target if holds.target is None else holds.target
    deployment.most = len(spec.endpoints) or max(most, least)
    return ScalingPolicy(
        target=target,
        least=least,
        most=deployment.most,
        scale_down_delay=scaling.scale_down_delay,
        keep_alive=scaling.keep_alive,
        learns=scaling.learn_keep_alive,
        starts_in=deployment.starts_in,
    )


def minimum(deployment: Deployment, wall: float) -> int:
    """Return the fewest replicas that a deployment says it has at a time, in seconds since the epoch."""
    scaling = deployment.spec.scaling
    holds = deployment.calendar.at(scaling.schedules, wall)
    scheduled = None if holds is None else holds.min_instances
    return len(deployment.spec.endpoints) or (scaling.min_instances if scheduled is None else scheduled) or 0


def _counts(deployment: Deployment, now: float) -> tuple[Counts, float | None]:
    """Return how the replicas are that should run, and when the first that starts will be late."""
    serving = starting = stuck = 0
    first: float | None = None
    gauges: list[Gauges] = []
    patience = deployment.spec.startup_timeout
    for replica in deployment.replicas.values():
        if replica.ordered is not Told.RUN or replica.replaced or replica.sleep is not None:
            continue
        if replica.serves:
            serving += 1
            gauges.append(replica.gauges)
            continue
        deadline = replica.since + patience
        if replica.failures >= CRASH_LOOP or now >= deadline:
            stuck += 1
        else:
            starting += 1
            first = deadline if first is None else min(first, deadline)
    return Counts(serving, starting, stuck, tuple(gauges)), first
