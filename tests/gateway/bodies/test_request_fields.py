"""What a gateway reads of a body, and the sentence that a body gets which it cannot read."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from sllm_actors.api_error import ApiError
from sllm_actors.gateway.bodies.request_fields import ABSENT, RequestFields, read_fields

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from([*RequestFields.__struct_fields__, "temperature", "tools"]) | st.text(max_size=4)


def refusal(body: bytes) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read_fields(body)
    return caught.value


def test_every_field_is_read_and_all_else_is_skipped() -> None:
    body = (
        b'{"model":"m","backend":"vllm","stream":true,"stream_options":{"a":1},"user":"u","priority":-3,'
        b'"prompt_cache_key":"k","keep_alive":"5m","n":2,"previous_response_id":"resp_1","tools":[{}],'
        b'"messages":[ 1.0 ],"prompt":"p","input":["i"],"system":"s","instructions":"t"}'
    )
    fields = read_fields(body)
    assert (fields.model, fields.backend, fields.stream, fields.user) == ("m", "vllm", True, "u")
    assert (fields.priority, fields.keep_alive, fields.n) == (-3, "5m", 2)
    assert (fields.prompt_cache_key, fields.previous_response_id) == ("k", "resp_1")
    raw = (fields.stream_options, fields.messages, fields.prompt, fields.input)
    assert [bytes(each) for each in raw] == [b'{"a":1}', b"[ 1.0 ]", b'"p"', b'["i"]']
    assert [bytes(each) for each in (fields.system, fields.instructions)] == [b'"s"', b'"t"']


def test_what_is_not_given_is_none_or_has_no_bytes() -> None:
    fields = read_fields(b'{"model":"m"}')
    assert fields == RequestFields("m")
    assert fields.messages is ABSENT
    assert bytes(ABSENT) == b""


def test_of_a_key_that_comes_twice_the_last_value_counts() -> None:
    assert read_fields(b'{"model":"a","model":"b","stream":true,"stream":null}') == RequestFields("b")
    assert read_fields(b'{"model":7,"mod\\u0065l":"b"}').model == "b"
    assert refusal(b'{"model":"a","model":7}').code == "model_required"


@pytest.mark.parametrize("key", ["stream", "user", "prompt_cache_key", "priority", "n"])
@pytest.mark.parametrize("value", [b"{}", b"[1]", b"1" + b"0" * 400, b"1e999"])
def test_a_field_of_a_type_that_it_cannot_have_counts_as_not_given(key: str, value: bytes) -> None:
    fields = read_fields(b'{"%s":%s,"model":"m","messages":[]}' % (key.encode(), value))
    assert getattr(fields, key) is None
    assert (fields.model, bytes(fields.messages)) == ("m", b"[]")


def test_a_keep_alive_is_read_even_if_it_says_nothing_and_refused_if_it_is_neither_number_nor_text() -> None:
    assert read_fields(b'{"model":"m"}').keep_alive is UNSET
    assert read_fields(b'{"model":"m","keep_alive":null,"n":[]}').keep_alive is None
    assert read_fields(b'{"model":"m","keep_alive":-1}').keep_alive == -1
    for value in (b"true", b"{}", b"[1]", b"1" + b"0" * 400, b"1e999"):
        found = refusal(b'{"model":"m","keep_alive":%s}' % value)
        assert (found.status, found.param) == (400, "keep_alive")
        assert "must be a number of seconds" in found.message


def test_only_true_asks_for_a_stream() -> None:
    for value in (b'"yes"', b"1", b"null", b"false"):
        assert not read_fields(b'{"model":"m","stream":%s}' % value).stream


@pytest.mark.parametrize(
    ("body", "code", "param", "said"),
    [
        (b"", "invalid_json", None, "is empty: it must be a JSON object"),
        (b" \n", "invalid_json", None, "is empty: it must be a JSON object"),
        (b"{", "invalid_json", None, "is not JSON: it ends too early"),
        (b'{"model":"m","x":"a', "invalid_json", None, "it ends too early"),
        (b"model=m", "invalid_json", None, "is not JSON: invalid character (byte 0)"),
        (b"{'model':'m'}", "invalid_json", None, "object keys must be strings (byte 1)"),
        (b'{"model":"m"} {}', "invalid_json", None, "trailing characters"),
        (b'{"model":"m"}\0', "invalid_json", None, "trailing characters"),
        (b'{"x":NaN}', "invalid_json", None, "NaN and Infinity are no numbers in JSON (byte 5)"),
        (b'{"x":-Infinity}', "invalid_json", None, "NaN and Infinity are no numbers in JSON (byte 6)"),
        (b'{"x":"\\ud83d","y":"abc"}', "invalid_json", None, "(a lone surrogate)"),
        (b'{"model":"\\uD83d"}', "invalid_json", None, "(a lone surrogate)"),
        (b'{"x":"\\udc00 and more"}', "invalid_json", None, "(a lone surrogate)"),
        (b'{"model":"\xff"}', "invalid_json", None, "must be in UTF-8"),
        (b'{"user":7,"model":"\xff"}', "invalid_json", None, "must be in UTF-8"),
        (b"\xff\xfe{\0}\0", "invalid_json", None, "must be in UTF-8"),
        (b'\xef\xbb\xbf\xef\xbb\xbf{"model":"m"}', "invalid_json", None, "invalid character"),
        (b'{"user":7,"model":"m"', "invalid_json", None, "it ends too early"),
        (b"[" * 100_000, "invalid_json", None, "must be a JSON object"),
        (b'{"x":' + b"[" * 100_000, "invalid_json", None, "is nested too deeply"),
        (b'{"messages":' + b'{"a":' * 100_000, "invalid_json", None, "is nested too deeply"),
        (b"[1]", "invalid_json", None, "must be a JSON object"),
        (b'"m"', "invalid_json", None, "must be a JSON object"),
        (b"{}", "model_required", "model", "GET /v1/models lists"),
        (b'{"model":7}', "model_required", "model", "GET /v1/models lists"),
        (b'{"model":null}', "model_required", "model", "GET /v1/models lists"),
        (b'{"model":""}', "model_required", "model", "GET /v1/models lists"),
        (b'{"model":"m","backend":7}', "invalid_request", "backend", "the name of a backend"),
    ],
)
def test_a_body_that_cannot_be_routed_gets_one_sentence(
    body: bytes, code: str, param: str | None, said: str
) -> None:
    error = refusal(body)
    assert (error.status, error.code, error.param) == (400, code, param)
    assert said in error.message
    assert "\n" not in error.message


@pytest.mark.parametrize(
    "value",
    [b"1e999", b"0.10", b"12345678901234567890123", b"1" + b"0" * 9999, b'"\xff"', b"[" * 500 + b"]" * 500],
)
def test_what_routing_does_not_need_may_be_anything_that_engines_can_judge(value: bytes) -> None:
    assert read_fields(b'{"x":%s,"messages":%s,"model":"m"}' % (value, value)).model == "m"


def test_a_byte_order_mark_is_skipped_as_engines_do() -> None:
    assert read_fields(b'\xef\xbb\xbf{"model":"m","user":7}') == RequestFields("m")


@given(st.lists(st.tuples(KEYS, VALUES), max_size=6), st.booleans())
def test_the_fields_are_those_that_a_whole_decoder_finds(pairs: list[tuple[str, Any]], indent: bool) -> None:
    space = b"\n " if indent else b""
    members = [json.dumps(key).encode() + b":" + json.dumps(value).encode() for key, value in pairs]
    body = b"{" + space + (b"," + space).join([*members, b'"model":"m"']) + space + b"}"
    expected = json.loads(body)
    wrong = next((key for key, valid in VALID.items() if not valid(expected.get(key))), None)
    if wrong is not None:
        assert refusal(body).param == wrong
        return
    found = read_fields(body)
    assert found.keep_alive == expected.get("keep_alive", UNSET)
    assert (found.model, found.backend) == (expected["model"], expected.get("backend"))
    assert bool(found.stream) is (expected.get("stream") is True)
    for key, kind in (("user", str), ("prompt_cache_key", str), ("previous_response_id", str)):
        value = expected.get(key)
        assert getattr(found, key) == (value if isinstance(value, kind) else None)
    for key in ("messages", "prompt", "input", "system", "instructions", "stream_options"):
        raw = bytes(getattr(found, key))
        assert (json.loads(raw) if raw else None) == expected.get(key)


VALID: dict[str, Callable[[object], bool]] = {
    "backend": lambda value: isinstance(value, str | None),
    "keep_alive": lambda value: isinstance(value, str | int | float | None) and not isinstance(value, bool),
}


@given(st.binary(max_size=80) | st.binary(max_size=40).map(b'{"model":"m","stream":'.__add__))
def test_arbitrary_bytes_are_read_or_refused_and_nothing_else(body: bytes) -> None:
    with suppress(ApiError):
        read_fields(body)
