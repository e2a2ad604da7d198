"""The answer to a client: begun at most once, and never left half made without saying so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from sllm_actors.api_error import ApiError
from sllm_actors.gateway.headers import Headers, for_event_stream

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class AnswerBroken(Exception):
    """The answer has begun and cannot be finished: the server is to close the client's connection."""


class ClientResponse:
    """One response over ASGI.

    Attributes:
        begun: Status and headers are sent.
        answered: A part of an engine's answer is sent: from here on, no other engine can take over.
        events: It is a stream of server-sent events.
        ended: It is complete.
        sending: The client is being waited for, or was when that was given up.
    """

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.begun = self.answered = self.events = self.ended = self.sending = False
        self.status = 0

    async def begin(self, status: int, headers: Headers) -> None:
        """Send status and headers."""
        self.begun = True
        self.status = status
        headers = [*headers, (b"x-request-id", self._request_id.encode())]
        await self._put({"type": "http.response.start", "status": status, "headers": headers})

    async def begin_events(self, headers: Headers | None = None) -> None:
        """Begin a stream of events, made from an engine's headers; does nothing if it has begun."""
        if not self.begun:
            self.events = True
            await self.begin(200, for_event_stream([] if headers is None else headers))

    async def answer(self, data: bytes) -> None:
        """Send a piece of an engine's answer."""
        if data:
            self.answered = True
            await self.write(data)

    async def write(self, data: bytes) -> None:
        """Send a piece of the body that says nothing: a comment."""
        if data:
            await self._put({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        """Send the last piece."""
        self.ended = True
        await self._put({"type": "http.response.body", "body": data, "more_body": False})

    async def fail(self, error: ApiError, *, close: bool = False) -> None:
        """Answer with an error: in full where nothing was sent yet, as the last event of a stream.

        Args:
            close: End the connection after it.

        Raises:
            AnswerBroken: Something else than a stream of events has begun, or an earlier part was given up.
        """
        if self.ended:
            return
        if self.sending:
            raise AnswerBroken("the client does not read its answer")
        if not self.begun:
            await self.begin(error.status, error.headers + ([(b"connection", b"close")] if close else []))
            await self.end(error.body)
        elif self.events:
            await self.end(error.event)
        else:
            raise AnswerBroken(str(error))

    async def _put(self, message: Message) -> None:
        self.sending = True
        await self._send(message)
        self.sending = False
