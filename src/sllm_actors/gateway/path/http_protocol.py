"""Uvicorn's HTTP/1.1 with what it lacks: bounds on connections and headers, and upgrades that are ignored."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sllm_actors.gateway import errors

log = structlog.get_logger()

LARGEST_HEAD = 64 * 2**10
"""Bytes that the head of a request may have: its first line and all headers."""

REFUSAL_SECONDS = 5.0
"""How long a connection over the bound may take to send a request and to read that it is refused."""

MOST_REFUSED = 64
"""How many connections over the bound are answered with an error at a time; more are closed without one."""

_UPGRADE = re.compile(rb"\r\nupgrade:[^\r\n]*", re.IGNORECASE)


class BoundedHttp(HttpToolsProtocol):
    """The protocol of one connection of a client.

    - At most ``limit_concurrency`` connections (of uvicorn's configuration) are served. A request on one more
      is answered with 503 ``too_many_connections``; see ``MOST_REFUSED`` for those beyond.
    - A new connection that sends nothing is closed after the time for which an idle one is kept alive.
    - A request whose head is larger than ``LARGEST_HEAD`` is answered with 400.
    - ``Upgrade`` is ignored. Java's client sends ``Upgrade: h2c`` with its first request; the parser would
      end such a request at its head, and its body would be lost.
    """

    _reading_head = True
    _head_size = 0

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._bound = self.limit_concurrency
        self.limit_concurrency = None  # uvicorn's own refusal is no JSON, and its sockets stay open

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a new connection, refuse it, or close it, by how many there are."""
        super().connection_made(transport)
        silence: float = self.timeout_keep_alive
        over = 0 if self._bound is None else len(self.connections) - self._bound
        if over > 0:
            if over == 1:
                log.warning("gateway.too_many_connections", connections=self._bound)
            if over > min(MOST_REFUSED, max(1, (self._bound or 0) // 16)):
                transport.abort()
                return
            self.app = self._refuse
            silence = REFUSAL_SECONDS
            self.loop.call_later(REFUSAL_SECONDS, transport.abort)
        self.timeout_keep_alive_task = self.loop.call_later(silence, self.timeout_keep_alive_handler)

    async def _refuse(self, _scope: Any, _receive: Any, send: Any) -> None:
        error = errors.too_many_connections(self._bound or 0)
        headers = [*error.headers, (b"connection", b"close")]
        await send({"type": "http.response.start", "status": error.status, "headers": headers})
        await send({"type": "http.response.body", "body": error.body})

    def data_received(self, data: bytes) -> None:
        """Take bytes. ``Upgrade`` is removed only where the whole head of a request is in these bytes."""
        if self._reading_head and (b"pgrade" in data or b"PGRADE" in data):
            head, separator, rest = data.partition(b"\r\n\r\n")
            if separator:
                data = _UPGRADE.sub(b"", head) + separator + rest
        self._head_size += len(data)
        super().data_received(data)
        if self._reading_head and self._head_size > LARGEST_HEAD and not self.transport.is_closing():
            self.send_400_response(f"The head of a request may have {LARGEST_HEAD} bytes.")

    def on_headers_complete(self) -> None:
        """Take note that the head of a request is complete."""
        self._reading_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Take note that a request is complete, and count the head of the next one from 0.

        Bytes of the next head that came together with the end of this request are not counted.
        """
        self._reading_head = True
        self._head_size = 0
        super().on_message_complete()
