"""File descriptors: how many a process may open, how many connections fit, and how a lack is reported."""

from __future__ import annotations

import contextlib
import errno
import resource

from attrs import frozen

MOST_RESERVED = 256
"""Descriptors set aside for other uses: logs, links between nodes, files that are read for a moment."""

# What a node accepts at most, however high its limit of descriptors is.
MOST_CONNECTIONS = 20_000
MOST_REQUESTS = 10_000
MOST_TUNNELS = 10_000
MOST_LANES = 8_192

UNBOUNDED = 2**20
"""The limit that is assumed where the system sets none."""


def raise_limit() -> int:
    """Raise this process's soft limit of descriptors to the hard limit, and return what then applies.

    The usual soft limit of 1024 protects programs that use ``select``; this one does not.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # a sandbox may forbid it: the soft limit stays
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return limit()


def limit() -> int:
    """Return how many descriptors this process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return UNBOUNDED if soft == resource.RLIM_INFINITY else soft


@frozen
class GatewayShare:
    """How much a gateway accepts at the same time.

    Attributes:
        connections: Connections of clients.
        requests: Inference requests; each has a connection to an engine beside its client's.
    """

    connections: int
    requests: int


@frozen
class TransportShare:
    """How much the transport of a node accepts at the same time.

    Attributes:
        connections: Accepted connections of other nodes, a few for each.
        tunnels: Tunnels of both directions. Many share a connection; one that leads to an engine here takes
            the descriptor of the engine's socket.
    """

    connections: int
    tunnels: int


def gateway_share(limit: int) -> GatewayShare:
    """Return how much a gateway can accept with ``limit`` descriptors, up to its fixed bounds."""
    usable = _usable(limit)
    # A third for connections to engines, and twice as many for clients, some of which are idle.
    requests = max(1, min(MOST_REQUESTS, usable // 3))
    return GatewayShare(max(1, min(MOST_CONNECTIONS, usable - requests)), requests)


def transport_share(limit: int) -> TransportShare:
    """Return how much a transport can accept with ``limit`` descriptors, up to its fixed bounds."""
    usable = _usable(limit)
    # Three fifths for the sockets from tunnels to engines.
    tunnels = max(1, min(MOST_TUNNELS, usable * 3 // 5))
    return TransportShare(max(1, min(MOST_LANES, usable - tunnels)), tunnels)


def is_out_of_descriptors(error: BaseException | None) -> bool:
    """Tell whether an error, or a cause of it, says that this process or machine has no descriptor left."""
    if isinstance(error, BaseExceptionGroup):
        return any(is_out_of_descriptors(each) for each in error.exceptions)
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return True
    return error is not None and is_out_of_descriptors(error.__cause__ or error.__context__)


def explain(error: OSError) -> str:
    """Return what went wrong in a few words; for a lack of descriptors, with the limit."""
    if is_out_of_descriptors(error):
        return f"no file descriptors are left here (ulimit -n: {limit()})"
    return error.strerror or str(error)


def _usable(limit: int) -> int:
    return limit - min(MOST_RESERVED, limit // 4)
