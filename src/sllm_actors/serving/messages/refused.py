"""From every node to the head: how many connections and requests it has refused."""

from __future__ import annotations

from attrs import field, frozen

from sllm_actors.actors import Catalog

CATALOG = Catalog()


@CATALOG.message("serving.refused_so_far", senders={"worker", "gateway"}, names_sender="node")
@frozen
class RefusedSoFar:
    """How many connections and requests a node has refused since it started, if any; said again and again.

    Attributes:
        node: Its node id.
        counts: By why: the codes of the transport's handshake (``secret``, ``identity``, …), ``silent``, and
            those of refused HTTP requests (``invalid_api_key``, ``foreign_host``). At most 32 count.
    """

    node: str
    counts: dict[str, int] = field(factory=dict)
