"""From a gateway to a worker, about a replica there: it is let go, sleeps, wakes, or has made a response."""

from __future__ import annotations

from attrs import frozen

from sllm_actors.actors import Catalog
from sllm_actors.engines.identity import ReplicaId, ReplicaKey

CATALOG = Catalog()


@CATALOG.message("serving.withdrawn", senders={"gateway"}, names_sender="gateway")
@frozen
class Withdrawn:
    """A gateway sends a replica no more requests, and has none in flight there.

    Each gateway that is linked to the worker has to send it before the replica ends or sleeps.

    Attributes:
        gateway: The gateway's node id.
        id: The engine life.
        withdrawal: The one of the ``ReplicaReport``: a message about an earlier withdrawal does not count.
    """

    gateway: str
    id: ReplicaId
    withdrawal: int = 0


@CATALOG.message("serving.response_made", senders={"gateway"})
@frozen
class ResponseMade:
    """A replica has made a response that it stores: requests that name its id are for that replica alone.

    Attributes:
        id: The engine life.
        made: The id of the response.
    """

    id: ReplicaId
    made: str


@CATALOG.message("serving.find_response", senders={"gateway"})
@frozen
class FindResponse:
    """Ask a worker which of its replicas has made the response with this id; see ``ResponseFound``."""

    made: str


@CATALOG.message("serving.response_found", senders=())
@frozen
class ResponseFound:
    """The replica that has made a response, as it was told; None: the worker does not know it."""

    replica: ReplicaId | None = None


@CATALOG.message("serving.sleep_instance", senders={"gateway"})
@frozen
class SleepInstance:
    """Put a replica to sleep when its requests have ended; answered with ``ControlAnswer`` before that."""

    key: ReplicaKey
    level: int = 1


@CATALOG.message("serving.wake_instance", senders={"gateway"})
@frozen
class WakeInstance:
    """Wake a replica, for a person or for requests that wait; answered with ``ControlAnswer`` at once."""

    key: ReplicaKey
