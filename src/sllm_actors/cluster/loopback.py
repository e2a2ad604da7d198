"""Which addresses only this machine reaches, what they mean elsewhere, and which HTTP requests come from
programs of this machine, not web pages.

A web page in a browser on this machine can have the browser call loopback in two ways: from the page's own
origin, which the ``Origin`` header then names, or by a host name of its own that resolves to loopback, which
the ``Host`` header then names.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Return whether an address or a name, as it is given to listen on, is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_unspecified(host: str) -> bool:
    """Return whether it stands for every address of a machine (``0.0.0.0``, ``::``), and so leads nowhere."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def seen_from(host: str, head: str) -> str:
    """Return where a node is reached, of which the head has said that it is at ``host``.

    What the head sees at a loopback address is on the head's machine. So it is where the head is.

    Args:
        host: The address, as the head sees it.
        head: The address at which the head is reached from here.
    """
    return head if is_loopback(host) and not is_loopback(head) else host


def is_loopback_authority(authority: str) -> bool:
    """Return whether a ``Host`` header, with its port if it has one, names this machine."""
    try:
        url = urlsplit("//" + authority)
        host, _ = url.hostname, url.port
    except ValueError:
        return False
    return host is not None and url.netloc == authority and "@" not in authority and is_loopback(host)


def is_loopback_origin(origin: str) -> bool:
    """Return whether an ``Origin`` header names this machine."""
    scheme, separator, host = origin.partition("://")
    return bool(separator) and scheme in ("http", "https") and is_loopback_authority(host)
