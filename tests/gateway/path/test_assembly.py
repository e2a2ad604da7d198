"""One answer out of a stream is the answer that the engine itself would have given."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.kit import PlayedCluster, replica, served

from sllm_actors.gateway.path.answers.assembly import ASSEMBLIES, ChatAssembly, CompletionAssembly

# What differs between two runs of the same request.
VARYING = ("id", "created", "timings")

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}
CHAT: Any = {"messages": [{"role": "user", "content": "Say hi"}]}

REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", CHAT),
    "one token": ("/v1/chat/completions", CHAT | {"max_tokens": 1}),
    "logprobs": ("/v1/chat/completions", CHAT | {"logprobs": True, "top_logprobs": 2}),
    "two choices": ("/v1/chat/completions", CHAT | {"n": 2, "logprobs": True}),
    "stopped": ("/v1/chat/completions", CHAT | {"stop": ["you"], "max_tokens": 30}),
    "tools": ("/v1/chat/completions", CHAT | {"tools": [TOOL], "tool_choice": "required"}),
    "json": (
        "/v1/chat/completions",
        CHAT
        | {
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
            "max_tokens": 40,
        },
    ),
    "completion": ("/v1/completions", {"prompt": "Once upon"}),
    "completion logprobs": ("/v1/completions", {"prompt": "Once upon", "logprobs": 2}),
    "two prompts": ("/v1/completions", {"prompt": ["Once upon", "There was"]}),
    "two completions": ("/v1/completions", {"prompt": "Once upon", "n": 2}),
}


def comparable(answer: dict[str, Any]) -> dict[str, Any]:
    """Leave out what differs between two runs: ids, times, and what was in the engine's cache."""
    answer = {key: value for key, value in answer.items() if key not in VARYING}
    if "usage" in answer:
        answer["usage"].pop("prompt_tokens_details", None)
    return answer


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize("name", REQUESTS)
async def test_it_equals_the_engines_own_unstreamed_answer(
    cluster: PlayedCluster, llama: str, name: str
) -> None:
    path, body = REQUESTS[name]
    body = {"model": "smol", "max_tokens": 6, "temperature": 0, "seed": 1} | body
    await cluster.deploy(served())
    await cluster.report(replica(address=llama))
    transport = httpx2.AsyncHTTPTransport(uds=llama.removeprefix("unix:"))
    async with httpx2.AsyncClient(transport=transport, base_url="http://engine", timeout=60) as engine:
        direct = await engine.post(path, json=body)
    ours = await cluster.http().post(path, json=body)
    assert ours.status_code == direct.status_code == 200
    expected, found = direct.json(), ours.json()
    assert found.keys() == expected.keys()
    assert found["timings"].keys() == expected["timings"].keys()
    assert found["usage"].keys() == expected["usage"].keys()
    assert comparable(found) == comparable(expected)
    assert ours.headers["content-type"] == direct.headers["content-type"]


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_request_that_the_engine_refuses_gets_its_very_answer(
    cluster: PlayedCluster, llama: str
) -> None:
    await cluster.deploy(served())
    await cluster.report(replica(address=llama))
    body = {"model": "smol", "messages": "nonsense"}
    transport = httpx2.AsyncHTTPTransport(uds=llama.removeprefix("unix:"))
    async with httpx2.AsyncClient(transport=transport, base_url="http://engine", timeout=60) as engine:
        direct = await engine.post("/v1/chat/completions", json=body)
    ours = await cluster.http().post("/v1/chat/completions", json=body)
    assert (ours.status_code, ours.content) == (direct.status_code, direct.content)


def delta(delta: dict[str, Any], finish: str | None = None, index: int = 0) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": index, "delta": delta, "finish_reason": finish}]}


