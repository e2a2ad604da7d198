"""What an engine gets of a client's headers and query: nothing that the client is trusted by."""

from __future__ import annotations

import pytest

from sllm_actors.gateway.headers import (
    find,
    for_client,
    for_engine,
    for_event_stream,
    is_event_stream,
    is_plain_json,
    query_for_engine,
    request_id_of,
    with_hold,
    without_length,
)
from sllm_actors.gateway.hops import MOST_HOPS, passed_on, refuse_loop


@pytest.mark.parametrize(
    "name",
    [
        *("authorization", "proxy-authorization", "x-forwarded-authorization", "cookie", "cookie2"),
        *("x-api-key", "api-key", "apikey", "x-apikey", "x-goog-api-key", "ocp-apim-subscription-key"),
        *("x-auth-token", "x-amz-security-token", "x-forwarded-access-token", "x-csrf-token", "x-auth-key"),
        *("cf-access-jwt-assertion", "x-amzn-oidc-data", "x-forwarded-client-cert", "x-client-secret"),
        *("x-signature", "x_api_key", "x-password"),
    ],
)
def test_what_a_client_is_trusted_by_stays_in_the_gateway(name: str) -> None:
    assert for_engine([(name.encode(), b"hunter2"), (b"accept", b"*/*")]) == [(b"accept", b"*/*")]


@pytest.mark.parametrize(
    "name",
    [
        *("accept", "content-type", "user-agent", "traceparent", "tracestate", "openai-organization"),
        *("x-session-id", "x-max-tokens", "idempotency-key", "x-stainless-lang", "x-keyboard", "x-monkey"),
    ],
)
def test_other_headers_reach_the_engine(name: str) -> None:
    assert for_engine([(name.encode(), b"1")]) == [(name.encode(), b"1")]


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("api-version=1", "api-version=1"),
        ("api_key=hunter2", ""),
        ("key=hunter2&a=1&access_token=x&b", "a=1&b"),
        ("%61pi%5Fkey=hunter2&a=%20", "a=%20"),
        ("API-KEY=hunter2", ""),
    ],
)
def test_a_query_loses_what_the_client_is_trusted_by(query: str, left: str) -> None:
    assert query_for_engine(query) == left


@pytest.mark.parametrize(
    ("kind", "encoding", "plain"),
    [
        (b"application/json", None, True),
        (b"Application/JSON; charset=utf-8", b"identity", True),
        (b"application/json", b"gzip", False),
        (b"audio/wav", None, False),
        (None, None, False),
    ],
)
def test_only_json_that_is_not_compressed_can_be_given_another_name(
    kind: bytes | None, encoding: bytes | None, plain: bool
) -> None:
    headers = [(b"content-type", kind), (b"content-encoding", encoding)]
    assert is_plain_json([(name, value) for name, value in headers if value is not None]) is plain


# ---- hops


def test_a_request_that_comes_back_is_not_taken_again() -> None:
    header = passed_on([], b"one")
    assert header == (b"x-sllm-hops", b"one")
    assert refuse_loop([], b"one") is None
    assert refuse_loop([header], b"two") is None
    again = passed_on([header], b"two")
    assert again == (b"x-sllm-hops", b"one, two")
    refused = refuse_loop([again], b"one")
    assert refused is not None
    assert (refused.status, refused.code) == (508, "loop_detected")


def test_a_chain_of_gateways_is_short() -> None:
    hops = [(b"x-sllm-hops", b"%d,, " % number) for number in range(MOST_HOPS - 1)]
    assert refuse_loop(hops, b"me") is None
    assert refuse_loop([*hops, passed_on([], b"other")], b"me") is not None


def test_what_was_passed_on_before_is_said_once() -> None:
    assert for_engine([(b"x-sllm-hops", b"one")]) == []


def test_headers_of_one_connection_stay_where_they_are() -> None:
    came = [(b"connection", b"x-hop, close"), (b"x-hop", b"1"), (b"authorization", b"k"), (b"x-a", b"1")]
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
    assert without_length([(b"content-length", b"7"), *answer]) == answer


@pytest.mark.parametrize(
    ("value", "found"),
    [(b"req-1.a:b_c", "req-1.a:b_c"), (b"with space", None), (b"x" * 129, None), (b"", None)],
)
def test_a_clients_request_id_is_kept_when_it_is_sane(value: bytes, found: str | None) -> None:
    assert request_id_of([(b"x-request-id", value)]) == found
    assert request_id_of([]) is None


def test_the_time_of_a_later_hold_takes_the_place_of_the_first_ones() -> None:
    once = with_hold([(b"vary", b"origin")], 0.25)
    assert once == [(b"vary", b"origin"), (b"server-timing", b"hold;dur=250.0")]
    assert with_hold(once, 1.0) == [(b"vary", b"origin"), (b"server-timing", b"hold;dur=1000.0")]
