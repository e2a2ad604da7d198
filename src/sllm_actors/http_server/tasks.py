"""The tasks of one connection: hypercorn's protocols start each call of the application through them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import structlog
from anyio.abc import TaskGroup

from sllm_actors.api_error import ApiError

from .bounds import LINGER_SECONDS
from .inbox import Inbox, Message

log = structlog.get_logger()

ASGI = Callable[[Any, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]
Send = Callable[[Any], Awaitable[None]]


class AnswerBrokenOff(Exception):
    """Raised by an application whose answer has begun and cannot be finished; its client is told so."""


class ConnectionTasks:
    """What hypercorn calls a task group, for the protocol of one connection.

    Args:
        group: Runs the tasks.
        on_idle: Called each time when the last of the calls under way has ended.
        on_busy: Called each time when the first one begins.
        is_draining: Whether an answer that begins now should be the connection's last.
        on_failure: Called when the connection cannot go on.
    """

    def __init__(
        self,
        group: TaskGroup,
        *,
        on_idle: Callable[[], None],
        on_busy: Callable[[], None],
        is_draining: Callable[[], bool],
        on_failure: Callable[[], None],
    ) -> None:
        self.running = 0
        self.last_inbox: Inbox | None = None
        self._group = group
        self._on_idle, self._on_busy = on_idle, on_busy
        self._is_draining = is_draining
        self._on_failure = on_failure
        self._on_read: Callable[[int], None] = lambda _: None
        self._unanswered: set[anyio.CancelScope] = set()
        self._last_word: ApiError | None = None

    def spawn(self, function: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        """Start a task of the protocol itself."""
        self._group.start_soon(self._run, function, *arguments)

    async def spawn_app(
        self, app: ASGI, _config: Any, scope: Any, send: Send
    ) -> Callable[[Any], Awaitable[None]]:
        """Start a call of the application; return what puts messages before it."""
        inbox = self.last_inbox = Inbox(self._on_read)
        self.running += 1
        if self.running == 1:
            self._on_busy()
        self._group.start_soon(self._call, app, scope, inbox, send)
        return inbox.put

    def give_up(self, error: ApiError) -> None:
        """End the calls whose answers have not begun, each with this error."""
        self._last_word = error
        for call in self._unanswered:
            call.cancel()

    def report_reads(self, on_read: Callable[[int], None]) -> None:
        """Let the inbox of the next call report what its application reads."""
        self._on_read = on_read

    async def _run(self, function: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        try:
            await function(*arguments)
        except Exception:
            log.exception("http.connection_failed")
            self._on_failure()

    async def _call(self, app: ASGI, scope: Any, inbox: Inbox, send: Send) -> None:
        is_http1 = scope["type"] == "http" and scope["http_version"] < "2"

        async def transmit(message: Message) -> None:
            kind = message["type"]
            if kind == "http.response.start":
                self._unanswered.discard(call)
            if kind == "http.response.start" and is_http1 and (self._is_draining() or not inbox.is_whole):
                others = [pair for pair in message.get("headers", ()) if pair[0].lower() != b"connection"]
                message = {**message, "headers": [*others, (b"connection", b"close")]}
            elif kind == "http.response.body" and not message.get("more_body", False):
                inbox.close()
                if is_http1 and not inbox.is_whole:
                    await send({**message, "more_body": True})
                    message = {"type": kind}
                    with anyio.move_on_after(LINGER_SECONDS):
                        await inbox.wait_for_the_rest()
            await send(message)

        async def answer(message: Message) -> None:
            if not (call.cancel_called and self._last_word is not None):  # else it was answered for
                await transmit(message)

        call = anyio.CancelScope()
        self._unanswered.add(call)
        try:
            if scope["type"] == "http":
                with call:
                    await app(scope, inbox.receive, answer)
                if call in self._unanswered and self._last_word is not None and call.cancel_called:
                    await _refuse(transmit, self._last_word)
            else:
                await send({"type": "websocket.close"})  # before it was accepted: 403
        except AnswerBrokenOff:
            pass  # the application knows, and has said so if there is anything to say
        except Exception:
            log.exception("http.application_failed", path=scope.get("path"))
        finally:
            self._unanswered.discard(call)
            inbox.close()
            with anyio.CancelScope(shield=True):
                await self._finish(send)

    async def _finish(self, send: Send) -> None:
        try:
            await send(None)
        except Exception:
            log.exception("http.connection_failed")
            self._on_failure()
        finally:
            self.running -= 1
            if self.running == 0:
                self._on_idle()


async def _refuse(send: Send, error: ApiError) -> None:
    await send({"type": "http.response.start", "status": error.status, "headers": error.headers})
    await send({"type": "http.response.body", "body": error.body})
