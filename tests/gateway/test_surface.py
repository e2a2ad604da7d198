"""Which requests go to engines, and where they say which model they are for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.gateway import errors
from sllm_actors.gateway.surface import (
    Destination,
    ModelIn,
    destination_of,
    methods_of,
    model_in_query,
    with_model_in_query,
)

BY_BODY = Destination(ModelIn.BODY)


def by_id(made: str) -> Destination:
    return Destination(ModelIn.ID, made=made)


def by_query(model: str, made: str = "") -> Destination:
    return Destination(ModelIn.QUERY, model, made)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions",
        "/v1/embeddings",
        "/v1/responses",
        "/v1/messages/count_tokens",
        "/v1/audio/transcriptions",
        "/v1/something-that/nobody_knows/yet",
        "/v1/rerank/",
        "/v1/modelsque",
        "/v2/rerank",
        "/v2/embed",
        "/tokenize",
        "/detokenize",
        "/score",
        "/rerank",
        "/pooling",
        "/classify/",
        "/inference/v1/generate",
    ],
)
def test_a_post_to_what_an_engine_offers_names_its_model_in_the_body(path: str) -> None:
    assert destination_of("POST", path.encode(), b"model=m") == BY_BODY


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models",
        "/v1/models/",
        "/v1/models/m",
        "/v1/",
        "/v1",
        "/v1//models",
        "/v1/chat//completions",
        "/v1/chat/../models",
        "/v1/chat%2Fcompletions",
        "/v1/chat/completions//",
        "/v1/chat/completions\n",
        "/v1/models\n",
        "/v3/chat",
        "/sleep",
        "/wake_up",
        "/collective_rpc",
        "/tokenize/x",
        "/tokenizer",
        "/v2/.",
        "/deployments",
        "/",
        "",
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_everything_else_is_no_business_of_engines(method: str, path: str) -> None:
    assert destination_of(method, path.encode(), b"model=m") is None
    assert methods_of(path.encode()) == ()


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_what_an_id_names_is_asked_of_the_replica_that_made_it(method: str) -> None:
    for path in (b"/v1/responses/resp_1a", b"/v1/responses/resp_1a/input_items", b"/v1/responses/resp_1a/"):
        assert destination_of(method, path, b"stream=true") == by_id("resp_1a")
        assert destination_of(method, path, b"model=a%3Ab") == by_query("a:b", "resp_1a")
        assert methods_of(path) == ("DELETE", "GET", "OPTIONS", "POST")
    assert destination_of(method, b"/v1/fine_tuning/jobs/ft-7", b"") == by_id("ft-7")
    assert destination_of(method, b"/v1/files", b"model=m") == by_query("m")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_id_of_a_collection_may_be_a_word(method: str) -> None:
    for path, made in (
        (b"/v1/responses/mine", "mine"),
        (b"/v1/responses/mine/input_items", "mine"),
        (b"/v1/chat/completions/mine/messages", "mine"),
        (b"/v1/fine_tuning/jobs/mine", "mine"),
        (b"/v1/threads/mine/messages/msg_1", "mine"),
        (b"/v1/messages/batches/mine", "mine"),
    ):
        assert destination_of(method, path, b"") == by_id(made)
        assert methods_of(path) == ("DELETE", "GET", "OPTIONS", "POST")
    assert destination_of("POST", b"/v1/responses/mine/cancel", b"") == by_id("mine")
    assert destination_of("POST", b"/v1/responses/compact", b"") == BY_BODY


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_operation_is_not_taken_for_an_id(method: str) -> None:
    for path in (b"/v1/chat/completions", b"/v1/messages/count_tokens", b"/v1/responses"):
        assert destination_of(method, path, b"") is None
        assert methods_of(path) == ("OPTIONS", "POST")


def test_a_response_is_cancelled_where_it_was_made() -> None:
    assert destination_of("POST", b"/v1/responses/resp_1/cancel", b"") == by_id("resp_1")
    assert destination_of("POST", b"/v1/responses/resp_1/cancel/", b"model=m") == by_query("m", "resp_1")
    assert destination_of("POST", b"/v1/cancel", b"") is None


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "PATCH", "TRACE", "post"])
def test_no_other_method_reaches_an_engine(method: str) -> None:
    assert destination_of(method, b"/v1/chat/completions", b"model=m") is None


@pytest.mark.parametrize(
    ("query", "model"),
    [
        (b"", ""),
        (b"model=", ""),
        (b"model=m", "m"),
        (b"a=1&model=Qwen%2FQwen3&model=b%2Bc", "b+c"),
        (b"mymodel=m", ""),
        (b"model=%ff", ""),
        (b"model=m&" + b"a=1&" * 200, ""),
    ],
)
def test_a_model_is_read_from_the_query(query: bytes, model: str) -> None:
    assert model_in_query(query) == model


def test_a_server_gets_its_own_name_of_the_model_in_the_query() -> None:
    assert with_model_in_query("a=1&model=ours&b=%2F", "their/s") == "a=1&model=their%2Fs&b=%2F"
    assert with_model_in_query("mymodel=ours", "theirs") == "mymodel=ours"


@given(st.sampled_from(["POST", "GET", "DELETE"]), st.binary(max_size=30), st.binary(max_size=30))
def test_arbitrary_bytes_do_no_harm(method: str, path: bytes, query: bytes) -> None:
    destination_of(method, b"/v1/" + path, b"model=" + query)


def test_an_unknown_id_is_told_what_helps() -> None:
    assert "?model=NAME" in errors.unknown_id("resp_1").message
    assert errors.unknown_id("resp_1").status == errors.holder_gone("resp_1", "m:vllm").status == 404
    assert "m:vllm" in errors.holder_gone("resp_1", "m:vllm").message
