"""A request that an ASGI application serves, on a connection of the hot path's server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol
from urllib.parse import unquote

import anyio
import structlog

from sllm_actors.gateway import errors
from sllm_actors.gateway.headers import without_length

from .request_head import RequestHead
from .response import Http1Response

log = structlog.get_logger()

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGI = Callable[[Scope, Receive, Send], Awaitable[None]]

HELD = 64 * 2**10
"""Bytes of a body that the application has not read yet; then no more is read from the client."""

UNREAD_SECONDS = 600.0
"""How long a client may read nothing of its response: then its connection is closed."""


class ClientSide(Protocol):
    """The client's connection.

    Attributes:
        client: The client's address and port, if known.
        server: The address and port that it has connected to, if known.
    """

    @property
    def client(self) -> tuple[str, int] | None: ...

    @property
    def server(self) -> tuple[str, int] | None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class AsgiRequest:
    """See ``RequestHandler``; ``run`` is to be called once, in a task that somebody owns.

    Args:
        app: The application.
        head: The head of the request.
        response: Where the response goes.
        flow: The client's connection.
    """

    def __init__(
        self,
        app: ASGI,
        head: RequestHead,
        response: Http1Response,
        flow: ClientSide,
    ) -> None:
        self._app = app
        self._head = head
        self._response = response
        self._flow = flow
        self._parts: list[bytes] = []
        self._held = 0
        self._whole = self._given = self._left = self._paused = self._full = False
        self._status, self._headers = 0, list[tuple[bytes, bytes]]()
        self._changed = anyio.Event()
        self._scope = anyio.CancelScope()

    async def run(self) -> None:
        """Serve the request to its end."""
        head = self._head
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": head.method,
            "scheme": "http",
            "path": unquote(head.path.decode("latin-1")),
            "raw_path": head.path,
            "query_string": head.query,
            "root_path": "",
            "headers": head.headers,
            "client": self._flow.client,
            "server": self._flow.server,
        }
        with self._scope:
            try:
                await self._app(scope, self._receive, self._send)
            except Exception:
                log.exception("request.mistake", request_id=head.id, path=scope["path"])
        self._end()

    def _end(self) -> None:
        response = self._response
        if response.ended or self._left:
            return
        if response.begun:
            response.cut_off()
            return
        error = errors.gateway_stopping() if self._scope.cancelled_caught else errors.internal()
        dialect = self._head.dialect
        response.respond(error.status, without_length(dialect.headers(error)), dialect.body(error))

    async def _receive(self) -> Message:
        while not (self._parts or self._whole or self._left):
            await self._wait()
        if self._left or self._given:
            while not (self._left or self._response.ended):
                await self._wait()
            return {"type": "http.disconnect"}
        data = b"".join(self._parts)
        self._parts.clear()
        self._held, self._given = 0, self._whole
        if self._full:
            self._full = False
            self._flow.resume_reading()
        return {"type": "http.request", "body": data, "more_body": not self._whole}

    async def _send(self, message: Message) -> None:
        response = self._response
        if response.ended or self._left:
            return
        if message["type"] == "http.response.start":
            self._status, self._headers = message["status"], list(message.get("headers", ()))
            return
        data, more = message.get("body", b""), message.get("more_body", False)
        if not response.begun:
            given = next((value for name, value in self._headers if name == b"content-length"), None)
            headers = [each for each in self._headers if each[0] not in _OURS]
            if not more:
                length = int(given) if given is not None and self._head.method == "HEAD" else len(data)
                response.begin(self._status, headers, length)
            else:
                response.begin(self._status, headers, None if given is None else int(given))
        if more:
            if data:
                response.write(data)
            with anyio.move_on_after(UNREAD_SECONDS) as patience:
                while self._paused and not self._left:
                    await self._wait()
            if patience.cancelled_caught:
                log.warning("request.cut_off", request_id=self._head.id, reason="the client does not read")
                response.cut_off()
                self._wake()
        else:
            response.end(data)
            self._wake()

    async def _wait(self) -> None:
        await self._changed.wait()

    def _wake(self) -> None:
        """Let both go on that may wait: whoever receives, and whoever sends."""
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    # ---- RequestHandler

    def body(self, data: bytes) -> None:
        """See ``RequestHandler``."""
        self._parts.append(data)
        self._held += len(data)
        if self._held > HELD and not self._full:
            self._full = True
            self._flow.pause_reading()
        self._wake()

    def body_ended(self) -> None:
        """See ``RequestHandler``."""
        self._whole = True
        self._wake()

    def client_left(self) -> None:
        """See ``RequestHandler``."""
        self._left = True
        self._wake()

    def pause(self) -> None:
        """See ``RequestHandler``."""
        self._paused = True

    def resume(self) -> None:
        """See ``RequestHandler``."""
        self._paused = False
        self._wake()

    def give_up(self) -> None:
        """See ``RequestHandler``."""
        self._scope.cancel()


_OURS = frozenset([b"content-length", b"transfer-encoding", b"connection", b"date", b"x-request-id"])
