"""Connecting to an engine for raw bytes: the far end of a tunnel."""

from __future__ import annotations

import errno
import os
import socket

import anyio

from sllm_actors.engines.messages import LOOPBACK, ReplicaReport

CONNECT_TIMEOUT = 5.0  # seconds

BUSY_PAUSE = 0.005
"""Seconds until an engine is asked again whose queue of unanswered connections is full."""


async def open_engine_socket(report: ReplicaReport) -> socket.socket:
    """Connect to the engine of a report; the caller owns the socket.

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
                return await _connect(socket.AF_UNIX, report.address.removeprefix("unix:"))
            if report.address.startswith(LOOPBACK):
                port = int(report.address.removeprefix(LOOPBACK))
                return await _connect(socket.AF_INET, ("127.0.0.1", port))
            raise ConnectionRefusedError(f"{report.id} is no engine of ours: gateways reach {report.address}")
    except TimeoutError:
        raise ConnectionRefusedError(f"{report.id} accepts no connections") from None


async def _connect(family: socket.AddressFamily, address: str | tuple[str, int]) -> socket.socket:
    raw = socket.socket(family, socket.SOCK_STREAM)
    try:
        raw.setblocking(False)
        code = raw.connect_ex(address)
        while code == errno.EAGAIN:  # a unix socket whose queue is full does not say when it is not
            await anyio.sleep(BUSY_PAUSE)
            code = raw.connect_ex(address)
        if code == errno.EINPROGRESS:
            await anyio.wait_writable(raw)
            code = raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        _check(code)
        if family == socket.AF_INET:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        raw.close()
        raise
    return raw


def _check(code: int) -> None:
    if code:
        raise OSError(code, os.strerror(code))
