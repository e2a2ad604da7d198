"""Sockets: connecting, and options."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import socket
import struct

import anyio
from anyio.abc import ByteStream, SocketAttribute

from .tcp_stream import TcpStream

_MAPPED = "::ffff:"
"""How a socket that listens on IPv6 and IPv4 shows the latter: ``::ffff:192.0.2.1``."""

ATTEMPT = 1.0
"""Seconds for one address of a host that has more: a network that swallows IPv6 must not hide IPv4."""


async def connect(host: str, port: int) -> ByteStream:
    """Connect to the first address of a host that answers.

    Raises:
        OSError: No address answers, or the name is unknown; see ``unreachable``.
    """
    errors: list[Exception] = []
    addresses = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for number, (family, _, _, _, address) in enumerate(addresses, 1):
        patience = math.inf if number == len(addresses) else ATTEMPT
        try:
            with anyio.fail_after(patience):
                return await _connect(family, address)
        except OSError as error:
            errors.append(error)
    raise OSError("no address answered") from ExceptionGroup("connecting failed", errors)


async def _connect(family: int, address: tuple[str, int]) -> ByteStream:
    # Not anyio.connect_tcp: on trio it leaves the socket of a failed attempt open.
    raw = socket.socket(family, socket.SOCK_STREAM)
    try:
        raw.setblocking(False)
        code = raw.connect_ex(address)
        if code == errno.EINPROGRESS:
            await anyio.wait_writable(raw)
            code = raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        _check(code)
        return TcpStream(raw)
    except BaseException:
        raw.close()
        raise


def _check(code: int) -> None:
    if code:
        raise OSError(code, os.strerror(code))


def configure(stream: ByteStream) -> None:
    """Send small frames at once, and let the kernel notice a host that has vanished."""
    raw = raw_socket(stream)
    if raw is not None and raw.family in {socket.AF_INET, socket.AF_INET6}:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def limit_silence(stream: ByteStream, seconds: float) -> None:
    """Let the kernel break a connection on which bytes were sent and not acknowledged for so long.

    Its own patience is a quarter of an hour. Not for a tunnel, whose reader may stop for as long as it likes:
    the kernel takes a window that stays closed for silence.
    """
    raw = raw_socket(stream)
    option = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux
    if raw is not None and option is not None and raw.family in {socket.AF_INET, socket.AF_INET6}:
        with contextlib.suppress(OSError):  # it may be broken already
            raw.setsockopt(socket.IPPROTO_TCP, option, math.ceil(seconds * 1000))


def reset(stream: ByteStream) -> None:
    """Make the coming close a reset instead of an orderly end."""
    raw = raw_socket(stream)
    if raw is not None and raw.family in {socket.AF_INET, socket.AF_INET6} and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def sever(stream: ByteStream) -> None:
    """End a connection from outside the tasks that use it: whoever reads or writes it wakes up."""
    raw = raw_socket(stream)
    if raw is not None and raw.fileno() >= 0:
        with contextlib.suppress(OSError):
            raw.shutdown(socket.SHUT_RDWR)


def raw_socket(stream: ByteStream) -> socket.socket | None:
    """Return the socket below a stream, where there is one."""
    return stream.extra(SocketAttribute.raw_socket, None)  # noqa: S610 - not Django


def remote_host(stream: ByteStream) -> str:
    """Return the observed address of the other end."""
    address = stream.extra(SocketAttribute.remote_address, ("unknown", 0))  # noqa: S610 - not Django
    host = str(address[0]) if isinstance(address, tuple) else str(address)
    return host.removeprefix(_MAPPED) if "." in host else host
