"""What uvicorn leaves open in HTTP/1.1: a bound on headers, and requests that ask for another protocol."""

from __future__ import annotations

import re

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST_HEAD = 64 * 2**10

_UPGRADE = re.compile(rb"\r\nupgrade:[^\r\n]*", re.IGNORECASE)


class BoundedHttp(HttpToolsProtocol):
    """Refuses a request whose head is too large, and serves one that asks for an upgrade as if it did not.

    Java's client sends ``Upgrade: h2c`` with its first request; the parser would end such a request at its
    head, and its body would be lost.
    """

    _head = 0
    _between = True

    def data_received(self, data: bytes) -> None:
        """Bytes came. An upgrade is looked for where a request begins, in one piece with its whole head."""
        if self._between and (b"pgrade" in data or b"PGRADE" in data):
            head, separator, rest = data.partition(b"\r\n\r\n")
            if separator:
                data = _UPGRADE.sub(b"", head) + separator + rest
        super().data_received(data)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._head = 0
        self._between = False
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """A request has come whole."""
        self._between = True
        super().on_message_complete()

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
