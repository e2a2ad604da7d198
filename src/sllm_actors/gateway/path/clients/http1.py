"""The bytes of HTTP/1.1 that the hot path writes: heads of responses and of requests, and chunks. Pure."""

from __future__ import annotations

from functools import lru_cache
from http import HTTPStatus

from sllm_actors.gateway.headers import Headers

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


@lru_cache(maxsize=1024)
def status_line(status: int) -> bytes:
    """Return the first line of a response, with the end of the line."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


def response_head(status: int, headers: Headers, framing: bytes) -> bytes:
    """Return the head of a response.

    Args:
        status: The HTTP status.
        headers: The headers that do not concern the connection.
        framing: Further whole lines of the head: how the body is framed, and what becomes of the connection.
    """
    lines = [b"%b: %b\r\n" % header for header in headers]
    return b"%b%b%b\r\n" % (status_line(status), b"".join(lines), framing)


def chunk(data: bytes) -> bytes:
    """Return ``data``, which is not empty, as one chunk of the chunked transfer coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def request_head(method: str, target: bytes, headers: Headers, length: int | None) -> bytes:
    """Return the head of a request whose body has ``length`` bytes, or which has none."""
    lines = [b"%b: %b\r\n" % header for header in headers]
    if length is not None:
        lines.append(b"content-length: %d\r\n" % length)
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (method.encode(), target, b"".join(lines))
