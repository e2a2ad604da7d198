"""From a gateway to the head: what people call it, and where they find it."""

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
