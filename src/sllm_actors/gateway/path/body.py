"""Reading the body of a request whole, within its bounds."""

from __future__ import annotations

import anyio

from sllm_actors.gateway import errors
from sllm_actors.gateway.headers import Headers, find
from sllm_actors.gateway.settings import GatewaySettings

from .client_response import Receive

LINGER_SECONDS = 5.0


class ClientLeft(Exception):
    """The client hung up."""


async def read_body(receive: Receive, headers: Headers, settings: GatewaySettings) -> bytes:
    """Return the body.

    Raises:
        ApiError: It is too large, or comes too slowly.
        ClientLeft: It ended before it was whole.
    """
    length = find(headers, b"content-length")
    if length is not None and length.isdigit() and int(length) > settings.body_limit:
        raise errors.body_too_large(settings.body_limit)
    parts: list[bytes] = []
    size = 0
    now = anyio.current_time()
    latest = now + settings.body_timeout
    # One scope whose deadline moves on with each part.
    with anyio.CancelScope(deadline=min(latest, now + settings.body_silence)) as scope:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientLeft
            part = message.get("body", b"")
            size += len(part)
            if size > settings.body_limit:
                raise errors.body_too_large(settings.body_limit)
            parts.append(part)
            if not message.get("more_body", False):
                return parts[0] if len(parts) == 1 else b"".join(parts)
            scope.deadline = min(latest, anyio.current_time() + settings.body_silence)
    raise errors.body_too_slow()


async def drain(receive: Receive, headers: Headers, limit: int) -> bool:
    """Take in what a client still sends, for a while, and say whether that was all.

    A client that is answered in the middle of its body, and cut off, may never see the answer.
    """
    if find(headers, b"expect") is not None:
        return False  # it waits for a word before it sends
    size = 0
    with anyio.move_on_after(LINGER_SECONDS):
        while size <= limit:
            message = await receive()
            if message["type"] == "http.disconnect" or not message.get("more_body", False):
                return True
            size += len(message.get("body", b""))
    return False
