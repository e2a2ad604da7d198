"""TLS below the handshake of nodes, and what to tell a person when two nodes cannot agree on it."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from typing import Final, TypeVar, TypeVarTuple

import anyio
from anyio.abc import ByteStream
from anyio.streams.tls import TLSStream
from attrs import define

from .byte_streams import RestStream
from .errors import HandshakeFailed
from .handshake import TLS_ALERT, TLS_FLAGS
from .hello import Code

Args = TypeVarTuple("Args")
Result = TypeVar("Result")

_HANDSHAKE: Final = b"\x16"
_NO_TLS: Final = {"WRONG_VERSION_NUMBER", "TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL"}
_READ_SIZE: Final = 4096


@define(eq=False)
class TlsContexts:
    """The TLS contexts of a node, used as they are. Each handshake reads them, so they may be replaced.

    Attributes:
        server: For accepted connections; mutual when it requires a client certificate.
        client: For dialled connections.
    """

    server: ssl.SSLContext
    client: ssl.SSLContext


async def secure(stream: ByteStream, context: ssl.SSLContext, host: str | None) -> ByteStream:
    """Do the TLS handshake; as the server when ``host`` is None. A failure closes the stream.

    Raises:
        HandshakeFailed: The other side does not speak TLS, or is not trusted.
    """
    try:
        if host is None:
            stream = await _greeted(stream)
        return await _AlertingStream.wrap(
            stream, server_side=host is None, hostname=host, ssl_context=context, standard_compatible=False
        )
    except ssl.SSLError as error:
        await anyio.aclose_forcefully(stream)
        raise HandshakeFailed(Code.BROKEN, explain_tls(error), final=True) from error
    except (anyio.BrokenResourceError, anyio.EndOfStream, OSError) as error:
        await anyio.aclose_forcefully(stream)
        raise HandshakeFailed(
            Code.CLOSED, "closed the connection during the TLS handshake", final=True
        ) from error


def explain_tls(error: ssl.SSLError) -> str:
    """Return what is wrong with the other side, as the end of a sentence that begins with its address."""
    verdict = getattr(error, "verify_message", None)
    if verdict:
        return f"shows a certificate that --tls-ca does not vouch for ({verdict}): {_SAME_AUTHORITY}"
    reason = getattr(error, "reason", None) or "no reason given"
    if reason in _NO_TLS:
        return f"does not use TLS, and this node does: start all nodes with {TLS_FLAGS}, or all without"
    words = reason.lower().replace("_", " ")
    if "alert" in words and ("certificate" in words or "unknown ca" in words):
        return f"does not accept the certificate of this node's --tls-cert ({words}): {_SAME_AUTHORITY}"
    return f"could not agree on TLS ({words})"


_SAME_AUTHORITY: Final = "give both certificates of the same authority, and both its --tls-ca"


async def _greeted(stream: ByteStream) -> ByteStream:
    """Return the stream of a client that begins with TLS; tell any other that it has to."""
    first = await stream.receive(_READ_SIZE)
    if not first.startswith(_HANDSHAKE):
        with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await stream.send(TLS_ALERT)
        await anyio.aclose_forcefully(stream)
        raise HandshakeFailed(Code.BROKEN, "it does not use TLS, and this node does", final=True)
    return RestStream(stream, first)


class _AlertingStream(TLSStream):
    """Tells the other side why it ends (anyio keeps the alert to itself), and fails as other streams do."""

    async def _call_sslobject_method(self, func: Callable[[*Args], Result], *args: *Args) -> Result:
        try:
            return await super()._call_sslobject_method(func, *args)
        except ssl.SSLError:
            with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                if self._write_bio.pending:
                    await self.transport_stream.send(self._write_bio.read())
            raise

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return the next bytes."""
        try:
            return await super().receive(max_bytes)
        except ssl.SSLError as error:
            raise anyio.BrokenResourceError from error

    async def send(self, item: bytes) -> None:
        """Send bytes, waiting while the other end does not read."""
        try:
            await super().send(item)
        except ssl.SSLError as error:
            raise anyio.BrokenResourceError from error
