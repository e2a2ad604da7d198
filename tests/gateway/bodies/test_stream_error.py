"""An error that an engine tells under the status 200 is noticed, in every dialect."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.gateway.bodies.stream_error import StreamError, error_in

DEAD = b'data: {"error":{"message":"EngineCore died","type":"InternalServerError","code":500}}'


@pytest.mark.parametrize(
    ("events", "found"),
    [
        (DEAD + b"\n\ndata: [DONE]\n\n", StreamError(500, "EngineCore died")),
        (b'data: {"choices":[]}\r\n\r\n' + DEAD + b"\r\n\r\n", StreamError(500, "EngineCore died")),
        (b'data: {"choices":[]}\r\r' + DEAD + b"\r\r", StreamError(500, "EngineCore died")),
        (b'data: {"error":"Unauthorized"}\n\n', StreamError(None, "Unauthorized")),
        (b'data: {"error":7}\n\n', StreamError(None, "")),
        (b'data: {"error":{"code":"x","message":1}}\n\n', StreamError(None, "")),
        (
            b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"m"}}\n\n',
            StreamError(None, "m"),
        ),
        (b'event: error\ndata: {"type":"error","code":"c","message":"m"}\n\n', StreamError(None, "m")),
        (
            b'data: {"type":"response.failed","response":{"error":{"code":"c","message":"m"}}}\n\n',
            StreamError(None, "m"),
        ),
        (b'data: {"error":null,"choices":[]}\n\n', None),
        (b'data: {"type":"response.created","response":{"error":null}}\n\n', None),
        (b'data: {"type":"response.failed","response":{"error":null}}\n\n', None),
        (b'data: {"type":"response.failed","response":"error"}\n\n', None),
        (b'data: {"choices":[{"delta":{"content":"{\\"error\\":1}"}}]}\n\n', None),
        (b'data: {"choices":[{"delta":{"error":"x"}}]}\n\n', None),
        (b'data: {"error":\n\n', None),
        (b': data: {"error":1}\n\n', None),
        (b'event: "error"\ndata: {"choices":[]}\n\n', None),
        (b"", None),
    ],
)
def test_an_error_is_found_where_there_is_one(events: bytes, found: StreamError | None) -> None:
    assert error_in(events) == found


@given(st.binary(max_size=40))
def test_arbitrary_bytes_do_no_harm(data: bytes) -> None:
    error_in(b'data: {"error":' + data)
