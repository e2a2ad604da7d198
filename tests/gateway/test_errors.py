"""Every error that the gateway makes itself, as clients get it."""

from __future__ import annotations

import json

import pytest

from sllm_actors.api_error import ApiError, too_many_connections
from sllm_actors.gateway import errors
from sllm_actors.gateway.headers import find

ALL = [
    (errors.bad_request("x"), 400, "invalid_request", None),
    (errors.model_required(), 400, "model_required", None),
    (errors.bad_form("it ends"), 400, "invalid_form", None),
    (errors.bad_keep_alive(), 400, "invalid_request", None),
    (errors.not_decodable("gzip"), 400, "invalid_content_encoding", None),
    (errors.invalid_key(), 401, "invalid_api_key", None),
    (errors.admin_key_wanted("chat"), 403, "admin_key_required", None),
    (errors.foreign_host("Origin"), 403, "forbidden_host", None),
    (errors.origin_not_allowed("http://" + "o" * 300), 403, "origin_not_allowed", None),
    (errors.model_not_found("m" * 300), 404, "model_not_found", None),
    (errors.backend_not_found("m" * 300, "b" * 300, ["m:c"]), 404, "model_not_found", None),
    (errors.not_found("no such instance"), 404, "not_found", None),
    (errors.unknown_id("i" * 300), 404, "unknown_id", None),
    (errors.holder_gone("i" * 300, "d"), 404, "unknown_id", None),
    (errors.body_too_slow(), 408, "body_timeout", None),
    (errors.ambiguous_model("m" * 300, ["m:a", "m:b"]), 409, "model_ambiguous", None),
    (errors.body_too_large(10), 413, "body_too_large", None),
    (errors.model_too_late(10), 413, "body_too_large", None),
    (errors.unsupported_coding("c" * 300, ["gzip"]), 415, "unsupported_content_encoding", None),
    (errors.hold_queue_full("d", 1), 429, "hold_queue_full", b"5"),
    (errors.hold_queue_full("d", 1, 90.5), 429, "hold_queue_full", b"60"),
    (errors.queued_too_long("d", 7.5), 429, "queue_timeout", b"8"),
    (errors.head_too_large(10), 431, "head_too_large", None),
    (errors.internal(), 500, "internal_error", None),
    (errors.engine_broke("d", "reset"), 502, "engine_broke", b"1"),
    (errors.upload_broken_off("d"), 502, "engine_broke", b"1"),
    (errors.request_breaks_engines("d"), 502, "request_breaks_engines", None),
    (errors.not_streamed(), 502, "engine_did_not_stream", None),
    (errors.held_too_long("d"), 503, "cold_start_timeout", b"10"),
    (errors.replicas_failed("d", "", None), 503, "replicas_failed", b"30"),
    (errors.replicas_failed("d", "no GPU", 0.1), 503, "replicas_failed", b"1"),
    (errors.no_place("d", "no GPU"), 503, "no_place", b"30"),
    (errors.overloaded(), 503, "overloaded", b"1"),
    (errors.no_room("d", "64 tunnels"), 503, "overloaded", b"1"),
    (errors.models_unknown(), 503, "head_unavailable", b"1"),
    (errors.head_away("silent"), 503, "head_unavailable", b"1"),
    (errors.too_many_followers(64), 503, "too_many_followers", b"10"),
    (errors.worker_away("silent"), 503, "worker_unavailable", b"1"),
    (errors.server_unreachable("d", "no route"), 503, "server_unreachable", b"5"),
    (errors.gateway_stopping(), 503, "gateway_stopping", b"1"),
    (too_many_connections(10), 503, "too_many_connections", b"1"),
    (errors.out_of_descriptors("none left"), 503, "out_of_descriptors", b"1"),
    (errors.engine_silent("d", 2.5), 504, "engine_silent", None),
    (errors.loop_detected(), 508, "loop_detected", None),
]


@pytest.mark.parametrize(("error", "status", "code", "retry_after"), ALL, ids=[each[0].code for each in ALL])
def test_an_error_has_openais_shape(
    error: ApiError, status: int, code: str, retry_after: bytes | None
) -> None:
    shown = json.loads(error.body)["error"]
    assert (error.status, shown["code"], shown["message"]) == (status, code, str(error))
    assert len(shown["message"]) < 400
    assert "\n" not in shown["message"]
    assert shown["type"].endswith("_error")
    assert find(error.headers, b"retry-after") == retry_after
    assert find(error.headers, b"www-authenticate") == (b"Bearer" if status == 401 else None)
    assert find(error.headers, b"accept-encoding") == (b"gzip" if status == 415 else None)
    assert error.event == b"data: " + error.body + b"\n\n"


def test_an_error_that_somebody_else_made_is_passed_on_whole() -> None:
    detail = {"message": "theirs", "code": 7}
    assert json.loads(ApiError(400, "x", "ours", detail=detail).body) == {"error": detail}
