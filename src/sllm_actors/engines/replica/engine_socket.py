"""The way into an engine for raw bytes: what a tunnel ends in."""

from __future__ import annotations

import anyio
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
            raise ConnectionRefusedError(f"{report.id} is no engine of ours: gateways reach {report.address}")
    except TimeoutError:
        raise ConnectionRefusedError(f"{report.id} accepts no connections") from None
