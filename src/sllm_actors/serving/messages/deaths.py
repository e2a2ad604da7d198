"""Which requests engines died of: from a gateway to the head, and from the head to all gateways."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from sllm_actors.actors import Catalog
from sllm_actors.engines.identity import ReplicaId

CATALOG = Catalog()

MOST_DIGESTS: Final = 256
"""Digests of requests that one gateway tells of one death at most."""

DIGEST_BYTES: Final = 16


@frozen(order=True)
class DeathKey:
    """An engine life that ended by itself, as one gateway saw it: each has its own requests there."""

    id: ReplicaId
    gateway: str


@frozen
class EngineDeath:
    """Which requests of one gateway were under way at an engine that ended by itself.

    Attributes:
        key: The engine life, and the gateway.
        digests: What tells these requests from others: hashes of ``DIGEST_BYTES`` bytes.
        complete: Whether these are all requests that the gateway had there.
    """

    key: DeathKey
    digests: tuple[bytes, ...] = ()
    complete: bool = True


@CATALOG.message("serving.report_death", senders={"gateway"}, names_sender="gateway")
@frozen
class ReportDeath:
    """From a gateway to the head: tell the other gateways of this death. The fields are ``EngineDeath``'s.

    It is told again when more requests turn out to have been under way there, and to each head anew.
    """

    gateway: str
    id: ReplicaId
    digests: tuple[bytes, ...] = ()
    complete: bool = True
