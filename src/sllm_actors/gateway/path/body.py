"""Reads the whole body of a request, within bounds of size and time."""

from __future__ import annotations

import anyio

from sllm_actors.gateway import errors
from sllm_actors.gateway.headers import Headers, find
from sllm_actors.gateway.settings import GatewaySettings

from .client_response import Receive

LINGER_SECONDS = 5.0
"""How long ``drain`` goes on reading."""


class ClientLeft(Exception):
    """The client hung up before its request was whole."""


async def read_body(receive: Receive, headers: Headers, settings: GatewaySettings) -> bytes:
    """Return the body of a request.

    Args:
        receive: ASGI's ``receive`` of the request.
        headers: The headers of the request, names in lower case.
        settings: ``body_limit``, ``body_silence`` and ``body_timeout`` are the bounds.

    Raises:
        ApiError: The body is too large (413), or comes too slowly (408).
        ClientLeft: The client hung up before the body was whole.
    """
    length = find(headers, b"content-length")
    if length is not None and length.isdigit() and int(length) > settings.body_limit:
        raise errors.body_too_large(settings.body_limit)
    parts: list[bytes] = []
    size = 0
    now = anyio.current_time()
    latest = now + settings.body_timeout
    # One scope for all parts, its deadline moved on with each: cheaper than one for each part.
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
    """Read and drop the rest of a body, and say whether that was all of it.

    False after ``limit`` bytes or ``LINGER_SECONDS``, and at once for a request with the header ``Expect``.

    To be called before a request is refused in the middle of its body: closing a connection on which data is
    still coming resets it, and then the client may never see the answer.
    """
    if find(headers, b"expect") is not None:
        return False  # the client sends nothing before it has an answer
    size = 0
    with anyio.move_on_after(LINGER_SECONDS):
        while size <= limit:
            message = await receive()
            if message["type"] == "http.disconnect" or not message.get("more_body", False):
                return True
            size += len(message.get("body", b""))
    return False
