"""Reading answers: of any server, in any pieces, with whatever goes wrong in them."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.loadgen.client import answer
from sllm_actors.loadgen.client.answer import AnswerReader


def event(**delta: Any) -> bytes:
    return f"data: {json.dumps({'choices': [{'index': 0, 'delta': delta}]})}\n\n".encode()


USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 21, "completion_tokens": 9}}\n\n'
DONE = b"data: [DONE]\n\n"


def streamed(*pieces: bytes, status: int = 200) -> AnswerReader:
    """Read a stream whose pieces come a second apart, from 1 on."""
    reader = AnswerReader(streamed=True)
    for now, piece in enumerate(pieces, 1):
        reader.feed(status, piece, float(now))
    reader.finish(status)
    return reader


def whole(body: bytes, status: int = 200) -> AnswerReader:
    reader = AnswerReader(streamed=False)
    reader.feed(status, body, 1.0)
    reader.finish(status)
    return reader


def test_tokens_are_timed_and_what_has_none_is_not() -> None:
    reader = streamed(
        event(role="assistant", content=""),
        event(content="Hel"),
        b": ping\n\n",
        event(content="lo"),
        USAGE,
        DONE,
    )
    assert (reader.first, reader.last, reader.gaps, reader.events) == (2.0, 4.0, [2.0], 2)
    assert (reader.input_tokens, reader.output_tokens, reader.text) == (21, 9, "Hello")
    assert reader.error is None


@pytest.mark.parametrize(
    ("said", "hold"),
    [
        (b"hold;dur=1500.5", 1.5005),
        (b"db;dur=53, hold; desc=x; dur=20", 0.02),
        (b'cache;desc="hold;dur=7", HOLD;DUR="1",hold;dur=2', 0.003),
        (b"threshold;dur=9, hold", None),
        (b"hold;dur=x, hold;dur=-1", None),
    ],
)
def test_a_server_says_how_long_it_held_the_request(said: bytes, hold: float | None) -> None:
    reader = AnswerReader(streamed=True)
    reader.take_hold(said)
    assert reader.hold == hold


def test_a_stream_that_began_early_says_in_a_comment_how_long_its_request_was_held() -> None:
    reader = streamed(b": waiting: place 1 of 1\n\n: hold;dur=2000.0\n\n", event(content="a"), DONE)
    assert reader.hold == 2.0
    assert streamed(event(content="a"), DONE).hold is None


def test_where_the_server_counts_no_tokens_events_are_counted() -> None:
    reader = streamed(event(content="a"), event(content="b") + DONE)
    assert (reader.output_tokens, reader.input_tokens, reader.error) == (2, 0, None)


@pytest.mark.parametrize(
    "delta",
    [{"reasoning_content": "so"}, {"reasoning": "so"}, {"tool_calls": [{"index": 0}]}, {"content": "so"}],
)
def test_thoughts_and_tool_calls_are_tokens_too(delta: dict[str, Any]) -> None:
    assert streamed(event(**delta), DONE).first == 1.0


def test_a_completion_has_its_text_in_the_choice() -> None:
    reader = streamed(b'data: {"choices": [{"text": "a"}]}\r\n\r\n', DONE)
    assert (reader.first, reader.text) == (1.0, "a")


@given(st.lists(st.integers(0, 400), max_size=12))
def test_any_split_of_a_stream_is_read_alike(cuts: list[int]) -> None:
    data = b"".join([event(content="é"), b": c\r\n\r\n", event(content="b"), USAGE, DONE])
    places = [0, *sorted(min(each, len(data)) for each in cuts), len(data)]
    reader = streamed(*(data[begin:end] for begin, end in pairwise(places)))
    assert (reader.events, reader.text, reader.output_tokens, reader.error) == (2, "éb", 9, None)


def test_an_answer_that_is_not_streamed_has_its_usage() -> None:
    body = {
        "choices": [{"message": {"content": "Hi"}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    }
    reader = whole(json.dumps(body).encode())
    assert (reader.first, reader.text, reader.input_tokens, reader.output_tokens) == (None, "Hi", 3, 2)
    assert reader.error is None


@pytest.mark.parametrize(
    ("body", "error", "reason"),
    [
        (b'{"error": {"code": "rate_limit", "message": "slow  down"}}', "HTTP 429 rate_limit", "slow down"),
        (b'{"error": {"code": 429, "message": "slow"}}', "HTTP 429", "slow"),
        (b'{"error": "slow"}', "HTTP 429", "slow"),
        (b'{"detail": "slow"}', "HTTP 429", "slow"),
        (b'["slow"]', "HTTP 429", "['slow']"),
        (b"<html>slow", "HTTP 429", "<html>slow"),
        (b"\xff", "HTTP 429", "�"),
        (b"", "HTTP 429", ""),
    ],
)
def test_a_refusal_is_told_by_its_code(body: bytes, error: str, reason: str) -> None:
    for reader in (whole(body, 429), streamed(body, status=429)):
        assert (reader.error, reader.reason) == (error, reason)


def test_a_stream_that_stops_is_not_whole() -> None:
    assert streamed(event(content="a")).error == "stream cut short"
    assert streamed(event(content="a"), b"data: [DO").error == "stream cut short"


def test_an_error_inside_an_answer_is_one() -> None:
    said = b'{"error": {"message": "the engine died"}}'
    inside = streamed(event(content="a"), b"data: " + said + b"\n\n", DONE)
    assert (inside.error, inside.reason) == ("error in the stream", "the engine died")
    assert (whole(said).error, whole(said).reason) == ("error", "the engine died")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"choices": 3}', b'{"usage": {"prompt_tokens": "x"}}', b"\xff"]
)
def test_what_is_no_answer_is_malformed(body: bytes) -> None:
    assert whole(body).error == "malformed answer"
    assert streamed(b"data: " + body + b"\n\n", DONE).error == "malformed answer"


def test_an_answer_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer, "LARGEST", 100)
    assert whole(b" " * 101).error == "answer too long"
    assert streamed(b"data: " + b" " * 101).error == "answer too long"
