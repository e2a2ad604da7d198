"""Finds out whether a client has left whose connection is not read just now."""

from __future__ import annotations

import asyncio
import select

_GONE = getattr(select, "POLLRDHUP", 0)  # Linux alone tells that the other side has closed its half
_LOST = _GONE | select.POLLHUP | select.POLLERR


def has_hung_up(transport: asyncio.BaseTransport) -> bool:
    """Return whether the other side has closed the connection, or lost it, before all of it was read."""
    raw = transport.get_extra_info("socket")
    if raw is None or raw.fileno() < 0:
        return False
    poll = select.poll()
    poll.register(raw.fileno(), _GONE)
    return any(found & _LOST for _, found in poll.poll(0))
