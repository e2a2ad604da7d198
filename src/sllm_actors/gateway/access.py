"""Who may use the gateway."""

from __future__ import annotations

import hmac

from sllm_actors.api_error import ApiError
from sllm_actors.cluster.loopback import is_loopback_authority, is_loopback_origin

from . import errors
from .headers import Headers
from .settings import GatewaySettings

OPEN_PATHS = frozenset(["/health"])
"""Paths that need no key."""


def refuse(settings: GatewaySettings, path: str, headers: Headers) -> ApiError | None:
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
    """
    if settings.loopback:
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 or not is_loopback_authority(hosts[0].decode("latin-1")):
            return errors.foreign_host("Host")
        origins = [value for name, value in headers if name == b"origin"]
        if not all(
            settings.cors.allows(each) or is_loopback_origin(each.decode("latin-1")) for each in origins
        ):
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
