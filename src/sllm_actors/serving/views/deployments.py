"""Deployments and their replicas as they are shown."""

from __future__ import annotations

from typing import Any

import attrs

from sllm_actors.engines.messages import ReplicaReport, ReplicaState
from sllm_actors.observe.redaction import MASK, is_credential, masked, without_credentials
from sllm_actors.serving.decisions.scaling import ScalingPolicy
from sllm_actors.serving.deployment.contradictions import AUTO
from sllm_actors.serving.deployment.document import write_document
from sllm_actors.serving.deployment.spec import DeploymentSpec
from sllm_actors.serving.picture.deployment import Deployment
from sllm_actors.serving.picture.deployment_state import DeploymentState, spoken_for
from sllm_actors.serving.picture.picture import Picture
from sllm_actors.serving.picture.replica import KnownReplica, is_crash_loop

from .reasons import detail
from .rollouts import is_untried, rollout_view
from .shapes import DeploymentView, InstanceState, InstanceView, ListedInstanceView

_ORDERED = "ordered from its worker"


def deployment_view(picture: Picture, deployment: Deployment, now: float, *, whole: bool) -> DeploymentView:
    """Return a deployment as it is shown; ``whole`` says whether its settings are.

    Args:
        picture: The head's picture.
        deployment: One that is in it.
        now: Seconds on the head's clock.
        whole: Whether the settings are shown too.
    """
    state, speaker = spoken_for(deployment)
    replicas = sorted(deployment.replicas.values(), key=lambda each: each.key)
    spec = deployment.revisions[deployment.current].spec
    demand = picture.demand.of(deployment.id)
    memory = deployment.need(deployment.revisions[deployment.target], 0).memory
    gpu_memory, gpu_memory_by, gpu_memory_of = _gpu_memory(deployment)
    return DeploymentView(
        id=deployment.id,
        uid=deployment.uid,
        model=spec.model,
        backend=spec.backend,
        revision=deployment.target if is_untried(deployment) else deployment.current,
        generation=deployment.generation,
        status="deleting" if deployment.deleting else "active",
        state=state,
        detail=detail(picture, deployment, state, speaker, now, whole=whole),
        rollout=rollout_view(picture, deployment, now),
        ready_replicas=sum(each.state is ReplicaState.READY for each in replicas),
        asleep_replicas=sum(each.state is ReplicaState.ASLEEP for each in replicas),
        desired_replicas=0 if deployment.deleting else deployment.wanted,
        held=demand.held,
        held_since=_held_since(picture, deployment),
        in_flight=demand.in_flight,
        gateways=demand.gateways,
        idle_since=None if deployment.scaler.rest is None else picture.wall(deployment.scaler.rest),
        keep_alive_left=_keep_alive_left(deployment, now),
        expected_wait=_expected_wait(deployment, replicas, now) if demand.held else None,
        memory=memory,
        memory_by=_memory_by(deployment, memory),
        gpu_memory=gpu_memory,
        gpu_memory_by=gpu_memory_by,
        gpu_memory_of=gpu_memory_of,
        priority=deployment.spec.priority,
        pinned=deployment.spec.pinned,
        recovered=deployment.recovered,
        created=deployment.created,
        since=_since(picture, deployment, state, speaker),
        instances=tuple(instance_view(picture, deployment, each) for each in replicas),
        spec=shown_document(deployment.spec) if whole else None,
    )


def _held_since(picture: Picture, deployment: Deployment) -> float | None:
    since = picture.planner.evictor.candidates.held_since(deployment.uid)
    return None if since is None else picture.wall(since)


def _keep_alive_left(deployment: Deployment, now: float) -> float | None:
    """Return for how many seconds an idle deployment keeps its replicas, if no request comes.

    None: it is in use, or there is nothing that would be given up then.
    """
    rest, scaling = deployment.scaler.rest, deployment.spec.scaling
    policy = ScalingPolicy(
        keep_alive=scaling.keep_alive, learns=scaling.learn_keep_alive, starts_in=deployment.starts_in
    )
    keeps = deployment.scaler.stay(policy).keep
    if rest is None or keeps < 0 or deployment.wanted <= deployment.needed:
        return None
    return round(max(0.0, rest + keeps - now), 1)


