"""Drives the sans-IO handshake over a stream, on the dialling and on the accepting side."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import anyio
from anyio.abc import ByteStream

from .admission import Admission
from .errors import HandshakeFailed
from .handshake import Handshake, Proven
from .hello import Code, Hello
from .tls import explain_tls

READ_SIZE = 4096

UNBELIEVED = {Code.IDENTITY, Code.JOINING}
"""This side does not know that the other is who it says it is."""

Judge = Callable[[Handshake, Proven], Admission]
"""Says whether this side wants the lane; called again, right before the end, for what changed meanwhile."""


async def dial_handshake(stream: ByteStream, handshake: Handshake, judge: Judge) -> Hello:
    """Play the dialler. Runs under its caller's deadline.

    Returns:
        The peer's hello, when both sides agreed to open the lane.

    Raises:
        HandshakeFailed: There is no lane; the stream is to be closed.
    """
    await _send(stream, handshake.start())
    proven = await _until_proven(stream, handshake)
    admission = judge(handshake, proven)
    if proven.code is not Code.OK:
        if admission.code in UNBELIEVED:  # what it says against this node counts for nothing
            raise HandshakeFailed(admission.code, f"cannot be linked: {admission.reason}", final=True)
        raise HandshakeFailed(proven.code, proven.reason)
    await _send(stream, handshake.verdict(admission.code, admission.reason))
    if admission.code is not Code.OK:
        raise HandshakeFailed(admission.code, f"cannot be linked: {admission.reason}", final=True)
    admission = judge(handshake, proven)
    if admission.code is not Code.OK:
        raise HandshakeFailed(admission.code, f"cannot be linked: {admission.reason}", final=True)
    return proven.hello


async def accept_handshake(stream: ByteStream, handshake: Handshake, judge: Judge) -> Hello:
    """Play the acceptor; see ``dial_handshake``."""
    proven = await _until_proven(stream, handshake)
    admission = judge(handshake, proven)
    await _send(stream, handshake.verdict(admission.code, admission.reason))
    if admission.code is not Code.OK:
        raise HandshakeFailed(admission.code, admission.reason)
    while handshake.ready is None:
        handshake.receive(await _receive(stream))
    if handshake.ready.code is not Code.OK:
        raise HandshakeFailed(handshake.ready.code, handshake.ready.reason)
    admission = judge(handshake, proven)
    if admission.code is not Code.OK:
        raise HandshakeFailed(admission.code, admission.reason)
    return proven.hello


async def _until_proven(stream: ByteStream, handshake: Handshake) -> Proven:
    while handshake.proven is None:
        try:
            answer = handshake.receive(await _receive(stream))
        except HandshakeFailed:
            if handshake.last_words:
                await _send(stream, handshake.last_words)
            raise
        if answer:
            await _send(stream, answer)
    return handshake.proven


async def _receive(stream: ByteStream) -> bytes:
    try:
        return await stream.receive(READ_SIZE)
    except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
        raise _broken(error) from error


async def _send(stream: ByteStream, data: bytes) -> None:
    try:
        await stream.send(data)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
        raise _broken(error) from error


def _broken(error: Exception) -> HandshakeFailed:
    if isinstance(error.__cause__, ssl.SSLError):  # in TLS 1.3, a client learns here that it is not accepted
        return HandshakeFailed(Code.BROKEN, explain_tls(error.__cause__), final=True)
    return HandshakeFailed(Code.CLOSED, "closed the connection during the handshake", final=True)
