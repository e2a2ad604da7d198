"""Comments for a client that waits for a stream, so that neither it nor a proxy gives the connection up."""

from __future__ import annotations

import anyio

from .client_response import ClientResponse


async def keep_alive(client: ClientResponse, *, interval: float, patience: float) -> None:
    """Send a comment whenever nothing was sent for a while, until the response has ended.

    It covers every wait of a streamed request alike: in a hold, for an engine's first token, and between two
    events. The first comment begins the response, with status 200: an error that comes later is the stream's
    last event. To be run in a task beside the one that answers, and cancelled when that has ended.

    Args:
        client: The response.
        interval: Seconds of silence after which a comment is sent; it may take twice as many.
        patience: Seconds that the client may take to read a comment; after that it gets no more.
    """
    while not client.ended:
        sent = client.sent
        await anyio.sleep(interval)
        if client.sent != sent or not client.takes_comments:
            continue
        with anyio.move_on_after(patience) as stalled:
            await client.comment()
        if stalled.cancelled_caught:
            return
