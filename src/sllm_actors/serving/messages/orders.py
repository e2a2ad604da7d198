"""From the head to a worker: what to do about a replica, and the question what runs there."""

from __future__ import annotations

from attrs import frozen

from sllm_actors.actors import Catalog
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaOrder

CATALOG = Catalog()


@frozen
class Order:
    """What a worker is to do about one replica. A replica of which there is no order stays as it is.

    Attributes:
        key: The replica.
        run: What it is to be, or None if it is to stop.
        stop: Why it is to drain and stop; "" if it is to run.
        if_idle: Whether it is to stop only if its requests end within ``IDLE_PATIENCE``. If they do not, it
            goes on, and its report says that it has declined.
        sleep: The level at which it is to be ASLEEP, *if idle* too; None if it is to be READY. One that is
            not there, or whose engine has ended, is not started for that.
        turn: Rises with each order to sleep, to wake, to stop if idle, or to go on all the same: so one that
            is given again is another order, though it says the same. One that is only repeated is not.
        patience: Seconds that its requests get to end before it stops or sleeps. None: the drain timeout of
            its deployment, or ``IDLE_PATIENCE`` for one that is to sleep; one that is to sleep, and was given
            some, stops when they are over.
    """

    key: ReplicaKey
    run: ReplicaOrder | None = None
    stop: str = ""
    if_idle: bool = False
    sleep: int | None = None
    turn: int = 0
    patience: float | None = None


@CATALOG.message("serving.read_document", senders={"head"})
@frozen
class ReadDocument:
    """From the head to a worker: from which document do you run this? Answered with ``ReplicaDocument``."""

    key: ReplicaKey


@CATALOG.message("serving.replica_document", senders=())
@frozen
class ReplicaDocument:
    """The document of a replica's deployment, JSON text; "" if the worker does not run that replica."""

    document: str
