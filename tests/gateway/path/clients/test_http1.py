"""The bytes of heads and chunks."""

from __future__ import annotations

from sllm_actors.gateway.path.clients.http1 import chunk, header_lines, response_head, status_line


def test_a_head_has_its_lines_in_order_and_one_empty_line_at_its_end() -> None:
    head = response_head(200, [(b"x-a", b"b"), (b"x-a", b"c")], b"content-length: 5\r\n")
    assert head == b"HTTP/1.1 200 OK\r\nx-a: b\r\nx-a: c\r\ncontent-length: 5\r\n\r\n"
    assert header_lines([]) == b""


def test_a_status_that_nobody_has_named_has_no_phrase() -> None:
    assert status_line(404) == b"HTTP/1.1 404 Not Found\r\n"
    assert status_line(499) == b"HTTP/1.1 499 \r\n"


def test_a_chunk_tells_its_size_in_hexadecimal() -> None:
    assert chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
