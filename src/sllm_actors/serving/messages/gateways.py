"""From a gateway to the head: what people call it, where they find it, and whom it does not reach."""

from __future__ import annotations

from attrs import frozen

from sllm_actors.actors import Catalog

CATALOG = Catalog()


@CATALOG.message("serving.gateway_named", senders={"gateway"}, names_sender="node")
@frozen
class GatewayNamed:
    """A gateway says its name and address whenever it is linked with a head.

    Attributes:
        node: Its node id.
        name: At most 128 characters count; "" for its node id.
        host: The address at which other machines reach it, or "" for the one that its link comes from.
    """

    node: str
    name: str
    host: str = ""


@frozen
class UnreachedWorker:
    """A worker with which a gateway has no link.

    Attributes:
        node: The worker's node id.
        address: The ``HOST:PORT`` that the gateway has tried.
        reason: Why it has no link, as a sentence for a person; at most 500 characters count.
    """

    node: str
    address: str
    reason: str


@CATALOG.message("serving.workers_unreached", senders={"gateway"}, names_sender="node")
@frozen
class WorkersUnreached:
    """All workers that a gateway has tried to reach in vain; said again and again while there are some.

    Attributes:
        node: The gateway's node id.
        workers: At most 64 count.
    """

    node: str
    workers: tuple[UnreachedWorker, ...]
