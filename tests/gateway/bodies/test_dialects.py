"""How errors look in each dialect, read by the clients of that dialect where they are installed."""

from __future__ import annotations

import json

import httpx2
import pytest
from openai import APIError, OpenAI

from sllm_actors.api_error import ApiError
from sllm_actors.gateway import errors
from sllm_actors.gateway.bodies.dialects import CHAT, MESSAGES, OTHER, RESPONSES, Dialect, dialect_of
from sllm_actors.gateway.headers import find

DIALECTS = [OTHER, CHAT, MESSAGES, RESPONSES]
ERROR = errors.engine_broke("m:vllm", "it ended")


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("/v1/chat/completions", CHAT),
        ("/v1/completions", CHAT),
        ("/v1/completions/", CHAT),
        ("/v1/messages", MESSAGES),
        ("/v1/messages/count_tokens", MESSAGES),
        ("/v1/responses", RESPONSES),
        ("/v1/responses/resp_1/cancel", RESPONSES),
        ("/v1/embeddings", OTHER),
        ("/v1/responsesque", OTHER),
        ("/tokenize", OTHER),
    ],
)
def test_the_path_says_which_dialect_it_is(path: str, dialect: Dialect) -> None:
    assert dialect_of(path) is dialect


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_error_names_its_length_and_keeps_its_other_headers(dialect: Dialect) -> None:
    headers = dialect.headers(ERROR)
    assert find(headers, b"content-length") == str(len(dialect.body(ERROR))).encode()
    assert [name for name, _ in headers] == [name for name, _ in ERROR.headers]
    assert find(headers, b"retry-after") == b"1"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
    ],
)
def test_messages_have_anthropics_errors(status: int, kind: str) -> None:
    shown = json.loads(MESSAGES.body(ApiError(status, "a_code", "what and why", "model")))
    assert shown["type"] == "error"
    assert (shown["error"]["type"], shown["error"]["message"]) == (kind, "what and why")
    assert shown["error"]["code"] == "a_code"


def test_the_other_dialects_have_openais() -> None:
    for dialect in (OTHER, CHAT, RESPONSES):
        assert dialect.body(ERROR) == ERROR.body
    assert CHAT.event(ERROR) == ERROR.event


def test_an_event_of_anthropics_dialect_is_the_same_document_under_its_name() -> None:
    name, data, end = MESSAGES.event(ERROR).split(b"\n", 2)
    assert (name, end) == (b"event: error", b"\n")
    assert data == b"data: " + MESSAGES.body(ERROR)


@pytest.mark.parametrize("path", ["chat", "responses"])
def test_the_openai_client_raises_what_a_stream_ends_with(path: str) -> None:
    dialect = CHAT if path == "chat" else RESPONSES

    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(
            200, headers={"content-type": "text/event-stream"}, content=dialect.event(ERROR)
        )

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    with OpenAI(api_key="k", base_url="http://gateway/v1", http_client=http) as client:
        stream = (
            client.chat.completions.create(model="m", messages=[], stream=True)
            if path == "chat"
            else client.responses.create(model="m", input="", stream=True)
        )
        with pytest.raises(APIError) as caught:
            list(stream)
    assert (caught.value.message, caught.value.code) == (ERROR.message, "engine_broke")


def test_an_event_of_the_responses_dialect_has_the_fields_of_the_api_too() -> None:
    shown = json.loads(RESPONSES.event(ERROR).split(b"data: ")[1])
    assert (shown["type"], shown["code"], shown["message"]) == ("error", "engine_broke", ERROR.message)
