"""A request that asks for another protocol is read as if it did not."""

from __future__ import annotations

import httptools
import pytest

from sllm_actors.gateway.headers import Headers
from sllm_actors.gateway.path.clients.upgrade import head_without_upgrade

HEAD = (
    b"POST /v1/completions?a=b HTTP/1.1\r\nhost: here\r\nconnection: Upgrade, HTTP2-Settings\r\n"
    b"upgrade: h2c\r\nhttp2-settings: AAMA\r\ncontent-length: 4\r\n\r\n"
)


class Reader:
    """What a parser has read."""

    def __init__(self) -> None:
        self.url = self.body = b""
        self.headers: Headers = []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, data: bytes) -> None:
        self.body += data


def test_a_second_parser_reads_the_same_head_without_upgrade_and_then_the_body() -> None:
    first, second = Reader(), Reader()
    stopped = httptools.HttpRequestParser(first)
    with pytest.raises(httptools.HttpParserUpgrade):
        stopped.feed_data(HEAD + b"body")
    head = head_without_upgrade(stopped, first.url, first.headers)
    assert head == HEAD.replace(b"upgrade: h2c\r\n", b"")
    parser = httptools.HttpRequestParser(second)
    parser.feed_data(head)
    parser.feed_data(b"body")
    assert (second.url, second.body) == (b"/v1/completions?a=b", b"body")
