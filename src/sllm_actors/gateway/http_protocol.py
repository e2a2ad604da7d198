"""What uvicorn leaves open in HTTP/1.1: a bound on headers, and requests that ask for another protocol."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST_HEAD = 64 * 2**10


class BoundedHttp(HttpToolsProtocol):
    """Refuses a request whose head is too large.

    A request with ``Upgrade: h2c`` (Java's client sends that first) stays an ordinary one.
    """

    _head = 0

    def on_message_begin(self) -> None:
        """A request begins."""
        self._head = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._count(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self._count(name, value)
        super().on_header(name, value)

    def _count(self, *pieces: bytes) -> None:
        self._head += sum(len(piece) for piece in pieces)
        if self._head > LARGEST_HEAD:
            raise ValueError(f"the head of a request may have {LARGEST_HEAD} bytes")
