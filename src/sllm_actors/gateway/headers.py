"""Which headers and query parameters are passed on, in both directions, and the id of a request. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import unquote_plus

from sllm_actors.observe.redaction import is_credential

Headers = list[tuple[bytes, bytes]]
"""Names and values in the order in which they came, as in ASGI: names are in lower case."""

# RFC 9110, 7.6.1: these headers speak of one connection, not of the request.
HOP_BY_HOP = frozenset(
    [
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    ]
)
# The gateway sets these itself, or they concern only the gateway and its client.
_NOT_TO_ENGINES = HOP_BY_HOP | {
    b"host",
    b"content-length",
    b"content-encoding",  # bodies are decoded
    b"accept-encoding",
    b"expect",
    b"origin",
    b"x-request-id",
    b"x-sllm-hops",
}
# The gateway sets the first four itself. No cookie of a client reaches an engine, so an engine's are no use.
_NOT_TO_CLIENTS = HOP_BY_HOP | {b"date", b"server", b"x-request-id", b"request-id", b"set-cookie"}
_EVENT_STREAM: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]

_USUAL = ([b"keep-alive"], [b"close"], [b"Keep-Alive"])

_SANE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


def find(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """Return the first value of the header ``name`` (in lower case), or None."""
    for key, value in headers:
        if key == name:
            return value
    return None


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the id that a client gave its request in ``X-Request-Id``, or None.

    An id has 1 to 128 characters, each a letter, a digit or one of ``. _ : -``; any other value counts as
    none.
    """
    value = find(headers, b"x-request-id")
    return value.decode() if value is not None and _SANE_ID.fullmatch(value) else None


def for_engine(headers: Headers) -> Headers:
    """Return those of a client's headers that an engine gets.

    Left out are headers of the client's connection, those that the gateway sets itself, and every credential.
    """
    return [header for header in _of_request(headers) if _reaches_engines(header[0])]


def query_for_engine(query: str) -> str:
    """Return a client's query (the text after ``?``) without the parameters that are credentials by name."""
    return "&".join(
        each for each in query.split("&") if not is_credential(unquote_plus(each.partition("=")[0]))
    )


def for_client(headers: Headers) -> Headers:
    """Return those of an engine's headers that a client gets.

    Left out are headers of the engine's connection, cookies, and those that say which web pages may read it.
    """
    return [header for header in _of_request(headers) if _reaches_clients(header[0])]


def for_event_stream(headers: Headers) -> Headers:
    """Return the headers of a stream of server-sent events, made from an engine's headers."""
    ours = {b"cache-control", b"x-accel-buffering", b"content-type", b"content-length"}
    return [(name, value) for name, value in for_client(headers) if name not in ours] + _EVENT_STREAM


def hold_timing(seconds: float) -> bytes:
    """Return the value of ``Server-Timing`` (W3C) for a request that so long waited for a replica."""
    return b"hold;dur=%.1f" % (seconds * 1000)


def with_hold(added: Headers, seconds: float) -> Headers:
    """Return the headers that the gateway adds to an answer, with one that tells ``hold_timing``."""
    return [
        *(each for each in added if each[0] != b"server-timing"),
        (b"server-timing", hold_timing(seconds)),
    ]


def without_length(headers: Headers) -> Headers:
    """Return the headers without ``content-length``."""
    return [header for header in headers if header[0] != b"content-length"]


def is_event_stream(headers: Headers) -> bool:
    """Say whether the response with these headers is a stream of server-sent events."""
    kind = find(headers, b"content-type")
    return kind is not None and kind.partition(b";")[0].strip().lower() == b"text/event-stream"


def is_plain_json(headers: Headers) -> bool:
    """Say whether the response with these headers is JSON that is not compressed."""
    kind = find(headers, b"content-type")
    plain = find(headers, b"content-encoding") in (None, b"identity")
    return plain and kind is not None and kind.partition(b";")[0].strip().lower() == b"application/json"


def _of_request(headers: Headers) -> Headers:
    """Return the headers without those that a ``Connection`` header names: they are of that hop only."""
    said = [value for name, value in headers if name == b"connection"]
    if not said or said in _USUAL:
        return headers
    named = {token.strip().lower() for value in said for token in value.split(b",")}
    return [header for header in headers if header[0] not in named]


# Names of headers repeat: what is decided of one is kept.
@lru_cache(maxsize=1024)
def _reaches_engines(name: bytes) -> bool:
    return name not in _NOT_TO_ENGINES and not is_credential(name.decode("latin-1"))


@lru_cache(maxsize=1024)
def _reaches_clients(name: bytes) -> bool:
    return name not in _NOT_TO_CLIENTS and not name.startswith(b"access-control-")
