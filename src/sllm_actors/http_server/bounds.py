"""The bounds of a connection of a client: the same by every server and protocol."""

from __future__ import annotations

LARGEST_HEAD = 64 * 2**10
"""Bytes that the head of a request may have: its first line and all headers. As many may come between two
pieces of a body, and after the last one."""

IDLE_SECONDS = 75.0
"""How long a connection without a request is kept, and how long the head of a request may take. In cleartext
also how long one is kept, after that, whose client does not read the last response."""

LINGER_SECONDS = 5.0
"""How long the rest of a body is read and dropped after its request was answered: closing a connection on
which data is still coming resets it, and then the client may never see the answer."""

REFUSAL_SECONDS = 5.0
"""How long a connection over the bound may take to send a request and to read that it is refused."""

MOST_REFUSED = 64
"""How many connections over the bound are answered with an error at a time; more are closed without one."""

NEW_SECONDS = 1.0
"""How long a server that stops waits for the first request of a new connection."""

KEPT_SECONDS = 1.0
"""How long a server that stops serves connections that were kept; then it closes those without a request.
What is under way has the rest of the grace, so that no request begins just before it is over."""

LAST_WORDS = 1.0
"""Seconds that clients get to read the error by which a stop ends their requests, before they are cut off."""

LEAVE_SECONDS = 1.0
"""Seconds that connections get to close before they are aborted."""


def most_refused(connections: int) -> int:
    """Return ``MOST_REFUSED``, or fewer for a server that may have only so few connections."""
    return min(MOST_REFUSED, max(1, connections // 16))
