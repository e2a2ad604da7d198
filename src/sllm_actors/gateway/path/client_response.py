"""The response to a client: begun at most once, and never cut short without saying so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import anyio

from sllm_actors.api_error import ApiError
from sllm_actors.gateway.headers import Headers, for_event_stream

from .events import COMMENT

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class AnswerBroken(Exception):
    """The answer has begun and cannot be finished: the server must close the client's connection."""


class ClientResponse:
    """One response over ASGI. Every method that sends waits until the client's connection takes the data.

    Two tasks may use a response: one that answers, and one beside it that calls ``comment``.

    Args:
        send: ASGI's ``send`` of the request.
        request_id: Sent in the header ``X-Request-Id``.

    Attributes:
        begun: Status and headers are sent.
        answered: A part of an engine's answer is sent: from here on, no other engine can take over.
        events: The response is a stream of server-sent events.
        midway: What was sent last of that stream ended within an event.
        ended: The response is complete.
        sending: A piece is being sent. It stays True if that was cancelled: then it is not known how much of
            the piece is sent, and nothing can follow it.
        status: The HTTP status that was sent, or 0.
        sent: How many pieces were sent, comments not counted.
    """

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.begun = self.answered = self.events = self.midway = self.ended = self.sending = False
        self.status = 0
        self.sent = 0
        self._commented: anyio.Event | None = None

    @property
    def takes_comments(self) -> bool:
        """Whether a comment may be sent now: before the response, or between two whole events of a stream."""
        return not (self.ended or self.sending or self.midway) and (self.events or not self.begun)

    async def begin(self, status: int, headers: Headers) -> None:
        """Send the status and these headers, with ``X-Request-Id`` added."""
        await self._put(self._start(status, headers))

    async def begin_events(self, headers: Headers) -> None:
        """Begin a stream of events, with an engine's headers; do nothing if the response has begun."""
        if not self.begun:
            self.events = True
            await self.begin(200, for_event_stream(headers))

    async def answer(self, data: bytes, *, midway: bool = False) -> None:
        """Send a piece of an engine's answer.

        Args:
            data: The piece; an empty one sends nothing.
            midway: Whether it ends within an event.
        """
        if data:
            self.answered = True
            self.midway = midway
            await self._put({"type": "http.response.body", "body": data, "more_body": True})

    async def pass_on(self, message: Message) -> None:
        """Send an ASGI message of the Quart app, with ``X-Request-Id`` added; nothing after ``fail``."""
        if self.ended:
            return
        if message["type"] == "http.response.start":
            message = {**message, **self._start(message["status"], message.get("headers", []))}
        await self._put(message)

    async def comment(self) -> None:
        """Send an empty comment; if nothing has begun, begin a stream of events with status 200 first.

        To be called only while ``takes_comments``, by a task beside the one that answers. That other task
        waits with its next piece until the comment is sent.
        """
        commented = self._commented = anyio.Event()
        self.sending = True
        try:
            if not self.begun:
                self.events = True
                await self._send(self._start(200, for_event_stream([])))
            await self._send({"type": "http.response.body", "body": COMMENT, "more_body": True})
            self.sending = False
        finally:
            self._commented = None
            commented.set()

    async def end(self, data: bytes = b"") -> None:
        """Send the last piece; the response is complete."""
        self.ended = True
        await self._put({"type": "http.response.body", "body": data, "more_body": False})

    async def fail(self, error: ApiError, *, close: bool = False) -> None:
        """End the response with an error: the whole response if nothing was sent, or a stream's last event.

        Does nothing if the response has ended.

        Args:
            error: What is told to the client.
            close: Whether the connection is to be closed after the response; only if nothing was sent yet.

        Raises:
            AnswerBroken: A response that is no stream of events has begun, or sending an earlier piece was
                cancelled.
        """
        if self.ended:
            return
        if self.sending:
            raise AnswerBroken("the client does not read its answer")
        if not self.begun:
            await self.begin(error.status, error.headers + ([(b"connection", b"close")] if close else []))
            await self.end(error.body)
        elif self.events:
            await self.end(b"\n\n" + error.event if self.midway else error.event)
        else:
            raise AnswerBroken(str(error))

    def _start(self, status: int, headers: Headers) -> Message:
        self.begun = True
        self.status = status
        headers = [*headers, (b"x-request-id", self._request_id.encode())]
        return {"type": "http.response.start", "status": status, "headers": headers}

    async def _put(self, message: Message) -> None:
        if self._commented is not None:
            await self._commented.wait()
        self.sending = True
        self.sent += 1
        await self._send(message)
        self.sending = False
