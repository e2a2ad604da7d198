"""A body that must change keeps every byte that nobody asked to change."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.api_error import ApiError
from sllm_actors.gateway.bodies.rewriting import MOST_KEYS, members_of, with_changes

NAMES = ["model", "stream", "backend", 'a"b', "\\", "é", "x"]
SPACE = st.text(" \t\r\n", max_size=2)
TEXTS = [
    "1e400",
    "0.10",
    "-0",
    "12345678901234567890",
    "true",
    "null",
    '"a"',
    '"a\\"}]"',
    '"\\\\"',
    '"é,{"',
    "[]",
    "{}",
    '[ 1 , {"model": "no"} , "]" ]',
    '{"model":"inner","model":[{}]}',
    "1",
    "12",
    "[1]",
    "[1,2]",
]


@st.composite
def objects(draw: st.DrawFn) -> tuple[str, list[tuple[str, str]]]:
    """Draw the text of an object, with duplicates and any white space, and its members as text."""
    members = draw(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(TEXTS)), max_size=7))
    shown = [
        f"{draw(SPACE)}{json.dumps(key, ensure_ascii=draw(st.booleans()))}{draw(SPACE)}:{draw(SPACE)}{value}"
        for key, value in members
    ]
    return f"{draw(SPACE)}{{" + f"{draw(SPACE)},".join(shown) + f"{draw(SPACE)}}}{draw(SPACE)}", members


def pairs(text: bytes) -> list[tuple[str, Any]]:
    """Return the members in their order, duplicates too, each value as its digits stand there."""
    found: list[tuple[str, Any]] = json.loads(
        text, object_pairs_hook=list, parse_float=lambda digits: f"<{digits}>", parse_int=lambda d: f"<{d}>"
    )
    return found


@given(
    objects(),
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from(TEXTS), max_size=3),
    st.sets(st.sampled_from(NAMES), max_size=3),
)
def test_only_what_was_named_is_another(
    drawn: tuple[str, list[tuple[str, str]]], change: dict[str, str], drop: set[str]
) -> None:
    text, members = drawn
    new = {key: msgspec.Raw(value.encode()) for key, value in change.items()}
    changed = with_changes(text.encode(), new, drop)
    kept = [(key, change.get(key, value)) for key, value in members if key in change or key not in drop]
    kept += [(key, value) for key, value in change.items() if key not in dict(members)]
    shown = ",".join(f"{json.dumps(key)}:{value}" for key, value in kept)
    assert pairs(changed) == pairs(f"{{{shown}}}".encode())


@given(objects())
def test_members_are_found_where_they_stand(drawn: tuple[str, list[tuple[str, str]]]) -> None:
    text, members = drawn
    data = text.encode()
    found = [(each.key, data[each.value : each.end].decode()) for each in members_of(data)]
    assert found == members
    assert all(data[each.start :].startswith(b'"') for each in members_of(data))


@pytest.mark.parametrize(
    ("came", "change", "drop", "goes"),
    [
        (b'{ "a" : 1e400 , "model":"m" }', {"model": "n"}, [], b'{ "a" : 1e400 , "model":"n" }'),
        (b'{"model":"m","a":0.10,"model":[7]}', {"model": "n"}, [], b'{"model":"n","a":0.10,"model":"n"}'),
        (b'{"m\\u006fdel":"m"}', {"model": "n"}, [], b'{"m\\u006fdel":"n"}'),
        (b"{}", {"stream": True}, [], b'{"stream":true}'),
        (b"{ }", {"stream": True, "n": 1}, [], b'{"stream":true,"n":1 }'),
        (b'{"a": 1}\n', {"b": {"c": 2}}, [], b'{"a": 1,"b":{"c":2}}\n'),
        (b'{ "a": 1, "b": 2, "c": 3 }', {}, ["a"], b'{ "b": 2, "c": 3 }'),
        (b'{ "a": 1, "b": 2, "c": 3 }', {}, ["b"], b'{ "a": 1, "c": 3 }'),
        (b'{ "a": 1, "b": 2, "c": 3 }', {}, ["b", "c"], b'{ "a": 1 }'),
        (b'{ "a": 1, "a": 2 }', {"b": 1}, ["a"], b'{ "b":1 }'),
        (b'{"a":1}', {"a": 2}, ["a"], b'{"a":2}'),
        (b'\xef\xbb\xbf{"a":1}', {"a": 2}, [], b'\xef\xbb\xbf{"a":2}'),
        (b'{"x":"\xff","a":1}', {"a": 2}, [], b'{"x":"\xff","a":2}'),
    ],
)
def test_every_other_byte_stays(came: bytes, change: dict[str, object], drop: list[str], goes: bytes) -> None:
    assert with_changes(came, change, drop) == goes


def test_a_body_with_nothing_to_change_is_the_same_object() -> None:
    body = b'{"model":"m"}'
    assert with_changes(body, {}, ["backend"]) is body


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[1]", b"7", b'{"\xff":1}', b'{"x":NaN}', b"\xef\xbb\xbf" * 5000, b'{"a":' + b"[" * 100_000],
)
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        with_changes(body, {"model": "n"})
    assert (caught.value.status, caught.value.code) == (400, "invalid_json")


def test_an_object_may_not_have_keys_without_number() -> None:
    body = b"{" + b'"a":1,' * MOST_KEYS + b'"a":2}'
    with pytest.raises(ApiError) as caught:
        with_changes(body, {"model": "n"})
    assert (caught.value.status, caught.value.code) == (400, "invalid_request")
    assert "2000 top-level keys" in caught.value.message


def test_a_long_run_of_one_key_is_passed_in_one_go() -> None:
    long = b"[" + b'"x",' * 5000 + b'"x"]'
    body = b"{" + b'"a":[1],' * 1000 + b'"a":' + long + b"}"
    assert with_changes(body, {}, ["a"]) == b"{}"


@given(st.binary(max_size=60) | st.binary(max_size=30).map(b'{"a":1,'.__add__))
def test_arbitrary_bytes_are_changed_or_refused_and_nothing_else(body: bytes) -> None:
    with suppress(ApiError):
        changed = with_changes(body, {"model": "n"}, ["a"])
        assert msgspec.json.decode(changed.removeprefix(b"\xef\xbb\xbf"))["model"] == "n"
