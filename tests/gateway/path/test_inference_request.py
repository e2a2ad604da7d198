"""What of a request is read, what is passed on, and the errors that the gateway makes itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.gateway.kit import served

from sllm_actors.api_error import ApiError
from sllm_actors.engines.external import ServerAccess
from sllm_actors.gateway import errors
from sllm_actors.gateway.headers import (
    find,
    for_client,
    for_engine,
    for_event_stream,
    is_event_stream,
    request_id_of,
)
from sllm_actors.gateway.path.inference_request import InferenceRequest, parse_request
from sllm_actors.gateway.routing.route import make_route

CHAT = "/v1/chat/completions"


def parse(body: bytes, path: str = CHAT, query: bytes = b"") -> InferenceRequest:
    return parse_request("r-1", path, query, [], body)


def request(path: str = CHAT, **document: Any) -> InferenceRequest:
    return parse(json.dumps({"model": "smol", **document}).encode(), path)


# ---- what is read


def test_what_routing_needs_is_read() -> None:
    found = parse(b'{"model": "smol", "backend": "vllm", "stream": true}', query=b"a=1")
    assert (found.model, found.backend, found.stream, found.target) == ("smol", "vllm", True, f"{CHAT}?a=1")
    assert not request(stream="yes").stream
    assert request().target == CHAT


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"{", "invalid_json", None),
        (b"\xff\xfe", "invalid_json", None),
        (b"[" * 100_000, "invalid_json", None),
        (b"[1]", "invalid_json", None),
        (b"{}", "model_required", "model"),
        (b'{"model": 7}', "model_required", "model"),
        (b'{"model": ""}', "model_required", "model"),
        (b'{"model": "smol", "backend": 7}', "invalid_request", "backend"),
    ],
)
def test_a_body_that_cannot_be_routed_is_refused(body: bytes, code: str, param: str | None) -> None:
    with pytest.raises(ApiError) as caught:
        parse(body)
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, code, param)


# ---- what is passed on


def test_only_llamacpp_is_streamed_behind_the_clients_back_and_only_where_that_can_be_put_together() -> None:
    llamacpp = make_route("smol:llamacpp", served(), [], patience=5)
    assert request().assembly(llamacpp) is not None
    assert request(stream=True).assembly(llamacpp) is None
    assert request(path="/v1/embeddings").assembly(llamacpp) is None
    assert request().assembly(make_route("smol:vllm", served(backend="vllm"), [], patience=5)) is None
    assert request().assembly(make_route("smol:llamacpp", None, [], patience=5)) is None


def test_a_body_is_passed_on_as_it_came_unless_something_must_differ() -> None:
    route = make_route("smol:llamacpp", served(), [], patience=5)
    same = parse(b'{ "model":"smol" }')
    assert same.body_for(route, assembled=False) is same.body
    assert same.body_for(make_route("x:vllm", None, [], patience=5), assembled=False) is same.body
    other = request(model="alias", n=1)
    assert json.loads(other.body_for(route, assembled=False)) == {"model": "smol", "n": 1}
    for options, kept in ((None, {}), ({"x": 1}, {"x": 1})):
        body = json.loads(request(stream_options=options).body_for(route, assembled=True))
        assert body["stream"] is True
        assert body["stream_options"] == {**kept, "include_usage": True}


def test_a_server_of_somebody_else_gets_its_own_name_for_the_model_and_no_key_of_ours() -> None:
    route = make_route("smol:external", served(backend="external"), [], patience=5)
    asked = request(model="smol", backend="external", n=1)
    assert json.loads(asked.body_for(route, ServerAccess("theirs"))) == {"model": "theirs", "n": 1}
    same = parse(b'{ "model":"smol" }')
    assert same.body_for(route, ServerAccess("smol")) is same.body


def test_headers_of_one_connection_and_secrets_stay_where_they_are() -> None:
    came = [
        (b"connection", b"x-hop, close"),
        (b"x-hop", b"1"),
        (b"authorization", b"Bearer k"),
        (b"x-a", b"1"),
    ]
    assert for_engine(came) == [(b"x-a", b"1")]
    answer = [
        (b"server", b"uvicorn"),
        (b"access-control-allow-origin", b"*"),
        (b"content-type", b"text/plain"),
    ]
    assert for_client(answer) == [(b"content-type", b"text/plain")]
    stream = for_event_stream([*answer, (b"content-length", b"7"), (b"x-a", b"1")])
    assert find(stream, b"content-type") == b"text/event-stream; charset=utf-8"
    assert find(stream, b"content-length") is None
    assert find(stream, b"x-a") == b"1"
    assert is_event_stream(stream)
    assert not is_event_stream(answer)
    assert not is_event_stream([])


@pytest.mark.parametrize(
    ("value", "found"),
    [(b"req-1.a:b_c", "req-1.a:b_c"), (b"with space", None), (b"x" * 129, None), (b"", None)],
)
def test_a_clients_request_id_is_kept_when_it_is_sane(value: bytes, found: str | None) -> None:
    assert request_id_of([(b"x-request-id", value)]) == found
    assert request_id_of([]) is None


# ---- errors


@pytest.mark.parametrize(
    ("error", "status", "code", "retry_after"),
    [
        (errors.bad_request("x"), 400, "invalid_request", None),
        (errors.invalid_key(), 401, "invalid_api_key", None),
        (errors.foreign_host("Origin"), 403, "forbidden_host", None),
        (errors.model_not_found("m" * 300), 404, "model_not_found", None),
        (errors.not_found("no such instance"), 404, "not_found", None),
        (errors.ambiguous_model("m" * 300, ["m:a", "m:b"]), 409, "model_ambiguous", None),
        (errors.body_too_slow(), 408, "body_timeout", None),
        (errors.body_too_large(10), 413, "body_too_large", None),
        (errors.hold_queue_full("d", 1), 429, "hold_queue_full", b"5"),
        (errors.internal(), 500, "internal_error", None),
        (errors.engine_broke("d", "reset"), 502, "engine_broke", b"1"),
        (errors.replicas_failed("d", "", None), 503, "replicas_failed", b"30"),
        (errors.replicas_failed("d", "no GPU", 0.1), 503, "replicas_failed", b"1"),
        (errors.no_place("d", "no GPU"), 503, "no_place", b"30"),
        (errors.overloaded(), 503, "overloaded", b"1"),
        (errors.head_away("silent"), 503, "head_unavailable", b"1"),
        (errors.worker_away("silent"), 503, "worker_unavailable", b"1"),
        (errors.hold_queue_full("d", 1, 7.2), 429, "hold_queue_full", b"8"),
        (errors.hold_queue_full("d", 1, 900.0), 429, "hold_queue_full", b"60"),
        (errors.held_too_long("d"), 503, "cold_start_timeout", b"10"),
        (errors.held_too_long("d", 0.1), 503, "cold_start_timeout", b"1"),
        (errors.queued_too_long("d"), 429, "queue_timeout", b"5"),
        (errors.engine_silent("d", 2.5), 504, "engine_silent", None),
        (errors.not_streamed(), 502, "engine_did_not_stream", None),
        (errors.server_unreachable("d", "no route"), 503, "server_unreachable", b"5"),
        (errors.gateway_stopping(), 503, "gateway_stopping", b"1"),
        (errors.too_many_connections(10), 503, "too_many_connections", b"1"),
        (errors.out_of_descriptors("none left"), 503, "out_of_descriptors", b"1"),
        (errors.no_room("d", "64 tunnels"), 503, "overloaded", b"1"),
        (errors.loop_detected(), 508, "loop_detected", None),
    ],
    ids=lambda value: value.code if isinstance(value, ApiError) else "",
)
def test_an_error_has_openais_shape(
    error: ApiError, status: int, code: str, retry_after: bytes | None
) -> None:
    shown = json.loads(error.body)["error"]
    assert (error.status, shown["code"], shown["message"]) == (status, code, str(error))
    assert len(shown["message"]) < 400
    assert shown["type"].endswith("_error")
    assert find(error.headers, b"retry-after") == retry_after
    assert find(error.headers, b"www-authenticate") == (b"Bearer" if status == 401 else None)
    assert error.event == b"data: " + error.body + b"\n\n"


def test_an_error_that_somebody_else_made_is_passed_on_whole() -> None:
    detail = {"message": "theirs", "code": 7}
    assert json.loads(ApiError(400, "x", "ours", detail=detail).body) == {"error": detail}
