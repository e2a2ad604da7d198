"""Who may use the gateway. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from sllm_actors.api_error import ApiError
from sllm_actors.cluster.loopback import is_loopback_authority, is_loopback_origin
from sllm_actors.gateway import errors
from sllm_actors.gateway.headers import Headers
from sllm_actors.gateway.routing.flow import ANONYMOUS, Flow
from sllm_actors.gateway.routing.memory.keys import KeyOwner, KnownKeys
from sllm_actors.gateway.settings import GatewaySettings
from sllm_actors.gateway.surface import is_for_users

from .sent_key import digest_in, digest_of_bare

OPEN_PATHS = frozenset([b"/health"])
"""Paths that need no key."""


class Guard:
    """Judges who may use the gateway, and whose request each is.

    A gateway on loopback needs no key, but it is closed to web pages: the request must have exactly one
    ``Host``, which names loopback, and so must ``Origin`` if there is one and ``settings.cors`` does not
    allow it. A page from elsewhere has a foreign ``Origin``, and a foreign ``Host`` where its domain was made
    to resolve to this machine (DNS rebinding). A gateway on any other address wants a key for everything but
    ``OPEN_PATHS``: an admin key opens everything, any other one what is for users of models. It is looked for
    in ``Authorization``, and without that in ``X-Api-Key``, where Anthropic's libraries send it.

    Args:
        settings: The gateway's settings.
        keys: The keys that open it.
    """

    def __init__(self, settings: GatewaySettings, keys: KnownKeys) -> None:
        self._settings = settings
        self._keys = keys

    @property
    def edition(self) -> int:
        """A number that is another once a request with the same head may be judged otherwise; never 0."""
        return self._keys.edition

    def judge(self, path: bytes, headers: Headers, named: Mapping[bytes, bytes]) -> Flow | ApiError:
        """Return whose request it is, or the error that it is refused with.

        Args:
            path: The path of the request, without its query.
            headers: The headers of the request, names in lower case.
            named: The last value of each header.
        """
        owner = self._owner(headers, named)
        refusal = None
        if self._settings.loopback:
            refusal = self._foreign(headers, named)
        elif path in OPEN_PATHS:
            pass
        elif owner is None:
            refusal = errors.invalid_key()
        elif not (owner.admin or is_for_users(path)):
            refusal = errors.admin_key_wanted(owner.flow.name)
        if refusal is not None:
            return refusal
        return ANONYMOUS if owner is None else owner.flow

    def _owner(self, headers: Headers, named: Mapping[bytes, bytes]) -> KeyOwner | None:
        given = _values(b"authorization", headers, named)
        if given:
            return self._keys.find(digest_in(given[0])) if len(given) == 1 else None
        bare = _values(b"x-api-key", headers, named)
        return self._keys.find(digest_of_bare(bare[0])) if len(bare) == 1 else None

    def _foreign(self, headers: Headers, named: Mapping[bytes, bytes]) -> ApiError | None:
        """Return why a request to a gateway on loopback does not come from a program of this machine."""
        hosts = _values(b"host", headers, named)
        if len(hosts) != 1 or not _is_loopback_host(hosts[0]):
            return errors.foreign_host("Host")
        origins = _values(b"origin", headers, named)
        allows = self._settings.cors.allows
        if all(allows(each) or is_loopback_origin(each.decode("latin-1")) for each in origins):
            return None
        return errors.foreign_host("Origin")


def _values(name: bytes, headers: Headers, named: Mapping[bytes, bytes]) -> list[bytes]:
    """Return all values of one header: most requests have none of them twice, so this seldom looks at all."""
    if len(named) == len(headers):
        return [named[name]] if name in named else []
    return [value for key, value in headers if key == name]


@lru_cache(maxsize=1024)
def _is_loopback_host(host: bytes) -> bool:
    return is_loopback_authority(host.decode("latin-1"))
