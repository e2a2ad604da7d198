"""A stream that was told to its end is known from one that was cut off, however its bytes come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.gateway.bodies.dialects import CHAT, MESSAGES, OTHER, RESPONSES, Dialect
from sllm_actors.gateway.bodies.stream_end import StreamEnd

CHUNK = b'data: {"choices":[{"delta":{"content":"data: [DONE]\\n\\nevent: message_stop"}}]}\n\n'
LAST = b'event: response.%s\ndata: {"response":{"id":"r","output":["%s"]},"type":"response.%s"}\n\n'


def completed(how: bytes, text: bytes = b"") -> bytes:
    return LAST % (how, text, how)


def ended(dialect: Dialect, *pieces: bytes) -> bool:
    end = StreamEnd(dialect)
    for piece in pieces:
        end.feed(piece)
    return end.ended


WHOLE = [
    (CHAT, CHUNK + b"data: [DONE]\n\n"),
    (CHAT, CHUNK + b"data:[DONE]\r\n\r\n"),
    (CHAT, CHUNK.replace(b"\n", b"\r") + b"data: [DONE]\r\r"),
    (CHAT, b"data: [DONE]\n\n"),
    (CHAT, CHUNK + b"data: [DONE]"),
    (CHAT, CHUNK + b"data: [DONE]\n\n: a comment\n\n"),
    (MESSAGES, CHUNK + b'event: message_stop\ndata: {"type":"message_stop"}\n\n'),
    (MESSAGES, CHUNK + b'event: message_stop\r\ndata: {"type":"message_stop"}\r\n\r\n'),
    (MESSAGES, b'data: { "type" : "message_stop", "usage": {}}\n\n'),
    (RESPONSES, CHUNK + completed(b"completed")),
    (RESPONSES, CHUNK + completed(b"incomplete", b"x" * 5000)),
    (RESPONSES, completed(b"failed").replace(b"\n", b"\r\n")),
    (OTHER, b"anything"),
    (OTHER, b""),
]


@pytest.mark.parametrize(("dialect", "stream"), WHOLE)
def test_a_stream_that_says_so_has_ended(dialect: Dialect, stream: bytes) -> None:
    assert ended(dialect, stream)


@pytest.mark.parametrize(("dialect", "stream"), WHOLE)
@given(data=st.data())
def test_it_has_in_any_pieces(dialect: Dialect, stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert ended(dialect, *pieces)
    assert ended(dialect, *(bytes([each]) for each in stream[-300:])) == ended(dialect, stream[-300:])


@pytest.mark.parametrize(
    ("dialect", "stream"),
    [
        (CHAT, b""),
        (CHAT, CHUNK),
        (CHAT, CHUNK + b"data: [DON"),
        (CHAT, CHUNK + b': data: [DONE]\n\nx: "[DONE]"\n\n'),
        (MESSAGES, CHUNK + b"data: [DONE]\n\n"),
        (MESSAGES, CHUNK + b'event: message_stop\ndata: {"type":"message_stop"}\n'),
        (MESSAGES, CHUNK + b"event: message_stopped\n\n"),
        (MESSAGES, CHUNK + b"event: message_stop"),
        (RESPONSES, CHUNK + completed(b"completed")[:-2]),
        (RESPONSES, CHUNK + completed(b"in_progress")),
        (RESPONSES, b'event: response.output_text.delta\ndata: {"delta":"response.completed"}\n\n'),
    ],
)
def test_a_stream_that_was_cut_off_has_not(dialect: Dialect, stream: bytes) -> None:
    assert not ended(dialect, stream)
    assert not ended(dialect, *(bytes([each]) for each in stream))
