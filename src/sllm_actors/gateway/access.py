"""Who may use the gateway."""

from __future__ import annotations

import hmac

from sllm_actors.api_error import ApiError
from sllm_actors.cluster.loopback import is_loopback_authority, is_loopback_origin

from . import errors
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
        if len(hosts) != 1 or not is_loopback_authority(hosts[0].decode("latin-1")):
            return errors.foreign_host("Host")
        origins = [value for name, value in headers if name == b"origin"]
        if any(not is_loopback_origin(origin.decode("latin-1")) for origin in origins):
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
