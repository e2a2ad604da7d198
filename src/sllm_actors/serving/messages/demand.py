"""From a gateway to the head: what its clients want of a deployment."""

from __future__ import annotations

from attrs import frozen


@frozen
class Demand:
    """What a gateway's clients want of one deployment; while they want nothing, there is no entry.

    Where requests began and ended since the last report, there is an entry, too: its ``uses`` have risen. It
    is removed with the next report, or the next beat.

    Attributes:
        deployment: Its id.
        held: How many requests wait for a replica.
        in_flight: How many are under way: from when a replica was chosen until the last byte.
        ready: How many ready replicas the gateway reaches.
        uses: How many requests have begun since there is this entry; one that goes to another replica counts
            again.
        keep_alive: How many seconds the replicas are to stay once they are idle, negative for always, as the
            last of those requests wished that said anything of it; None if none did.
    """

    deployment: str
    held: int = 0
    in_flight: int = 0
    ready: int = 0
    uses: int = 0
    keep_alive: float | None = None
