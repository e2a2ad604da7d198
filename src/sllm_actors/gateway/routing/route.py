"""Where the requests of a deployment may go: an immutable route, names, and the choice of a replica."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Mapping

from attrs import field, frozen

from sllm_actors.engines.external import ServerAccess
from sllm_actors.engines.identity import ReplicaId
from sllm_actors.engines.messages import ReplicaReport, ReplicaState
from sllm_actors.serving.messages import ServedModel


@frozen
class Upstream:
    """An engine to send to.

    Attributes:
        node: The worker that runs it.
        address: ``unix:/path`` or ``loopback:PORT`` on that worker, or the URL of a server that someone else
            runs.
        machine: Which machine and boot a socket is on.
        key: What the engine wants to be shown; "" for nothing.
        withdrawal: As it reported it; echoed when nothing is in flight there any more.
        server: How a server is reached that someone else runs; None for an engine.
    """

    id: ReplicaId
    node: str
    address: str
    machine: str
    withdrawal: int = 0
    key: str = field(default="", repr=False)
    server: ServerAccess | None = None


@frozen
class Failure:
    """Why no replica is worth waiting for.

    Attributes:
        placed: False: there is none, since none has found a place.
        external: They are servers that someone else runs.
    """

    reason: str
    retry_in: float | None
    placed: bool = True
    external: bool = False


@frozen
class Route:
    """All that a gateway knows of one deployment.

    Attributes:
        served: None when it is deployed no more, and only its last replicas are still leaving.
        ready: The replicas that take requests, in the order of their ids.
        leaving: Those that are to get no more, and wait until nobody has a request in flight there.
        asleep: Those that take requests again when they are woken, in the order of their ids; they are
            ``leaving`` too, since they sleep only when nobody uses them any more.
        failure: Set when all that is left is replicas that have failed, or none found a place in time.
    """

    id: str
    served: ServedModel | None = None
    ready: tuple[Upstream, ...] = ()
    leaving: tuple[Upstream, ...] = ()
    asleep: tuple[Upstream, ...] = ()
    failure: Failure | None = None


def make_route(
    deployment: str,
    served: ServedModel | None,
    replicas: Iterable[tuple[str, ReplicaReport]],
    *,
    patience: float,
) -> Route:
    """Make the route of a deployment from what workers (by node) report of its replicas.

    Args:
        patience: A FAILED replica that is tried again within so many seconds counts as starting.
    """
    ready: list[Upstream] = []
    leaving: list[Upstream] = []
    asleep: list[Upstream] = []
    failed: list[ReplicaReport] = []
    coming = False
    for node, report in sorted(replicas, key=lambda replica: replica[1].id):
        where = (report.address, report.machine, report.withdrawal)
        upstream = Upstream(report.id, node, *where, key=report.key, server=report.server)
        match report.state:
            case ReplicaState.READY:
                ready.append(upstream)
            case ReplicaState.DRAINING:
                leaving.append(upstream)
            case ReplicaState.ASLEEP:
                asleep.append(upstream)
                leaving.append(upstream)
            case ReplicaState.FAILED:
                failed.append(report)
                coming = coming or (report.retry_in is not None and report.retry_in <= patience)
            case ReplicaState.PENDING | ReplicaState.STARTING:
                coming = True
            case ReplicaState.STOPPED:
                pass
    failure = None
    coming = coming or bool(ready or asleep)
    if failed and not coming:
        latest = max(failed, key=lambda report: report.since)
        again = [report.retry_in for report in failed if report.retry_in is not None]
        external = served is not None and served.backend == "external"
        failure = Failure(latest.reason or latest.exit_status, min(again, default=None), external=external)
    elif served is not None and served.no_place and not coming:
        failure = Failure(served.no_place, None, placed=False)
    return Route(deployment, served, tuple(ready), tuple(leaving), tuple(asleep), failure)


def index_names(routes: Iterable[Route]) -> dict[str, tuple[str, ...]]:
    """Return the ids of the deployments that serve each model name, in order."""
    names: dict[str, list[str]] = {}
    for route in sorted(routes, key=lambda route: route.id):
        if route.served is not None:
            names.setdefault(route.served.model, []).append(route.id)
    return {name: tuple(ids) for name, ids in names.items()}


def resolve(
    routes: Mapping[str, Route], names: Mapping[str, tuple[str, ...]], model: str, backend: str | None = None
) -> Route | None:
    """Return the route that a request's ``model`` means, or None.

    A deployment's id means that deployment. A model's name means the deployment with the ``backend`` that is
    asked for; else the first, in the order of the ids, that has a ready replica; else the first that has not
    failed; else the first.
    """
    exact = routes.get(model)
    if exact is not None and exact.served is not None:
        return exact if backend in (None, exact.served.backend) else None
    found = [route for name in names.get(model, ()) if (route := routes[name]).served is not None]
    if backend is not None:
        found = [route for route in found if route.served is not None and route.served.backend == backend]
    for wanted in (lambda route: route.ready, lambda route: route.failure is None):
        for route in found:
            if wanted(route):
                return route
    return found[0] if found else None


def choose(
    ready: tuple[Upstream, ...],
    in_flight: Callable[[ReplicaId], int],
    rng: random.Random,
    excluded: Collection[ReplicaId] = (),
) -> Upstream | None:
    """Return the less loaded of two replicas drawn at random, or None when there is none.

    The power of two choices (Mitzenmacher, 2001): nearly as even as asking all, without the herd that runs
    to the one that looked idle a moment ago.

    Args:
        in_flight: How many requests of this gateway a replica has.
        excluded: Replicas that this request must not go to. A circuit breaker adds its own here.
    """
    candidates = tuple(each for each in ready if each.id not in excluded) if excluded else ready
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    one, other = rng.sample(candidates, 2)
    return other if in_flight(other.id) < in_flight(one.id) else one
