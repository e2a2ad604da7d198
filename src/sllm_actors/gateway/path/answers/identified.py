"""An answer whose id the gateway remembers: requests that name the id go to the same replica. Pure."""

from __future__ import annotations

from collections.abc import Callable

from sllm_actors.gateway.bodies.response_id import ResponseId

from .relays import Relay


class Identified:
    """Relays as another relay does, and tells the id of the answer before the client can know it.

    Args:
        relay: The other relay; of one answer of ``/v1/responses``.
        tell: Called once, with the id, if the answer has one.
    """

    def __init__(self, relay: Relay, tell: Callable[[str], None]) -> None:
        self.status = relay.status
        self.headers = relay.headers
        self.length = relay.length
        self.events = relay.events
        self.midway = relay.midway
        self.flows = False  # all of it is looked at
        self._relay = relay
        self._tell = tell
        self._id = ResponseId()
        self._told = False

    def feed(self, data: bytes) -> bytes:
        """See ``Relay``."""
        passed = self._relay.feed(data)
        self.midway = self._relay.midway
        if passed:
            self._id.feed(passed)
            self._look()
        return passed

    def end(self) -> bytes:
        """See ``Relay``."""
        rest = self._relay.end()
        self._id.feed(rest)
        self._id.end()
        self._look()
        return rest

    def _look(self) -> None:
        if self._id.found and not self._told:
            self._told = True
            self._tell(self._id.found)
