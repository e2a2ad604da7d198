"""Tunnels: after one request and one answer, raw bytes both ways between a stream here and a stream there."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
from anyio.abc import ByteStream
from anyio.streams.tls import TLSStream

from sllm_actors.actors.errors import UnknownMessage
from sllm_actors.descriptors import explain, is_out_of_descriptors

from .byte_streams import ChunkedStream, RestStream
from .codec import Codec, pack, unpack
from .errors import NodeFull, RemoteProtocolError, TunnelRefused
from .frame import (
    TUNNEL_ACCEPTED,
    TUNNEL_NO_ROOM,
    TUNNEL_REFUSED,
    TUNNEL_REQUEST,
    Frame,
    FrameDecoder,
    encode,
)
from .sockets import reset, sever

REASON_LIMIT = 4096
SPLICE_SIZE = 64 * 1024

BROKEN = (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)


def raw_bytes(stream: ByteStream, rest: bytes) -> ByteStream:
    """Return the stream behind a tunnel's answer: plain where it can be half-closed, else chunked."""
    return ChunkedStream(stream, rest) if isinstance(stream, TLSStream) else RestStream(stream, rest)


class TunnelStream(ByteStream):
    """The requester's end of a tunnel: bytes, half-close and back-pressure are those of its connection.

    Args:
        stream: Owned by this one.
        forget: Called when it is closed.
    """

    def __init__(self, stream: ByteStream, forget: Callable[[TunnelStream], None]) -> None:
        self._stream = stream
        self._forget = forget
        self._reason: str | None = None

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return the next bytes.

        Raises:
            anyio.EndOfStream: The other end has closed its side.
            anyio.BrokenResourceError: The connection was reset, or the peer is down.
        """
        try:
            return await self._stream.receive(max_bytes)
        except anyio.EndOfStream as error:
            if self._reason is None:
                raise
            raise anyio.BrokenResourceError from PeerGone(self._reason).with_traceback(error.__traceback__)

    async def send(self, item: bytes) -> None:
        """Send bytes, waiting while the other end does not read.

        Raises:
            anyio.BrokenResourceError: The connection was reset, or the peer is down.
        """
        await self._stream.send(item)

    async def send_eof(self) -> None:
        """Close this side; the other end can still send."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close the tunnel."""
        self._forget(self)
        await self._stream.aclose()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """The extra attributes of the connection."""
        return self._stream.extra_attributes

    def sever(self, reason: str) -> None:
        """Break the tunnel from outside: the peer is down."""
        self._reason = reason
        sever(self._stream)


class PeerGone(Exception):
    """The cause of a tunnel's break when its peer was declared down."""


async def request_tunnel(stream: ByteStream, rest: bytes, codec: Codec, request: object) -> ByteStream:
    """Send the request over a fresh tunnel lane and await the answer; return the stream of what is behind it.

    Raises:
        TunnelRefused: The other side said no, or went away.
        NodeFull: The other side has no room for one more tunnel.
        UnknownMessage: The request is not in the catalog.
    """
    body = pack(codec.to_wire(request))
    try:
        await stream.send(encode(TUNNEL_REQUEST, body))
        (kind, answer), rest = await _one_frame(stream, rest)
    except anyio.EndOfStream:
        raise TunnelRefused("the peer closed the tunnel without an answer") from None
    except (*BROKEN, RemoteProtocolError) as error:
        raise TunnelRefused(
            f"the tunnel broke before an answer: {str(error) or type(error).__name__}"
        ) from error
    if kind != TUNNEL_ACCEPTED:
        refusal = NodeFull if kind == TUNNEL_NO_ROOM else TunnelRefused
        raise refusal(bytes(answer[:REASON_LIMIT]).decode("utf-8", "replace"))
    return raw_bytes(stream, rest)


async def answer_tunnel(
    stream: ByteStream,
    rest: bytes,
    codec: Codec,
    decide: Callable[[object], Awaitable[ByteStream]],
    deadline: float,
) -> None:
    """Read the request on a fresh tunnel lane, answer it, and carry bytes until both ends are done.

    Args:
        decide: Returns the stream to join, or raises ``TunnelRefused``.
        deadline: Seconds for the request to come and be answered.
    """
    try:
        with anyio.fail_after(deadline):
            (kind, body), rest = await _one_frame(stream, rest)
            if kind != TUNNEL_REQUEST:
                return
            try:
                name, value, *_ = unpack(body)
                target = await decide(codec.from_wire(name, value))
            except (TunnelRefused, UnknownMessage, OSError, ValueError, TypeError) as error:
                await stream.send(_refusal(error))
                return
    except (TimeoutError, anyio.EndOfStream, RemoteProtocolError, *BROKEN):
        return
    try:
        await stream.send(encode(TUNNEL_ACCEPTED, b""))
        await splice(raw_bytes(stream, rest), target)
    except BROKEN:
        reset(stream)
    finally:
        await anyio.aclose_forcefully(target)


def _refusal(error: Exception) -> bytes:
    if isinstance(error, OSError) and is_out_of_descriptors(error):
        error = NodeFull(explain(error))
    reason = str(error) or type(error).__name__
    kind = TUNNEL_NO_ROOM if isinstance(error, NodeFull) else TUNNEL_REFUSED
    return encode(kind, reason.encode()[:REASON_LIMIT])


async def splice(left: ByteStream, right: ByteStream) -> None:
    """Carry bytes both ways until both sides have ended.

    An orderly end of one side is passed on while the other direction goes on. A reset ends both at once.

    Raises:
        anyio.BrokenResourceError: One side was reset.
    """
    failure: list[Exception] = []

    async def carry(source: ByteStream, sink: ByteStream) -> None:
        try:
            while True:
                await sink.send(await source.receive(SPLICE_SIZE))
        except anyio.EndOfStream:
            with contextlib.suppress(*BROKEN):
                await sink.send_eof()
        except BROKEN as error:
            failure.append(error)
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(carry, left, right)
        await carry(right, left)
    if failure:
        raise anyio.BrokenResourceError from failure[0]


async def _one_frame(stream: ByteStream, rest: bytes) -> tuple[Frame, bytes]:
    decoder = FrameDecoder()
    while True:
        frames = decoder.receive(rest, at_most=1)
        if decoder.failure is not None:
            raise decoder.failure
        if frames:
            return frames[0], decoder.take_rest()
        rest = await stream.receive()
