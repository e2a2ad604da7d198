"""Connecting to an engine for raw bytes: the far end of a tunnel."""

from __future__ import annotations

import anyio
from anyio.abc import ByteStream

from sllm_actors.engines.messages import LOOPBACK, ReplicaReport

CONNECT_TIMEOUT = 5.0  # seconds


async def open_engine_socket(report: ReplicaReport) -> ByteStream:
    """Connect to the engine of a report.

    A report is of one engine life, whose socket path is never used again: an old report reaches no engine.

    Raises:
        OSError: Nothing listens there (any more), it did not accept within five seconds, or the report is of
            an external server, to which gateways connect themselves.
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
