"""File descriptors: how many a process may have, what it promises from them, and how running out is told."""

from __future__ import annotations

import contextlib
import errno
import resource

from attrs import frozen

MOST_RESERVED = 256
"""Descriptors that nothing is promised from: logs, links between nodes, files that are read for a moment."""

MOST_CONNECTIONS = 20_000
MOST_REQUESTS = 10_000
MOST_TUNNELS = 4_096
MOST_LANES = 8_192

UNBOUNDED = 2**20
"""What counts as the limit where there is none."""


def raise_limit() -> int:
    """Raise this process's soft limit of descriptors to the hard one, and return it.

    The usual soft limit of 1024 is for programs that use ``select``; ours do not.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # a sandbox may forbid it: then the soft one it is
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return limit()


def limit() -> int:
    """Return how many descriptors this process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return UNBOUNDED if soft == resource.RLIM_INFINITY else soft


@frozen
class GatewayShare:
    """What a gateway promises.

    Attributes:
        connections: Connections of clients.
        requests: Inference requests at a time; each has a connection to an engine beside its client's.
    """

    connections: int
    requests: int


@frozen
class TransportShare:
    """What the transport of a node promises.

    Attributes:
        connections: Accepted connections of other nodes, tunnels among them.
        tunnels: Tunnels of both directions. One that leads to an engine here takes two descriptors.
    """

    connections: int
    tunnels: int


def gateway_share(limit: int) -> GatewayShare:
    """Return what a gateway may promise within a limit; it never is more than it would promise without."""
    usable = _usable(limit)
    requests = max(1, min(MOST_REQUESTS, usable // 3))
    return GatewayShare(max(1, min(MOST_CONNECTIONS, usable - requests)), requests)


def transport_share(limit: int) -> TransportShare:
    """Return what a transport may promise within a limit."""
    usable = _usable(limit)
    tunnels = max(1, min(MOST_TUNNELS, usable * 2 // 5))
    return TransportShare(max(1, min(MOST_LANES, usable - tunnels)), tunnels)


def is_out_of_descriptors(error: BaseException | None) -> bool:
    """Tell whether an error, or what it was made from, says that this process or machine has no more."""
    if isinstance(error, BaseExceptionGroup):
        return any(is_out_of_descriptors(each) for each in error.exceptions)
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return True
    return error is not None and is_out_of_descriptors(error.__cause__ or error.__context__)


def explain(error: OSError) -> str:
    """Return what went wrong in a few words; running out of descriptors is said as such."""
    if is_out_of_descriptors(error):
        return f"no file descriptors are left here (ulimit -n: {limit()})"
    return error.strerror or str(error)


def _usable(limit: int) -> int:
    return limit - min(MOST_RESERVED, limit // 4)
