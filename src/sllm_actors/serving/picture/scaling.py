"""Letting the number of replicas of a deployment follow what its clients want."""

from __future__ import annotations

from attrs import evolve

from sllm_actors.serving.decisions.scaling import Counts, Decision, ScalingPolicy, decide

from .deployment import Deployment, least_of
from .effects import Effects
from .indices.demand import TotalDemand
from .replica import CRASH_LOOP, Told


def look(deployment: Deployment, demand: TotalDemand, now: float) -> Decision:
    """Return how many replicas there should be. Only the memory of the deployment's scaler changes."""
    scaler, deployment.held = deployment.scaler, demand.held
    scaler.take(demand.held + demand.in_flight, demand.uses, demand.keep_alive, now)
    deployment.unloaded = deployment.unloaded and not scaler.load.value
    counts, late = _counts(deployment, now)
    if deployment.unloading:
        return Decision(0, 0)
    decision = decide(scaler, deployment.wanted, counts, _policy(deployment), now)
    if not (deployment.loaded or deployment.asked_for or scaler.load.value):
        # One that is only to be loaded once makes nobody go.
        decision = evolve(decision, needed=least_of(deployment.spec, loaded=True))
    if scaler.load.value and late is not None and (decision.due is None or late < decision.due):
        return evolve(decision, due=late)
    return decision


def scale(deployment: Deployment, demand: TotalDemand, effects: Effects, now: float) -> None:
    """Let a deployment want as many replicas as it should."""
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
    decision = look(deployment, demand, now)
    if decision.wanted != deployment.wanted:
        sentence = f"from {deployment.wanted} to {decision.wanted}: {decision.reason}"
        effects.note(deployment.id, "deployment.scaled", sentence)
        deployment.fewer = decision.reason if decision.wanted < deployment.wanted else ""
    deployment.wanted, deployment.needed = decision.wanted, decision.needed
    deployment.scaler.hurried = False
    if not deployment.wanted:
        deployment.scaler.wish = None
    if deployment.rolling and not deployment.wanted and not deployment.running():
        deployment.unproven = True
    deployment.look_at = decision.due


def _policy(deployment: Deployment) -> ScalingPolicy:
    spec = deployment.spec
    least = least_of(spec, loaded=deployment.loaded)
    return ScalingPolicy(
        target=spec.scaling.target,
        least=least,
        most=least if spec.endpoints else spec.scaling.max_instances,
        scale_down_delay=spec.scaling.scale_down_delay,
        keep_alive=spec.scaling.keep_alive,
    )


def _counts(deployment: Deployment, now: float) -> tuple[Counts, float | None]:
    """Return how the replicas are that should run, and when the first that starts will be late."""
    serving = starting = stuck = 0
    first: float | None = None
    for replica in deployment.replicas.values():
        if replica.ordered is not Told.RUN or replica.sleep is not None:
            continue
        deadline = replica.since + deployment.spec.startup_timeout
        if replica.serves:
            serving += 1
        elif replica.failures >= CRASH_LOOP or now >= deadline:
            stuck += 1
        else:
            starting += 1
            first = deadline if first is None else min(first, deadline)
    return Counts(serving, starting, stuck), first
