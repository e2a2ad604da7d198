"""Who may use the gateway."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from functools import lru_cache

from sllm_actors.api_error import ApiError
from sllm_actors.cluster.loopback import is_loopback_authority, is_loopback_origin

from . import errors
from .headers import Headers
from .settings import GatewaySettings

OPEN_PATHS = frozenset([b"/health"])
"""Paths that need no key."""


def refuse(
    settings: GatewaySettings, path: bytes, headers: Headers, named: Mapping[bytes, bytes]
) -> ApiError | None:
    """Return the error that a request is refused with, or None if it may be served.

    A gateway on loopback needs no key, but it is closed to web pages: the request must have exactly one
    ``Host``, which names loopback, and so must ``Origin`` if there is one and ``settings.cors`` does not
    allow it. A page from elsewhere has a foreign ``Origin``, and a foreign ``Host`` where its domain was made
    to resolve to this machine (DNS rebinding). A gateway on any other address wants the admin key for
    everything but ``OPEN_PATHS``.

    Args:
        settings: The gateway's settings.
        path: The path of the request, without its query.
        headers: The headers of the request, names in lower case.
        named: The last value of each header.
    """
    if settings.loopback:
        hosts = _values(b"host", headers, named)
        if len(hosts) != 1 or not _is_loopback_host(hosts[0]):
            return errors.foreign_host("Host")
        origins = _values(b"origin", headers, named)
        if not all(
            settings.cors.allows(each) or is_loopback_origin(each.decode("latin-1")) for each in origins
        ):
            return errors.foreign_host("Origin")
        return None
    if path in OPEN_PATHS:
        return None
    given = _values(b"authorization", headers, named)
    if len(given) == 1 and _is_key(given[0], settings.admin_key):
        return None
    return errors.invalid_key()


def _is_key(value: bytes, key: str | None) -> bool:
    scheme, _, credentials = value.partition(b" ")
    if key is None or scheme.lower() != b"bearer":
        return False
    return hmac.compare_digest(credentials.strip(), key.encode())


def _values(name: bytes, headers: Headers, named: Mapping[bytes, bytes]) -> list[bytes]:
    """Return all values of one header: most requests have none of them twice, so this seldom looks at all."""
    if len(named) == len(headers):
        return [named[name]] if name in named else []
    return [value for key, value in headers if key == name]


@lru_cache(maxsize=1024)
def _is_loopback_host(host: bytes) -> bool:
    return is_loopback_authority(host.decode("latin-1"))
