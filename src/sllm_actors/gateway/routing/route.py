"""Where the requests of a deployment may go: its route, and its names. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from attrs import field, frozen

from sllm_actors.engines.external import ServerAccess
from sllm_actors.engines.identity import ReplicaId
from sllm_actors.engines.messages import ReplicaReport, ReplicaState
from sllm_actors.serving.messages import ServedModel


@frozen
class Upstream:
    """The engine of one replica, as a place to send requests to.

    Attributes:
        id: The identity of this life of the engine.
        node: The node id of the worker that reports it.
        address: ``unix:/path`` or ``loopback:PORT`` on that worker, or the URL of an external server.
        machine: The machine and boot that a local address belongs to.
        withdrawal: The worker's number for the replica's last withdrawal; sent back in ``Withdrawn``.
        key: The bearer token that the engine wants; "" for none.
        server: How an external server is reached; None for an engine.
        concurrency: How many requests the engine runs at a time; 0 where that is not known.
        context_length: How many tokens one request may have, its answer included; 0 where that is not known.
    """

    id: ReplicaId
    node: str
    address: str
    machine: str
    withdrawal: int = 0
    key: str = field(default="", repr=False)
    server: ServerAccess | None = None
    concurrency: int = 0
    context_length: int = 0


@frozen
class Failure:
    """Why no replica of a deployment is worth waiting for.

    Attributes:
        reason: A sentence for a person.
        retry_in: Seconds until a failed replica is started again, or None if that is not known.
        placed: False if no replica has found a place on a worker; then none has failed.
        external: Whether the replicas are external servers.
    """

    reason: str
    retry_in: float | None
    placed: bool = True
    external: bool = False


@frozen
class Route:
    """All that a gateway knows of one deployment. Replicas are in the order of their ids.

    Attributes:
        id: The deployment's id.
        served: What the head says of it; None when it is no longer deployed and its last replicas are
            leaving.
        ready: The replicas that take requests: only of the uid and of the revisions that the head names. One
            whose worker is doubted is among them only while there is no other.
        leaving: The replicas that get no more requests; their workers wait to hear that none is in flight.
            These may be of any uid and revision.
        asleep: The replicas that take requests again once they are woken. They are in ``leaving`` too, since
            an engine is put to sleep only when no request is in flight there.
        failure: Why it is of no use to wait; None while a replica is ready, asleep, or may still come.
        coming: The replicas that have begun to start and may get requests then: their workers and identities.
        downloading: Whether none of these is further than the download of its model.
    """

    id: str
    served: ServedModel | None = None
    ready: tuple[Upstream, ...] = ()
    leaving: tuple[Upstream, ...] = ()
    asleep: tuple[Upstream, ...] = ()
    failure: Failure | None = None
    coming: tuple[tuple[str, ReplicaId], ...] = ()
    downloading: bool = False

    @property
    def context_length(self) -> int:
        """The tokens of one request that each replica that is ready, or asleep, takes; 0: not known."""
        return min((upstream.context_length for upstream in (*self.ready, *self.asleep)), default=0)

    @property
    def status(self) -> str:
        """How the deployment is: ``ready``, ``asleep``, ``starting``, ``failed``, ``idle`` or ``pending``.

        Its best replica speaks for it. Without any, ``idle``: none is to run until somebody asks for it;
        ``pending``: one may still come.
        """
        if self.ready:
            return "ready"
        if self.asleep:
            return "asleep"
        if self.coming:
            return "starting"
        if self.failure is not None:
            return "failed"
        return "idle" if self.served is not None and self.served.idle else "pending"


def make_route(
    deployment: str,
    served: ServedModel | None,
    replicas: Iterable[tuple[str, ReplicaReport]],
    *,
    patience: float,
    doubted: Collection[str] = (),
) -> Route:
    """Return the route of a deployment.

    Args:
        deployment: The deployment's id.
        served: What the head says of it, or None if it is no longer deployed.
        replicas: The node id of a worker and its report of a replica, for each replica.
        patience: A FAILED replica that is started again within so many seconds counts as starting.
        doubted: The workers that may be gone, for all that is known: see ``PeerDoubted``.
    """
    ready: list[Upstream] = []
    leaving: list[Upstream] = []
    asleep: list[Upstream] = []
    starting: list[tuple[str, ReplicaId]] = []
    failed: list[ReplicaReport] = []
    coming = False
    downloading = True
    for node, report in sorted(replicas, key=lambda replica: (replica[1].id, replica[0])):
        where = (report.address, report.machine, report.withdrawal)
        upstream = Upstream(
            report.id,
            node,
            *where,
            key=report.key,
            server=report.server,
            concurrency=report.concurrency,
            context_length=report.context_length,
        )
        if report.state in (ReplicaState.DRAINING, ReplicaState.ASLEEP):
            leaving.append(upstream)
        if served is None or report.id.uid != served.uid or report.id.revision not in served.revisions:
            continue
        match report.state:
            case ReplicaState.READY:
                ready.append(upstream)
            case ReplicaState.ASLEEP:
                asleep.append(upstream)
            case ReplicaState.FAILED:
                failed.append(report)
                coming = coming or (report.retry_in is not None and report.retry_in <= patience)
            case ReplicaState.PENDING | ReplicaState.STARTING:
                starting.append((node, report.id))
                downloading = downloading and report.downloading
            case ReplicaState.DRAINING | ReplicaState.STOPPED:
                pass
    failure = None
    coming = coming or bool(ready or asleep or starting)
    if failed and not coming:
        latest = max(failed, key=lambda report: report.since)
        again = [report.retry_in for report in failed if report.retry_in is not None]
        external = served is not None and served.backend == "external"
        failure = Failure(latest.reason or latest.exit_status, min(again, default=None), external=external)
    elif served is not None and served.no_place and not coming:
        failure = Failure(served.no_place, None, placed=False)
    return Route(
        deployment,
        served,
        tuple(upstream for upstream in ready if upstream.node not in doubted) or tuple(ready),
        tuple(leaving),
        tuple(asleep),
        failure,
        tuple(starting),
        bool(starting) and downloading,
    )


def resolve(
    routes: Mapping[str, Route], names: Mapping[str, Sequence[str]], model: str, backend: str | None = None
) -> Route | None:
    """Return the route that a request's ``model`` means, or None.

    A deployment's id means that deployment. A model's name, or an alias, means one of the deployments that go
    by it, with ``backend`` only those of that backend: the first, in the order of the ids, that has a ready
    replica; else the first that has not failed; else the first.

    Args:
        routes: All routes by deployment id.
        names: For each model name and alias, the ids of the deployments that go by it, sorted.
        model: The field ``model`` of the request.
        backend: The field ``backend`` of the request, or None.
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


def share_of(served: ServedModel | None, upstream: Upstream) -> int | None:
    """Return how many requests of one gateway a replica may have at a time; None where there is no limit.

    Gateways that have requests for the deployment share what the replica runs at a time, each at least one:
    so together they may exceed it by less than one for each gateway.
    """
    declared = None if served is None else served.max_concurrency
    limit = declared or upstream.concurrency
    gateways = 1 if served is None else max(1, served.gateways)
    return max(1, -(-limit // gateways)) if limit else None
