"""The deployment's name in the answers of a server that has another name for the model."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.gateway.path.answers.model_name import with_model, with_model_in_events

PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6)
KEYS = st.sampled_from(["model", "response", "message", "id", 'a"model', "\\"]) | st.text(max_size=3)
JSON = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)


def renamed(document: Any) -> Any:
    """Do the same with the values themselves: the first name in the order of the text is the one."""
    if not isinstance(document, dict):
        return document
    found = dict(document)
    for key, value in found.items():
        if key == "model" and isinstance(value, str):
            return {**found, key: "ours"}
        if key in ("response", "message") and isinstance(value, dict) and isinstance(value.get("model"), str):
            return {**found, key: {**value, "model": "ours"}}
    return found


@given(JSON | st.dictionaries(KEYS, JSON, max_size=4), st.sampled_from([None, 2]), st.booleans())
def test_only_the_name_of_the_model_is_another(document: Any, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only).encode(errors="replace")
    assert json.loads(with_model(text, "ours")) == renamed(json.loads(text))


@given(st.binary(max_size=60) | st.binary(max_size=30).map(b'{"model":"x'.__add__))
def test_what_is_no_json_does_no_harm(data: bytes) -> None:
    with_model(data, "ours")
    with_model_in_events(b"data: " + data, "ours")


@pytest.mark.parametrize(
    ("came", "goes"),
    [
        (b'{"id":"c","model":"up","n":1.0}', b'{"id":"c","model":"o\\u00e4","n":1.0}'),
        (b'{ "model" : "u\\"p" }', b'{ "model" : "o\\u00e4" }'),
        (b'{"metadata":{"model":"up"},"text":"\\"model\\":\\"up\\""}', None),
        (b'[{"model":"up"}]', None),
        (b'{"data":[{"model":"up"}]}', None),
        (b'{"model":null,"id":"up"}', None),
        (b'}{"model":"up"', b'}{"model":"o\\u00e4"'),
        (b'"model":"up"', None),
    ],
)
def test_everything_else_stays_byte_for_byte(came: bytes, goes: bytes | None) -> None:
    assert with_model(came, "oä") == (came if goes is None else goes)


def test_each_event_of_a_stream_gets_it() -> None:
    came = (
        b': comment "model"\n\n'
        b'event: response.created\r\ndata: {"response":{"model":"up"}}\r\n\r\n'
        b'data:{"model":"up"}\n\ndata: {"choices":[]}\n\ndata: [DONE]\n\n'
    )
    assert with_model_in_events(came, "us") == came.replace(b'"up"', b'"us"')
    assert with_model_in_events(b"data: [DONE]\n\n", "us") == b"data: [DONE]\n\n"
