"""Which headers are passed on, and the id of a request."""

from __future__ import annotations

import re
from collections.abc import Iterable

Headers = list[tuple[bytes, bytes]]

# RFC 9110, 7.6.1: they speak of one connection, not of the request.
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
# The gateway sets these itself, or they are between it and its client.
_NOT_TO_ENGINES = HOP_BY_HOP | {
    b"host",
    b"content-length",
    b"accept-encoding",
    b"authorization",
    b"cookie",
    b"expect",
    b"origin",
    b"x-request-id",
}
_NOT_TO_CLIENTS = HOP_BY_HOP | {b"date", b"server", b"x-request-id", b"set-cookie"}
_EVENT_STREAM: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]

_SANE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


def find(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """Return the first value of a header, by its name in lower case."""
    for key, value in headers:
        if key == name:
            return value
    return None


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the id that a client gave its request, unless it is longer or stranger than an id need be."""
    value = find(headers, b"x-request-id")
    return value.decode() if value is not None and _SANE_ID.fullmatch(value) else None


def for_engine(headers: Headers) -> Headers:
    """Return what an engine gets of a client's headers."""
    return _without(headers, _NOT_TO_ENGINES)


def for_client(headers: Headers) -> Headers:
    """Return what a client gets of an engine's headers."""
    return [
        (name, value)
        for name, value in _without(headers, _NOT_TO_CLIENTS)
        if not name.startswith(b"access-control-")
    ]


def for_event_stream(headers: Headers) -> Headers:
    """Return the headers of a stream of events, made from an engine's."""
    ours = {b"cache-control", b"x-accel-buffering", b"content-type", b"content-length"}
    return [(name, value) for name, value in for_client(headers) if name not in ours] + _EVENT_STREAM


def is_event_stream(headers: Headers) -> bool:
    """Say whether a response is a stream of server-sent events."""
    kind = find(headers, b"content-type")
    return kind is not None and kind.partition(b";")[0].strip().lower() == b"text/event-stream"


def _without(headers: Headers, names: frozenset[bytes] | set[bytes]) -> Headers:
    named: set[bytes] = set()
    for name, value in headers:
        if name == b"connection":
            named.update(token.strip().lower() for token in value.split(b","))
    return [(name, value) for name, value in headers if name not in names and name not in named]
