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

    _reading_head = True
    _head_size = 0

    def data_received(self, data: bytes) -> None:
        """Bytes came. An upgrade is looked for where a request begins, in one piece with its whole head."""
        if self._reading_head and (b"pgrade" in data or b"PGRADE" in data):
            head, separator, rest = data.partition(b"\r\n\r\n")
            if separator:
                data = _UPGRADE.sub(b"", head) + separator + rest
        self._head_size += len(data)
        super().data_received(data)
        if self._reading_head and self._head_size > LARGEST_HEAD and not self.transport.is_closing():
            self.send_400_response(f"The head of a request may have {LARGEST_HEAD} bytes.")

    def on_headers_complete(self) -> None:
        """The head of a request has come whole."""
        self._reading_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """A request has come whole. What comes with its end of the next one does not count for that one."""
        self._reading_head = True
        self._head_size = 0
        super().on_message_complete()
