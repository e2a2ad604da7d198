"""From the head to gateways: the deployments that they serve, and the workers that they connect to."""

from __future__ import annotations

from attrs import frozen


@frozen
class WorkerAddress:
    """The address at which gateways connect to a worker."""

    node: str
    host: str
    port: int


@frozen
class ServedModel:
    """What a gateway needs to know of one deployment in order to route to it.

    Attributes:
        id: ``<model>:<backend>``; requests may name it as their ``model``, too.
        model: The name that clients use.
        backend: The backend's name.
        revision: The deployment's revision; replicas of an older one serve too, until they are gone.
        policy: The name of the policy by which a replica is chosen; one that is not known means ``p2c``.
        hold_limit: The most requests that may wait for a replica at one gateway.
        hold_timeout: Seconds that a request may wait for a replica.
        queue_timeout: Seconds that a request may wait while replicas are ready and all are full; None:
            ``hold_timeout``.
        max_concurrency: The most requests that one replica has at a time, of all gateways together; None:
            what its worker reports.
        aliases: Further names that clients may call the model by.
        gateways: How many gateways have requests for the deployment: each takes its share of a replica.
        created: Seconds since the epoch, for ``/v1/models``.
        no_place: Why no replica was placed on a worker in time; "" while one has been, or still may be.
        uid: The identity of the deployment.
        revisions: Revisions whose replicas may get requests.
        idle: Whether none of its replicas is to run until somebody asks for it.
        starts_in: Seconds that a start of a replica is expected to take, by what was measured; 0.0: unknown.
        wakes_in: The same of a replica that sleeps.
    """

    id: str
    model: str
    backend: str
    revision: int
    policy: str = "p2c"
    hold_limit: int = 1024
    hold_timeout: float = 300.0
    created: float = 0.0
    no_place: str = ""
    uid: str = ""
    revisions: tuple[int, ...] = ()
    queue_timeout: float | None = None
    max_concurrency: int | None = None
    aliases: tuple[str, ...] = ()
    gateways: int = 1
    idle: bool = False
    starts_in: float = 0.0
    wakes_in: float = 0.0
