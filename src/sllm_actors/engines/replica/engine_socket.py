"""The way into an engine for raw bytes: what a tunnel ends in."""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
from anyio.abc import ByteStream

from sllm_actors.engines.messages import LOOPBACK, ReplicaReport

CONNECT_TIMEOUT = 5.0


async def open_engine_socket(report: ReplicaReport) -> ByteStream:
    """Connect with the engine that a worker reported.

    A report names one engine life, whose socket path is never used again: a stale one reaches nobody.

    Raises:
        OSError: Nothing listens there (any more), or did not accept within five seconds.
    """
    if not report.address:
        raise ConnectionRefusedError(f"{report.id} is {report.state}: it has no address")
    try:
        with anyio.fail_after(CONNECT_TIMEOUT):
            if report.address.startswith("unix:"):
                return await anyio.connect_unix(report.address.removeprefix("unix:"))
            if report.address.startswith(LOOPBACK):
                return await anyio.connect_tcp("127.0.0.1", int(report.address.removeprefix(LOOPBACK)))
            return await _connect_url(report.address)
    except TimeoutError:
        raise ConnectionRefusedError(f"{report.id} accepts no connections") from None


async def _connect_url(address: str) -> ByteStream:
    url = urlsplit(address)
    host = url.hostname or ""
    if url.scheme != "https":
        return await anyio.connect_tcp(host, url.port or 80)
    context = await anyio.to_thread.run_sync(ssl.create_default_context)  # it reads certificates
    return await anyio.connect_tcp(host, url.port or 443, ssl_context=context)
