"""What a client gets of an answer does not depend on how its bytes came."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.api_error import ApiError
from sllm_actors.gateway.headers import Headers
from sllm_actors.gateway.path.answers.assembly import ChatAssembly
from sllm_actors.gateway.path.answers.relays import HELD_WHOLE, Relay, as_error, relay_for
from sllm_actors.gateway.path.clients.request_head import RequestHead
from sllm_actors.gateway.path.engines.broke import EngineBroke

HEAD = RequestHead("POST", b"/v1/chat/completions", b"", [])
JSON: Headers = [(b"content-type", b"application/json"), (b"x-a", b"b"), (b"content-length", b"50")]
SSE: Headers = [(b"content-type", b"text/event-stream")]
LIMIT = 5000

TEXT = b'data: {"model": "theirs", "choices": [{"index": 0, "delta": {"content": "hello"}}]}\n\n'
STOP = b'data: {"model": "theirs", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\r\n\r\n'
DONE = b"data: [DONE]\n\n"
STREAM = b": hello\n\n" + TEXT * 3 + STOP + DONE
DOCUMENT = b'{"a": [1, {"model": "no"}], "model": "theirs"}'
CHAT = ChatAssembly


def make(status: int, headers: Headers, **more: object) -> Relay:
    options: dict[str, object] = {"assembly": None, "name": None, "in_stream": False, "limit": LIMIT}
    return relay_for(status, headers, head=HEAD, **(options | more))  # type: ignore[arg-type]


RELAYS: dict[str, tuple[Callable[[], Relay], bytes, bytes]] = {
    "whole": (lambda: make(200, JSON), DOCUMENT, DOCUMENT),
    "events": (lambda: make(200, SSE), STREAM, STREAM),
    "renamed": (lambda: make(200, JSON, name="ours"), DOCUMENT, DOCUMENT.replace(b"theirs", b"ours")),
    "renamed events": (lambda: make(200, SSE, name="ours"), STREAM, STREAM.replace(b"theirs", b"ours")),
}

cuts = st.lists(st.integers(0, len(STREAM)), max_size=12)


def split(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(place, len(data)) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges) if a < b]


def passed(relay: Relay, pieces: list[bytes]) -> bytes:
    out = b""
    for piece in pieces:
        out += relay.feed(piece)
        if relay.events:
            assert relay.midway or out.endswith((b"\n\n", b"\r\n\r\n")) or not out
    return out + relay.end()


@pytest.mark.slow
@pytest.mark.parametrize("kind", RELAYS)
@given(places=cuts)
def test_any_split_of_an_answer_gives_the_same_bytes(kind: str, places: list[int]) -> None:
    new, data, expected = RELAYS[kind]
    assert passed(new(), split(data, places)) == expected


@given(places=cuts)
def test_any_split_of_a_stream_is_assembled_to_the_same_answer(places: list[int]) -> None:
    relay = make(200, SSE, assembly=CHAT())
    answer = json.loads(passed(relay, split(STREAM, places)))
    assert answer["choices"][0]["message"]["content"] == "hello" * 3
    assert (relay.status, relay.events, dict(relay.headers)[b"content-type"]) == (
        200,
        False,
        b"application/json; charset=utf-8",
    )


@given(places=cuts)
def test_any_split_of_an_error_within_a_stream_of_the_client_is_the_same_error(places: list[int]) -> None:
    body = b'{"error": {"message": "no", "code": 422}}'
    relay = make(422, JSON, in_stream=True)
    with pytest.raises(ApiError) as caught:
        passed(relay, split(body, places))
    assert (caught.value.status, caught.value.detail) == (422, {"message": "no", "code": 422})


@pytest.mark.parametrize("assembly", [None, CHAT])
@given(places=cuts)
def test_a_stream_without_its_last_event_is_broken(
    assembly: type[ChatAssembly] | None, places: list[int]
) -> None:
    data = STREAM.removesuffix(DONE).removesuffix(STOP)
    relay = make(200, SSE, assembly=None if assembly is None else assembly())
    with pytest.raises(EngineBroke, match="too early"):
        passed(relay, split(data, places))


@given(places=cuts, code=st.sampled_from([500, 503, None]))
def test_a_stream_whose_first_event_is_an_error_of_the_engine_is_broken(
    places: list[int], code: int | None
) -> None:
    error = b'data: {"error": {"message": "it died", "code": %b}}\n\n' % json.dumps(code).encode()
    with pytest.raises(EngineBroke, match="it said: it died"):
        passed(make(200, SSE), split(error + DONE, places))


def test_an_error_that_is_the_clients_or_comes_later_is_passed_on() -> None:
    ours = b'data: {"error": {"message": "no", "code": 400}}\n\n'
    theirs = b'data: {"error": {"message": "no", "code": 500}}\n\n'
    assert passed(make(200, SSE), [ours, DONE]) == ours + DONE
    assert passed(make(200, SSE), [TEXT, theirs, DONE]) == TEXT + theirs + DONE


def test_a_whole_answer_tells_its_length_and_is_passed_on_when_it_gets_too_large() -> None:
    relay = make(200, JSON)
    assert (relay.length, relay.headers, relay.events) == (50, JSON[:2], False)
    assert make(404, JSON[:1]).length is None
    piece = bytes(HELD_WHOLE // 2)
    assert [len(relay.feed(each)) for each in (piece, piece, b"x", b"y")] == [0, 0, 2 * len(piece) + 1, 1]
    assert relay.end() == b""


@pytest.mark.parametrize("more", [{"name": "ours"}, {"in_stream": True}])
def test_what_has_to_be_held_whole_is_bounded(more: dict[str, object]) -> None:
    relay = make(200, JSON, **more)
    relay.feed(bytes(LIMIT))
    with pytest.raises(EngineBroke, match="over 5000 bytes") as caught:
        relay.feed(b"x")
    assert caught.value.final
    relay = make(200, SSE, assembly=CHAT())
    with pytest.raises(EngineBroke, match="over 5000 bytes"):
        relay.feed(bytes(LIMIT + 1))


def test_one_document_for_a_client_of_a_stream_becomes_an_error() -> None:
    relay = make(200, JSON, in_stream=True)
    relay.feed(DOCUMENT)
    with pytest.raises(ApiError, match="stream"):
        relay.end()


def test_events_that_cannot_be_assembled_break_the_answer_and_errors_end_it() -> None:
    with pytest.raises(EngineBroke, match="not JSON"):
        make(200, SSE, assembly=CHAT()).feed(b"data: {\n\n")
    with pytest.raises(ApiError) as caught:
        make(200, SSE, assembly=CHAT()).feed(b'data: {"error": {"code": 429}}\n\n')
    assert caught.value.status == 429
    relay = make(200, SSE, assembly=CHAT())
    assert relay.feed(b"data: [1]\n\n") == b""  # no object: nothing that is known


@pytest.mark.parametrize(
    ("status", "body", "expected", "detail"),
    [
        (400, b'{"error": {"code": 500}}', 400, {"code": 500}),
        (502, b'{"error": {"code": 404}}', 404, {"code": 404}),
        (502, b'{"error": {"code": 200}}', 502, {"code": 200}),
        (502, b'{"error": {"code": "x"}}', 502, {"code": "x"}),
        (
            500,
            b'{"error": "no"}',
            500,
            {"message": "no", "type": "engine_error", "param": None, "code": "engine_error"},
        ),
        (500, b'{"error": ""}', 500, None),
        (500, b"[]", 500, None),
        (500, b"<html>", 500, None),
        (500, b"[" * 100_000, 500, None),
    ],
)
def test_an_engines_error_keeps_what_it_says(status: int, body: bytes, expected: int, detail: object) -> None:
    error = as_error(status, body)
    assert (error.status, error.code, error.detail) == (expected, "engine_error", detail)
