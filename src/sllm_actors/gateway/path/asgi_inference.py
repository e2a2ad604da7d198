"""The second shell of inference: the same exchanges under any ASGI server, as for TLS and HTTP/2."""

from __future__ import annotations

from collections import deque
from typing import Any

import anyio

from sllm_actors.api_error import ApiError
from sllm_actors.gateway.headers import Headers, without_length
from sllm_actors.http_server import AnswerBrokenOff

from .clients.asgi_request import ASGI, Message, Receive, Scope, Send
from .clients.handler import RequestHandler
from .clients.request_head import RequestHead
from .inference import Inference

HELD = 64 * 2**10
"""Bytes of a response that wait for the server; then the engine is read no further."""


class CutOff(AnswerBrokenOff):
    """A response has begun and cannot be finished: the server must close it."""


class AsgiClient:
    """See ``Client``: what is written waits until the server's ``send`` has taken it.

    Args:
        request_id: Sent in the header ``X-Request-Id``.
        added: Headers that are added to those of whoever answers.

    Attributes:
        added: As above, and the id.
        exchange: Told when more than ``HELD`` bytes wait, and when no longer.
        full: Whether more than ``HELD`` bytes wait.
    """

    def __init__(self, request_id: str, added: Headers) -> None:
        self.begun = self.ended = self.full = False
        self.exchange: RequestHandler | None = None
        self.added: Headers = [*added, (b"x-request-id", request_id.encode())]
        self._messages: deque[dict[str, Any]] = deque()
        self._held = 0
        self._broken = False
        self._written = anyio.Event()
        self._readable: anyio.Event | None = None

    def begin(self, status: int, headers: Headers, length: int | None = None) -> None:
        """See ``Client``."""
        self.begun = True
        headers = [*headers, *self.added]
        if length is not None:
            headers.append((b"content-length", str(length).encode()))
        self._put({"type": "http.response.start", "status": status, "headers": headers})

    def write(self, data: bytes) -> None:
        """See ``Client``."""
        self._held += len(data)
        self._put({"type": "http.response.body", "body": data, "more_body": True})
        if self._held > HELD and not self.full:
            self.full = True
            if self.exchange is not None:
                self.exchange.pause()

    def chunk_writer(self) -> None:
        """See ``Client``: the server frames the body."""

    def end(self, data: bytes = b"") -> None:
        """See ``Client``."""
        self.ended = True
        self._held += len(data)
        self._put({"type": "http.response.body", "body": data, "more_body": False})

    def respond(self, status: int, headers: Headers, body: bytes) -> None:
        """See ``Client``."""
        self.begin(status, headers, len(body))
        self.end(body)

    def pause_reading(self) -> None:
        """See ``Client``."""
        self._readable = anyio.Event()

    def resume_reading(self) -> None:
        """See ``Client``."""
        if self._readable is not None:
            self._readable.set()
            self._readable = None

    def leave_if_gone(self) -> None:
        """See ``Client``: a server tells that only to whoever reads on."""

    async def readable(self) -> None:
        """Wait until more of the request's body may be taken."""
        if self._readable is not None:
            await self._readable.wait()

    def cut_off(self) -> None:
        """See ``Client``."""
        self.ended = self._broken = True
        self._written.set()

    def left(self) -> None:
        """The client has left, and the exchange knows: nothing more comes to be sent."""
        self.ended = True
        self._written.set()

    async def send_all(self, send: Send) -> None:
        """Send what is written, until the response is complete.

        Raises:
            CutOff: The response cannot be finished.
        """
        while True:
            while self._messages:
                message = self._messages.popleft()
                await send(message)
                self._held -= len(message.get("body", b""))
                if self.full and self._held <= HELD:
                    self.full = False
                    if self.exchange is not None:
                        self.exchange.resume()
            if self._broken:
                raise CutOff
            if self.ended:
                return
            self._written = anyio.Event()
            await self._written.wait()

    def adding_headers(self, send: Send) -> Send:
        """Return a ``send`` for another application, which adds to its response what is added to ours."""

        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *self.added]}
            await send(message)

        return send_more

    def _put(self, message: dict[str, Any]) -> None:
        self._messages.append(message)
        self._written.set()


class Guarded:
    """The whole gateway as an ASGI application.

    It serves inference itself, and gives every other request to ``app`` if its sender may use the gateway.
    """

    def __init__(self, app: ASGI, inference: Inference) -> None:
        self._app = app
        self._inference = inference

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Raises:
            CutOff: See the class.
            RuntimeError: The scope is not that of an HTTP request.
        """
        if scope["type"] != "http":
            raise RuntimeError(f"the gateway does not serve {scope['type']}")
        path = scope.get("raw_path") or scope["path"].encode()
        head = RequestHead(scope["method"], path, scope["query_string"], list(scope["headers"]))
        if self._inference.takes(head):
            await self._infer(head, receive, send)
            return
        cors = self._inference.settings.cors
        preflight = cors.preflight(head.method, head.headers)
        refusal = preflight if isinstance(preflight, ApiError) else self._inference.refusal(head)
        client = AsgiClient(head.id, cors.headers_for(head.headers))
        if isinstance(preflight, list):
            client.begin(204, preflight)
            client.end()
        elif refusal is not None:
            dialect = head.dialect
            client.respond(refusal.status, without_length(dialect.headers(refusal)), dialect.body(refusal))
        else:
            await self._app(scope, receive, client.adding_headers(send))
            return
        await client.send_all(send)

    async def _infer(self, head: RequestHead, receive: Receive, send: Send) -> None:
        client = AsgiClient(head.id, self._inference.added_to_answer(head))
        exchange = client.exchange = self._inference.begin(head, client)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_take, receive, exchange, client)
            try:
                await client.send_all(send)
            finally:
                if not client.ended:
                    exchange.client_left()
            tasks.cancel_scope.cancel()


async def _take(receive: Receive, exchange: RequestHandler, client: AsgiClient) -> None:
    """Give the exchange what the client sends, and tell it when that has left."""
    whole = False
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            exchange.client_left()
            client.left()
            return
        if not whole:
            if data := message.get("body", b""):
                exchange.body(data)
                await client.readable()
            if not message.get("more_body", False):
                whole = True
                exchange.body_ended()
