"""Where the load goes, and connections to there."""

from __future__ import annotations

import asyncio
import socket
import ssl

from attrs import field, frozen

from sllm_actors.host_port import HostPort

from .connection import LoadConnection

CONNECT_SECONDS = 10.0
"""How long a connection may take to be made."""


@frozen
class LoadTarget:
    """A server.

    Attributes:
        host: A name or an address.
        port: The port.
        secure: Whether it speaks TLS.
        base: The path in front of that of the API, without a slash at its end.
        key: The bearer token, or "" for none.
    """

    host: str
    port: int
    secure: bool
    base: str
    key: str = field(repr=False)

    @property
    def authority(self) -> str:
        """What the ``Host`` header says."""
        usual = ":443" if self.secure else ":80"
        return HostPort(self.host, self.port).authority.removesuffix(usual)


class Dialler:
    """Makes connections to a target, whose name is looked up once; the first address that answers is kept."""

    def __init__(self, target: LoadTarget) -> None:
        self._target = target
        self._context = ssl.create_default_context() if target.secure else None
        self._loop = asyncio.get_running_loop()
        self._addresses: list[str] = []

    async def look_up(self) -> None:
        """Look the name up; to be called before ``dial``.

        Raises:
            OSError: There is no such name.
        """
        found = await self._loop.getaddrinfo(self._target.host, self._target.port, type=socket.SOCK_STREAM)
        self._addresses = list(dict.fromkeys(str(each[4][0]) for each in found))

    async def dial(self, connection: LoadConnection) -> None:
        """Connect.

        Raises:
            OSError: It was refused, or not made within ``CONNECT_SECONDS``.
        """
        async with asyncio.timeout(CONNECT_SECONDS):
            for address in self._addresses[:-1]:
                try:
                    await self._connect(connection, address)
                except OSError:
                    continue
                self._addresses = [address]
                return
            await self._connect(connection, self._addresses[-1])

    async def _connect(self, connection: LoadConnection, address: str) -> None:
        host = self._target.host if self._context else None
        await self._loop.create_connection(
            lambda: connection, address, self._target.port, ssl=self._context, server_hostname=host
        )
