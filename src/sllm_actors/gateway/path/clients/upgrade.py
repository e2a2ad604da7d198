"""Reading a request that asks to change to another protocol as if it did not. Pure.

A server may ignore ``Upgrade`` (RFC 9110, 7.8), but httptools ends such a request at its head, and its body
would be lost. So a second parser reads the head without it, and then the body. Java's client sends
``Upgrade: h2c`` with its first request.
"""

from __future__ import annotations

import httptools

from sllm_actors.gateway.headers import Headers


def head_without_upgrade(stopped: httptools.HttpRequestParser, url: bytes, headers: Headers) -> bytes:
    """Return the head of a request but for ``Upgrade``.

    Args:
        stopped: The parser that has read the head and stopped there.
        url: The target of the request.
        headers: Its headers, with names in lower case.
    """
    method, version = stopped.get_method(), stopped.get_http_version().encode()
    lines = b"".join(b"%b: %b\r\n" % each for each in headers if each[0] != b"upgrade")
    return b"%b %b HTTP/%b\r\n%b\r\n" % (method, url, version, lines)
