"""Which addresses only this machine reaches, and which HTTP requests come from its programs, not web pages.

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