def _expected_wait(deployment: Deployment, replicas: list[KnownReplica], now: float) -> float | None:
    """Return for how many seconds a first replica is waited for, by what was measured.

    None: nothing was measured, or one is ready, and requests wait for room.
    """
    states = [each.state for each in replicas]
    if ReplicaState.READY in states:
        return None
    if ReplicaState.ASLEEP in states and deployment.wakes_in:
        return deployment.wakes_in
    if not deployment.starts_in:
        return None
    began = min((each.since for each in deployment.running()), default=now)
    return round(max(0.0, deployment.starts_in - (now - began)), 1)


def _memory_by(deployment: Deployment, memory: int) -> str:
    """Return where the figure is from by which a replica takes so many bytes of memory; "" for none."""
    if not memory:
        return ""
    if deployment.spec.memory:
        return "declared"
    measured = deployment.peaks.memory(deployment.revisions[deployment.target].fingerprint)
    return "measured" if memory == measured else "files"


def _gpu_memory(deployment: Deployment) -> tuple[int, str, str]:
    """Return how much of each GPU a replica takes, where that figure is from, and what it is made of."""
    declared = deployment.spec.gpu_memory
    if declared is None:
        return 0, "", ""
    if declared != AUTO:
        return declared, "declared", ""
    known = deployment.estimate(deployment.revisions[deployment.target])
    return (0, "unknown", "") if known is None else (known.memory, "estimated", known.sentence)


def instance_view(picture: Picture, deployment: Deployment | None, replica: KnownReplica) -> InstanceView:
    """Return a replica as it is shown; ``deployment`` is the one that it counts for, if there is one."""
    node = picture.fleet.nodes[replica.node]
    report = replica.report or ReplicaReport(replica.key.attempt(0), ReplicaState.PENDING, progress=_ORDERED)
    endpoint = None
    if deployment is not None and deployment.spec.endpoints:
        revision = deployment.revisions.get(replica.key.revision)
        spec = deployment.spec if revision is None else revision.spec
        endpoint = without_credentials(spec.source_of(replica.key.number))
    return InstanceView(
        id=report.instance,
        revision=replica.key.revision,
        node=replica.node,
        node_name=node.name or replica.node,
        node_state=node.link.value,
        state=instance_state(replica),
        failures=report.failures,
        progress=report.progress,
        reason=report.reason or replica.stop,
        exit_status=report.exit_status,
        log_tail=report.log_tail,
        address=without_credentials(report.address),
        endpoint=endpoint,
        pid=report.pid,
        gpus=replica.need.gpus,
        since=report.since or picture.wall(replica.ordered_at),
        retry_in=report.retry_in,
        level=report.level,
        memory=report.memory,
        gpu_memory=report.gpu_memory,
        gpu_share=replica.need.gpu_memory,
        waiting=report.waiting,
        kv_used=report.kv_used,
    )


def listed_instance_view(picture: Picture, replica: KnownReplica) -> ListedInstanceView:
    """Return a replica as it is shown in a list of all."""
    deployment = picture.catalogue.by_uid.get(replica.key.uid)
    view = instance_view(picture, deployment, replica)
    return ListedInstanceView(
        **attrs.asdict(view, recurse=False), instance_id=view.id, deployment=replica.key.deployment
    )


def instance_state(replica: KnownReplica) -> InstanceState:
    """Return the state of a replica as it is shown."""
    if replica.report is not None and is_crash_loop(replica.report):
        return InstanceState.CRASH_LOOP
    return InstanceState(replica.state.value)


def shown_document(spec: DeploymentSpec) -> dict[str, Any]:
    """Return the document of a deployment as it is shown to people.

    Values that look like secrets, and credentials in its headers, are masked. ``secret_env`` is not: it only
    says where secrets are.
    """
    document = write_document(spec)
    shown = {**masked(document), "secret_env": document["secret_env"]}
    headers = shown["backend_config"].get("headers")
    if isinstance(headers, dict):
        shown["backend_config"]["headers"] = {
            name: MASK if is_credential(str(name)) else value for name, value in headers.items()
        }
    return shown


# ---- why


def _since(
    picture: Picture, deployment: Deployment, state: DeploymentState, speaker: KnownReplica | None
) -> float:
    if speaker is not None:
        if speaker.report is not None and speaker.report.since:
            return speaker.report.since
        return picture.wall(speaker.ordered_at)
    if state is DeploymentState.IDLE and deployment.fewer_at is not None:
        return picture.wall(deployment.fewer_at)
    if deployment.wait is not None:
        return picture.wall(deployment.wait.since)
    return deployment.created
