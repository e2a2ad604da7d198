"""What must hold when the last fault is mended, nobody asks for anything, and some time has passed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anyio
import trio

from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving.picture.deployment import Deployment
from sllm_actors.serving.picture.indices.demand import TotalDemand
from sllm_actors.serving.picture.node import Link
from sllm_actors.serving.picture.replica import CRASH_LOOP

from .cluster import Cluster
from .nodes import Gateway, Head, Worker
from .people import CLEAR

WITHIN = 150.0
"""Virtual seconds until all must agree: a rollout waits 30 s for a place, and each start may fail."""

Wrong = Iterator[tuple[str, str]]


async def check_agreed(cluster: Cluster) -> None:
    """Wait until everything agrees, but not for ever."""
    until = trio.current_time() + WITHIN
    wrong: list[tuple[str, str]] = []
    while trio.current_time() < until:
        wrong = list(disagreements(cluster))
        if not wrong:
            return
        await anyio.sleep(0.5)
    for rule, text in wrong:
        cluster.ledger.violated(rule, text)


def disagreements(cluster: Cluster) -> Wrong:
    """Yield what is not as it should be: the promise, and a sentence."""
    head = cluster.head()
    assert head is not None
    if not hasattr(head.controller, "_picture"):
        yield "P2", "the head's actor is starting still"
        return
    if not head.controller._picture.settling.over:
        yield "P2", "the head waits for workers still"
        return
    yield from _placed(head)
    yield from _waits(head)
    yield from _kept(cluster, head)
    yield from _served(cluster, head)
    for node in cluster.nodes.values():
        if isinstance(node, Worker):
            yield from _worker(cluster, head, node)
        elif isinstance(node, Gateway):
            yield from _gateway(cluster, head, node)


# ---- P2


def _placed(head: Head) -> Wrong:
    for deployment in head.controller._picture.catalogue.by_uid.values():
        name = f"{deployment.id} ({deployment.uid[:6]})"
        if deployment.deleting:
            yield "P2", f"{name} is being deleted still, with {len(deployment.replicas)} replicas"
            continue
        running = deployment.running()
        waits = deployment.wait is not None or bool(deployment.paused)
        if len(running) < deployment.wanted and not waits:
            yield "P2", f"{name} wants {deployment.wanted} replicas and has {len(running)}, without a reason"
        if len(running) > deployment.wanted and not waits:
            yield "P2", f"{name} wants {deployment.wanted} replicas and has {len(running)}"
        if deployment.rolling and not waits and (deployment.wanted or not deployment.unproven):
            yield "P2", f"{name} is being rolled out still"
        for replica in running:
            if not replica.serves and not replica.unfit and replica.failures < CRASH_LOOP:
                yield "P2", f"{replica.key} on {replica.node} is {replica.state} still"


def _waits(head: Head) -> Wrong:
    """P2: who waits for a place could have none."""
    picture, now = head.controller._picture, head.controller.context.now()
    for deployment in picture.catalogue.by_uid.values():
        if deployment.wait is None:
            continue
        pair = (deployment.uid, deployment.wait.revision)
        for node in picture.fleet.nodes.values():
            need = deployment.need(deployment.revisions[deployment.wait.revision], node.gpus)
            if node.takes_replicas and node.free.fits(need) and not node.rejects(pair, now):
                yield "P2", f"{deployment.id} waits for {need}, and {node.id} has {node.free}"


# ---- P9


def _served(cluster: Cluster, head: Head) -> Wrong:
    """Clients wait for nothing that could serve them, and what nobody wants has gone."""
    picture = head.controller._picture
    for gateway in cluster.serving_gateways():
        for name in gateway.balancer.busy():
            deployment = picture.catalogue.by_id.get(name)
            if deployment is None or deployment.wait is not None or deployment.paused:
                continue
            if gateway.balancer.held(name) and not any(each.failures for each in deployment.running()):
                yield (
                    "P9",
                    f"{gateway.name} holds requests for {name}, of which {deployment.wanted} are wanted",
                )
    for name in cluster.people.wishes:
        if picture.demand.of(name) == TotalDemand():
            continue
        if not any(name in gateway.balancer.busy() for gateway in cluster.serving_gateways()):
            yield "P9", f"the head believes that somebody wants {name}: {picture.demand.of(name)}"


# ---- P4


def _kept(cluster: Cluster, head: Head) -> Wrong:
    picture, now = head.controller._picture, trio.current_time()
    for name, wish in cluster.people.wishes.items():
        if wish.doubt is not None or wish.exists is None:
            continue
        deployment = picture.catalogue.by_id.get(name)
        if wish.exists != (deployment is not None and not deployment.deleting):
            yield "P4", f"{name} should {'' if wish.exists else 'not '}be deployed"
        elif deployment is not None and wish.counted and deployment.wanted != wish.replicas:
            yield "P4", f"{name} wants {deployment.wanted} replicas, and {wish.replicas} were promised"
        elif deployment is not None and wish.updated and not _has(deployment, wish.version):
            yield "P4", f"{name} should have or have had the version {wish.version!r}"
    for name, drain in cluster.people.nodes.items():
        node = picture.fleet.nodes.get(name)
        sure = drain.draining is not None and drain.since < now - CLEAR
        if sure and (node is None or node.draining != drain.draining):
            yield "P4", f"{name} should {'' if drain.draining else 'not '}be draining"


def _has(deployment: Deployment, version: str) -> bool:
    """Return whether a deployment has a version, or has rolled it back."""
    return any(
        revision.spec.env.get("VERSION") == version and (number == deployment.target or revision.failed)
        for number, revision in deployment.revisions.items()
    )


# ---- P5


def _worker(cluster: Cluster, head: Head, worker: Worker) -> Wrong:
    controller, name = head.controller, worker.name
    node = controller._picture.fleet.nodes.get(name)
    if node is None or node.link is not Link.UP:
        yield "P5", f"the head has no link to {name}"
        return
    orders = controller._feeds.orders_of(name)
    said = {report.id.key: report for report in worker.replicas.all()}
    runs = {life.key for life in cluster.machines[name].running().values()}
    refused = {key for key, report in said.items() if report.unfit}
    for key, order in orders.items():
        if order.run is None:
            yield "P5", f"{name} has not stopped {key} yet"
        elif key not in runs | refused:
            yield "P5", f"{name} does not run {key}"
    rivals = controller._picture._recovery._rivals
    for key in sorted(runs - orders.keys()):
        if (name, key) in rivals.get(key.deployment, ()) and not _serves(head, key.deployment):
            continue  # it goes on until the one that was deployed serves
        yield "P5", f"{name} runs {key}, of which there is no order"
    heard = {key: replica.report for key, replica in node.replicas.items()}
    for key in sorted(heard.keys() | said.keys()):
        one, other = heard.get(key), said.get(key)
        if _seen(one) != _seen(other):
            yield "P5", f"{key} is {_seen(other)} on {name}, and the head knows {_seen(one)}"


def _serves(head: Head, name: str) -> bool:
    deployment = head.controller._picture.catalogue.by_id.get(name)
    return deployment is None or any(each.serves for each in deployment.replicas.values())


def _gateway(cluster: Cluster, head: Head, gateway: Gateway) -> Wrong:
    feeds, known, name = head.controller._feeds, gateway.memory.knowledge, gateway.name
    routes, addresses = feeds._routes.publisher.entries(), feeds._addresses.publisher.entries()
    if known.served != routes:
        yield "P5", f"{name} knows other routes than the head's: {_differ(known.served, routes)}"
    if known.addresses != addresses:
        yield "P5", f"{name} knows other addresses: {_differ(known.addresses, addresses)}"
    for other in cluster.nodes.values():
        if not isinstance(other, Worker):
            continue
        said = {report.id.key: report for report in other.replicas.all()}
        heard = known._nodes.get(other.name, {})
        for key in sorted(heard.keys() | said.keys()):
            if _seen(heard.get(key)) != _seen(said.get(key)):
                yield "P5", f"{key} is {_seen(said.get(key))}, and {name} knows {_seen(heard.get(key))}"
    for model in routes.values():
        route = gateway.board.routes.get(model.id)
        ready = set() if route is None else {upstream.id for upstream in route.ready}
        serving = {
            report.id
            for other in cluster.nodes.values()
            if isinstance(other, Worker)
            for report in other.replicas.all()
            if (report.id.uid, report.state) == (model.uid, ReplicaState.READY)
            and report.id.revision in model.revisions
        }
        if ready != serving:
            yield "P5", f"{name} routes {model.id} to {sorted(ready)}, and {sorted(serving)} serve"


def _seen(report: Any) -> Any:
    return None if report is None else (report.id, report.state.value, report.unfit)


def _differ(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
