"""Where an engine listens that knows no unix sockets: a port of the loopback, with a key of its own."""

from __future__ import annotations

import secrets
import socket

from attrs import field, frozen

from sllm_actors.engines.messages import LOOPBACK


@frozen
class PrivatePort:
    """A port for one engine life. Everybody on the machine can reach it, so it comes with a key.

    Somebody may take the port before the engine does. That is seen and nobody is sent there; the engine is
    ended, and its next life gets another port.
    """

    number: int
    key: str = field(repr=False)

    @property
    def address(self) -> str:
        """See ``ReplicaReport``."""
        return f"{LOOPBACK}{self.number}"


def choose_port() -> PrivatePort:
    """Choose a port that is free now. Blocks a little.

    Raises:
        OSError: There is none.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return PrivatePort(probe.getsockname()[1], secrets.token_urlsafe(24))
