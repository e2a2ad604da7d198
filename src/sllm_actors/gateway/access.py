"""Who may use the gateway."""

from __future__ import annotations

import hmac
import ipaddress
from urllib.parse import urlsplit

from . import errors
from .errors import ApiError
from .headers import Headers
from .settings import GatewaySettings

OPEN_PATHS = frozenset(["/health"])


def refuse(settings: GatewaySettings, path: str, headers: Headers) -> ApiError | None:
    """Return why a request is not let in, or None.

    On loopback the gateway is open to programs, but not to web pages: ``Host`` must name this machine (a name
    that a page's own server made lead here does not) and ``Origin``, where there is one, must do so too.
    Elsewhere everything but ``/health`` wants the admin key.
    """
    if settings.loopback:
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 or not _is_loopback(hosts[0]):
            return errors.foreign_host("Host")
        origins = [value for name, value in headers if name == b"origin"]
        if any(not _is_loopback_origin(origin) for origin in origins):
            return errors.foreign_host("Origin")
        return None
    if path in OPEN_PATHS:
        return None
    given = [value for name, value in headers if name == b"authorization"]
    if len(given) == 1 and _is_key(given[0], settings.admin_key):
        return None
    return errors.invalid_key()


def _is_key(value: bytes, key: str | None) -> bool:
    scheme, _, credentials = value.partition(b" ")
    if key is None or scheme.lower() != b"bearer":
        return False
    return hmac.compare_digest(credentials.strip(), key.encode())


def _is_loopback_origin(origin: bytes) -> bool:
    scheme, separator, host = origin.partition(b"://")
    return bool(separator) and scheme in (b"http", b"https") and _is_loopback(host)


def _is_loopback(authority: bytes) -> bool:
    try:
        url = urlsplit("//" + authority.decode("ascii"))
        host, _ = url.hostname, url.port
    except ValueError:
        return False
    if host is None or url.netloc != authority.decode("ascii") or "@" in url.netloc:
        return False
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
