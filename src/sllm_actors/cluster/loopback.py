"""Tells requests of programs on this machine from those of web pages in a browser on it.

A page can make a browser call loopback in two ways: from its own origin, which the browser then names, or
under a host name of its own that it made lead to loopback, which the ``Host`` header then names.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def is_loopback(authority: str) -> bool:
    """Return whether a ``Host`` header names this machine."""
    try:
        url = urlsplit("//" + authority)
        host, _ = url.hostname, url.port
    except ValueError:
        return False
    if host is None or url.netloc != authority or "@" in authority:
        return False
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_loopback_origin(origin: str) -> bool:
    """Return whether an ``Origin`` header names this machine."""
    scheme, separator, host = origin.partition("://")
    return bool(separator) and scheme in ("http", "https") and is_loopback(host)
