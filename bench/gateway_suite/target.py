"""Whom the load program asks, as its command line says."""

from __future__ import annotations

import asyncio
from typing import Any

from attrs import asdict, field, frozen

from .connection import Connection
from .phases import Phase, request

PATIENCE = 30.0
"""Seconds that anything may take that is to happen at once."""


@frozen
class Target:
    """A system under load.

    Attributes:
        port: Of 127.0.0.1.
        key: The bearer token that it wants, or any.
        model: The model to name.
        groups: Its processes by what they are: ``gateway`` is what is measured, others stand beside it.
    """

    port: int
    key: str = field(repr=False)
    model: str
    groups: dict[str, list[int]]

    def to_json(self) -> dict[str, Any]:
        """Return it for the load program."""
        return asdict(self)

    def request(self, phase: Phase) -> bytes:
        """Return the request of a phase."""
        return request(phase, port=self.port, key=self.key, model=self.model)

    async def connect(self, connection: Connection) -> None:
        """Connect, which sends the request.

        Raises:
            OSError: It was refused, or not within ``PATIENCE``.
        """
        async with asyncio.timeout(PATIENCE):
            await asyncio.get_running_loop().create_connection(lambda: connection, "127.0.0.1", self.port)