def test_tool_calls_are_put_together_piece_by_piece() -> None:
    chat = ChatAssembly()
    name: Any = {"name": "get_weather", "arguments": ""}
    chat.add(delta({"role": "assistant", "content": None}))
    chat.add(delta({"reasoning_content": "hm"}))
    chat.add(delta({"reasoning_content": "m"}))
    chat.add(delta({"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": name}]}))
    chat.add(delta({"tool_calls": [{"index": 0, "function": {"arguments": '{"ci'}}]}))
    chat.add(delta({"tool_calls": [{"index": 1, "id": "b", "type": "function", "function": name}]}))
    chat.add(delta({"tool_calls": [{"index": 0, "function": {"arguments": 'ty":1}'}}]}))
    chat.add(delta({}, "tool_calls"))
    (choice,) = chat.document()["choices"]
    assert choice == {
        "finish_reason": "tool_calls",
        "index": 0,
        "message": {
            "role": "assistant",
            "content": None,
            "reasoning_content": "hmm",
            "tool_calls": [
                {
                    "id": "a",
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": '{"city":1}'},
                },
                {"id": "b", "type": "function", "function": {"name": "get_weather", "arguments": ""}},
            ],
        },
    }


def test_logprobs_are_joined_and_what_has_no_data_changes_nothing() -> None:
    chunks: list[Any] = [None, {"tokens": ["a"], "top": None}, {"tokens": ["b"], "top": 1}, {"top": None}]
    completion, chat = CompletionAssembly(), ChatAssembly()
    for logprobs in chunks:
        completion.add({"choices": [{"text": "x", "logprobs": logprobs}]})
        chat.add({"choices": [{"delta": {"content": "x"}, "logprobs": logprobs}]})
    for assembly in (completion, chat):
        assert assembly.document()["choices"][0]["logprobs"] == {"tokens": ["a", "b"], "top": 1}


def test_what_is_no_tool_call_and_what_is_no_usage_of_the_first_choice_is_left_out() -> None:
    assembly = ChatAssembly()
    assembly.add({"choices": [{"index": 1, "delta": {"tool_calls": ["strange"]}}], "usage": {"total": 1}})
    assembly.add({"choices": [{"index": 2, "delta": {}}], "usage": {"total": 2}})
    assert assembly.document()["usage"] == {"total": 1}
    assert "tool_calls" not in assembly.document()["choices"][0]["message"]


def test_usage_is_that_of_the_first_choice_even_if_another_ends_first() -> None:
    chat = ChatAssembly()
    chat.add(delta({}, "stop", 1))
    chat.add({"choices": [], "usage": {"total_tokens": 1}})
    chat.add(delta({}, "stop", 0))
    chat.add({"choices": [], "usage": {"total_tokens": 2}, "timings": {}})
    chat.add({"choices": [], "usage": {"total_tokens": 3}})
    assert chat.document()["usage"] == {"total_tokens": 2}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "index",
                    "delta",
                    "tool_calls",
                    "function",
                    "logprobs",
                    "text",
                    "usage",
                    "content",
                    "x",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(st.lists(st.dictionaries(st.sampled_from(["choices", "usage", "id", "timings"]), JSON), max_size=5))
def test_no_chunk_however_strange_breaks_it(chunks: list[dict[str, Any]]) -> None:
    for assembly in (ChatAssembly(), CompletionAssembly()):
        for chunk in chunks:
            assembly.add(chunk)
        json.dumps(assembly.document())


@pytest.mark.parametrize(
    "path", ["/v1/responses", "/v1/messages", "/v1/embeddings", "/v1/messages/count_tokens"]
)
def test_answers_of_other_paths_are_never_put_together(path: str) -> None:
    assert path not in ASSEMBLIES


def test_what_a_choice_says_in_vain_leaves_what_it_said_before() -> None:
    completion = CompletionAssembly()
    completion.add({"choices": [{"text": "a", "finish_reason": "stop"}]})
    completion.add({"choices": [{"text": None, "finish_reason": None, "index": 0}]})
    (choice,) = completion.document()["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("a", "stop")
