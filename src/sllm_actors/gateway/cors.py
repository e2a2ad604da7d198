"""Which web pages may use the gateway from a browser, and the headers that tell the browser so. Pure.

None may, unless the gateway was told an origin. A browser asks first, with a preflight: a request without a
key, to be answered before keys are looked at. Cookies play no part, so credentials are never allowed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from attrs import frozen

from sllm_actors.api_error import ApiError

from . import errors
from .headers import Headers, find

ANY = "*"
"""The origin that stands for all of them."""

_METHODS = b"GET, POST, PATCH, PUT, DELETE, HEAD, OPTIONS"
_EXPOSED = b"x-request-id, retry-after, x-should-retry, server-timing"
_REMEMBERED = b"600"  # seconds for which a browser need not ask again
_HEADER_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~ ,-]{1,4096}")
_HOST = re.compile(r"[a-z0-9.-]+|\[[0-9a-f:.]+\]")


def origin_of(text: str) -> str:
    """Return an origin as browsers write it, or ``ANY``.

    Args:
        text: What an administrator wrote, as ``https://chat.example.org`` or ``http://localhost:3000/``.

    Raises:
        ValueError: It is no origin; the message is a sentence for a person.
    """
    if text == ANY:
        return ANY
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        url, port = urlsplit(""), None
    host = url.netloc.rpartition(":")[0] if port is not None else url.netloc
    whole = url.scheme and _HOST.fullmatch(host.lower()) and url.path in ("", "/")
    if not whole or url.query or url.fragment:
        raise ValueError(
            f"{text[:200]!r} is no origin: write a scheme, a host and, if need be, a port, as"
            f" https://chat.example.org, or {ANY} for all"
        )
    standard = {"http": 80, "https": 443}.get(url.scheme)
    return f"{url.scheme}://{host.lower()}" + ("" if port in (None, standard) else f":{port}")


@frozen
class Cors:
    """The origins of pages that may use the gateway.

    Attributes:
        origins: Each as ``origin_of`` returns it; empty: none.
    """

    origins: frozenset[str] = frozenset()

    @staticmethod
    def of(texts: Iterable[str]) -> Cors:
        """Return the rule that allows these origins.

        Raises:
            ValueError: One of them is no origin; the message is a sentence for a person.
        """
        return Cors(frozenset(map(origin_of, texts)))

    def allows(self, origin: bytes) -> bool:
        """Say whether pages of the origin, a value of the header ``Origin``, may use the gateway."""
        return ANY in self.origins or origin.decode("latin-1") in self.origins

    def headers_for(self, headers: Headers) -> Headers:
        """Return the headers that are added to the answer of a request, whatever it is.

        Args:
            headers: The headers of the request, names in lower case.
        """
        if not self.origins:
            return []
        origin = find(headers, b"origin")
        varies: Headers = [] if ANY in self.origins else [(b"vary", b"origin")]
        if origin is None or not self.allows(origin):
            return varies
        shown = b"*" if ANY in self.origins else origin
        return [
            (b"access-control-allow-origin", shown),
            (b"access-control-expose-headers", _EXPOSED),
            *varies,
        ]

    def preflight(self, method: str, headers: Headers) -> Headers | ApiError | None:
        """Return the headers of the answer 204 to a preflight, the error if the page may not, or None.

        Those of ``headers_for`` are to be added to them.

        None for every other request, and for a preflight too while no origin is allowed.

        Args:
            method: The method of the request.
            headers: Its headers, names in lower case.
        """
        origin = find(headers, b"origin")
        wanted = find(headers, b"access-control-request-method")
        if not self.origins or method != "OPTIONS" or origin is None or wanted is None:
            return None
        if not self.allows(origin):
            return errors.origin_not_allowed(origin.decode("latin-1"))
        asked = find(headers, b"access-control-request-headers") or b""
        answer = [
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-max-age", _REMEMBERED),
        ]
        if _HEADER_NAMES.fullmatch(asked):
            answer.append((b"access-control-allow-headers", asked))
        if find(headers, b"access-control-request-private-network") == b"true":
            answer.append((b"access-control-allow-private-network", b"true"))
        return answer
