"""The bytes of HTTP/1.1 that the hot path writes: heads of responses, lines of headers, and chunks. Pure."""

from __future__ import annotations

from functools import lru_cache
from http import HTTPStatus

from sllm_actors.gateway.headers import Headers

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"

CHUNK_BEGINS = {len(b"%x" % size) + size + 4: b"%x\r\n" % size for size in range(1, 4096)}
"""How a chunk begins, by the bytes that it has as a whole: as many bytes that begin so, and end with the end
of a line, are that one chunk."""


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
    return b"%b%b%b\r\n" % (status_line(status), header_lines(headers), framing)


def chunk(data: bytes) -> bytes:
    """Return ``data``, which is not empty, as one chunk of the chunked transfer coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def header_lines(headers: Headers) -> bytes:
    """Return the lines of a head that these headers make."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])
