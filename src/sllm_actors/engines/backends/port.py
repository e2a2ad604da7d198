"""Ports of 127.0.0.1, each with a key, for engines that cannot listen on a unix socket."""

from __future__ import annotations

import secrets
import socket

from attrs import field, frozen

from sllm_actors.engines.messages import LOOPBACK


@frozen
class PrivatePort:
    """A port for one engine life, with a key: every program on the machine can connect to the port.

    Another program may take the port before the engine does. The health check notices that (``PortOwner``):
    no request is sent there, the engine is ended, and its next life gets another port.

    Attributes:
        number: The port.
        key: The bearer token that the engine asks of its clients.
    """

    number: int
    key: str = field(repr=False)

    @property
    def address(self) -> str:
        """The address as ``ReplicaReport`` has it: ``loopback:PORT``."""
        return f"{LOOPBACK}{self.number}"


def choose_port() -> PrivatePort:
    """Choose a port that is free now, and a random key.

    Raises:
        OSError: No port is free.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return PrivatePort(probe.getsockname()[1], secrets.token_urlsafe(24))
