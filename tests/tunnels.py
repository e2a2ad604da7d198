"""A stream of the transport as a byte stream, for tests in which tasks talk through it."""

from __future__ import annotations

import anyio
from anyio.abc import ByteStream

from sllm_actors.actors.identity import NodeId
from sllm_actors.transport import Transport, TunnelBroken, TunnelRefused
from sllm_actors.transport.streams import TunnelByteStream


class Channel(TunnelByteStream):
    """A byte stream that notes whether the far end has answered."""

    def __init__(self) -> None:
        super().__init__()
        self.answered = anyio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.answered.set()


async def open_tunnel(transport: Transport, node: NodeId, request: object, *, timeout: float) -> ByteStream:
    """Open a stream, and wait until the node has accepted.

    Raises:
        PeerDown: There is no link to the node, or it was lost meanwhile.
        TunnelRefused: The node said no, or nothing within ``timeout`` seconds, or the lane broke before.
    """
    channel = Channel()
    stream = transport.open_stream(node, request, channel, channel.answered.set)
    try:
        with anyio.fail_after(timeout):
            await channel.answered.wait()
    except TimeoutError:
        stream.abort()
        raise TunnelRefused(f"{node} did not answer within {timeout:g} s") from None
    except BaseException:
        stream.abort()
        raise
    if not stream.accepted and channel.error is not None:
        broke = isinstance(channel.error, TunnelBroken)
        raise TunnelRefused(f"the tunnel broke: {channel.error}") if broke else channel.error
    return channel
