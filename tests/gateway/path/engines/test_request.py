"""What an engine gets of a client's request."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.gateway.kit import served

from sllm_actors.engines.external import ServerAccess
from sllm_actors.gateway.headers import Headers
from sllm_actors.gateway.path.clients.request_head import RequestHead
from sllm_actors.gateway.path.engines.request import LARGEST_DIGESTED, EngineRequest
from sllm_actors.gateway.path.engines.target import Target
from sllm_actors.gateway.path.reading import read_request
from sllm_actors.gateway.routing.route import Route

ROUTE = Route("smol:llamacpp", served())
CHAT = b'{"model": "smol",  "n": 1e400}'


def request_for(
    body: bytes = CHAT,
    *headers: tuple[bytes, bytes],
    query: bytes = b"",
    path: bytes = b"/v1/chat/completions",
) -> EngineRequest:
    all_headers: Headers = [(b"host", b"gateway"), (b"content-type", b"application/json"), *headers]
    head = RequestHead("POST", path, query, all_headers)
    return EngineRequest(head, read_request(head, body, 10**9), b"me")


def test_the_head_has_the_clients_headers_but_for_what_concerns_the_gateway() -> None:
    made = request_for(
        CHAT, (b"authorization", b"Bearer secret"), (b"x-a", b"b"), (b"x-request-id", b"id-1"), query=b"a=b"
    )
    lines = made.head_for(Target(), ROUTE, None, 5).split(b"\r\n")
    assert lines[0] == b"POST /v1/chat/completions?a=b HTTP/1.1"
    assert lines[-2:] == [b"", b""]
    assert sorted(lines[1:-2]) == [
        b"content-length: 5",
        b"content-type: application/json",
        b"host: engine",
        b"x-a: b",
        b"x-request-id: id-1",
        b"x-sllm-hops: me",
    ]


def test_the_targets_own_headers_and_its_prefix_win() -> None:
    target = Target(b"api.test", b"/base", ((b"x-a", b"ours"), (b"authorization", b"Bearer key")))
    head = request_for(CHAT, (b"x-a", b"theirs"), (b"x-sllm-hops", b"other")).head_for(target, ROUTE, None, 0)
    assert head.startswith(b"POST /base/v1/chat/completions HTTP/1.1\r\nhost: api.test\r\n")
    assert b"x-a: ours\r\n" in head
    assert b"theirs" not in head
    assert b"authorization: Bearer key\r\n" in head
    assert b"other" in head.partition(b"x-sllm-hops: ")[2]
    assert b"content-length: 0\r\n" in head


def test_a_body_stays_byte_for_byte_unless_a_key_has_to_differ() -> None:
    made = request_for()
    assert made.body_for(ROUTE, None, assembled=False) == CHAT
    server = ServerAccess(model="theirs")
    assert made.body_for(ROUTE, server, assembled=False) == CHAT.replace(b"smol", b"theirs")
    assert made.body_for(Route("smol:llamacpp"), None, assembled=False) == CHAT
    assert not made.is_form


def test_a_server_does_not_get_the_name_of_a_backend() -> None:
    made = request_for(b'{"model": "smol", "backend": "llamacpp"}')
    assert json.loads(made.body_for(ROUTE, ServerAccess(), assembled=False)) == {"model": "smol"}
    assert b"backend" in made.body_for(ROUTE, None, assembled=False)


@pytest.mark.parametrize("server", [None, ServerAccess()])
def test_nobody_gets_how_long_a_model_is_to_stay_and_all_else_stays_byte_for_byte(
    server: ServerAccess | None,
) -> None:
    body = b'{"keep_alive": "5m", "model": "smol",  "x": 1.0, "keep_alive": %b}'
    for wish in (b"0", b"null", b'"1h"'):
        made = request_for(body % wish).body_for(ROUTE, server, assembled=False)
        assert made == b'{"model": "smol",  "x": 1.0}'


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (None, {"include_usage": True}),
        ({"include_usage": False, "a": 1}, {"include_usage": True, "a": 1}),
        ([1], {"include_usage": True}),
    ],
)
def test_an_answer_that_is_to_be_assembled_is_asked_for_as_a_stream_with_its_usage(
    options: Any, expected: Any
) -> None:
    document: Any = {"model": "smol", "stream": False}
    if options is not None:
        document["stream_options"] = options
    body = json.loads(request_for(json.dumps(document).encode()).body_for(ROUTE, None, assembled=True))
    assert (body["stream"], body["stream_options"]) == (True, expected)


def test_a_digest_is_made_once_of_path_and_body_and_of_no_large_one() -> None:
    made = request_for()
    assert made.digest is made.digest is not None
    assert made.digest == request_for().digest
    assert made.digest != request_for(b'{"model": "smol"}').digest
    large = b'{"model": "smol", "x": "%b"}' % (b"x" * LARGEST_DIGESTED)
    assert request_for(large).digest is None


def test_a_request_without_a_body_names_the_model_as_the_engine_does_and_has_no_length() -> None:
    head = RequestHead("GET", b"/v1/files", b"model=smol%3Allamacpp&a=b", [])
    made = EngineRequest(head, read_request(head, b"", 100), b"me")
    sent = made.head_for(Target(), ROUTE, None, 0)
    assert sent.startswith(b"GET /v1/files?model=smol&a=b HTTP/1.1\r\n")
    assert b"content-length" not in sent
    assert b"model=theirs&" in made.head_for(Target(), ROUTE, ServerAccess(model="theirs"), 0)
    assert b"model=smol%3Allamacpp&" in made.head_for(Target(), Route("smol:llamacpp"), None, 0)
