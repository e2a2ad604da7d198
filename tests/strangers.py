"""Servers that tests write by hand: what one of their peers does ends no other connection, nor the test."""

from collections.abc import Awaitable, Callable
from contextlib import suppress

import anyio
from anyio.abc import SocketStream

Handler = Callable[[SocketStream], Awaitable[object]]


def own_connection(handle: Handler) -> Callable[[SocketStream], Awaitable[None]]:
    """Return ``handle`` for ``Listener.serve``: it owns its stream, and ends in silence when the peer leaves.

    A peer may leave before it has said a word: a dial that was given up, a probe that ran out of time.
    Without this the error of one such connection would fail the task group of the test.
    """

    async def serve(stream: SocketStream) -> None:
        async with stream:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                await handle(stream)

    return serve
