"""What a client of vLLM gets through the gateway."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from openai import BadRequestError, OpenAI
from openai.types.chat import ChatCompletionMessageParam
from tests.e2e.cluster import Cluster, eventually

from .conftest import CACHE
from .family import MODEL, both_ready, family_of

pytestmark = [pytest.mark.allow_blocking, pytest.mark.timeout(420)]

GRAVITY: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What is gravity?"}]


def test_chat_streamed_and_not_give_the_same_text(client: OpenAI) -> None:
    whole = client.chat.completions.create(model=MODEL, messages=GRAVITY, max_tokens=24, temperature=0)
    assert whole.object == "chat.completion"
    assert whole.model == MODEL
    assert whole.choices[0].finish_reason == "length"
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 24
    stream = client.chat.completions.create(
        model=MODEL,
        messages=GRAVITY,
        max_tokens=24,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage
    assert len(chunks) > 10


def test_vllm_says_back_what_it_was_told(cluster: Cluster) -> None:
    for instance in both_ready(cluster, within=10):
        with _engine(instance["address"]) as engine:
            (model,) = engine.get("/v1/models").json()["data"]
            assert (model["id"], model["max_model_len"]) == (MODEL, 1024)
            assert model["root"] == str(CACHE / "models" / "demo--smollm2-135m" / "files")
            chat = {"messages": GRAVITY, "max_tokens": 1}
            assert engine.post("/v1/chat/completions", json=chat).json()["model"] == MODEL
            prompt = {"prompt": "Gravity is", "max_tokens": 1}
            assert engine.post("/v1/completions", json=prompt).json()["model"] == MODEL
            metrics = [line for line in engine.get("/metrics").text.splitlines() if line[:5] == "vllm:"]
        named = [line for line in metrics if "model_name=" in line]
        assert named
        assert [line for line in named if f'model_name="{MODEL}"' not in line] == []


def test_completions_and_stop_sequences(client: OpenAI) -> None:
    more = client.completions.create(model=MODEL, prompt="1, 2, 3, 4, 5,", max_tokens=16, temperature=0)
    assert more.choices[0].text.startswith(" 6, 7")
    until = client.completions.create(
        model=MODEL, prompt="1, 2, 3, 4, 5,", max_tokens=16, temperature=0, stop=["7"]
    )
    assert until.choices[0].text == " 6, "
    assert until.choices[0].finish_reason == "stop"


def test_logprobs(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL, messages=GRAVITY, max_tokens=3, temperature=0, logprobs=True, top_logprobs=2
    )
    assert answer.choices[0].logprobs is not None
    tokens = answer.choices[0].logprobs.content or []
    assert len(tokens) == 3
    assert all(token.logprob <= 0 and len(token.top_logprobs) == 2 for token in tokens)
    assert "".join(token.token for token in tokens) == answer.choices[0].message.content


def test_an_error_of_the_engine_is_passed_on_as_it_is(client: OpenAI) -> None:
    with pytest.raises(BadRequestError, match="maximum context length is 1024 tokens"):
        client.completions.create(model=MODEL, prompt="word " * 2000, max_tokens=1)


def test_two_replicas_answer_at_once(cluster: Cluster) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: cluster.ask(model=MODEL, temperature=0), range(16)))
    assert len(set(answers)) == 1
    served = [_requests_of(cluster, instance["address"]) for instance in both_ready(cluster, within=10)]
    assert min(served) > 0, served


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="this machine has one core")
def test_two_replicas_never_meet_on_a_core(cluster: Cluster) -> None:
    def apart() -> bool:
        first, second = (
            {
                core
                for process in family_of(instance).processes
                for thread in process.threads()
                for core in os.sched_getaffinity(thread.id)
            }
            for instance in both_ready(cluster, within=10)
        )
        half = len(os.sched_getaffinity(0)) // 2
        return len(first) == len(second) == half and not first & second

    eventually(apart, within=10, what="each has cores of its own")


def test_an_engine_is_reached_by_its_socket_alone(cluster: Cluster) -> None:
    for instance in both_ready(cluster, within=10):
        listening = [
            connection.laddr
            for process in family_of(instance).processes
            for connection in process.net_connections(kind="inet")
            if connection.status == "LISTEN"
        ]
        assert [address for address in listening if address.ip not in ("127.0.0.1", "::1")] == []


def _requests_of(cluster: Cluster, address: str) -> int:
    with _engine(address) as engine:
        lines = engine.get("/metrics").text.splitlines()
    return int(
        sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:request_success_total"))
    )


def _engine(address: str) -> httpx2.Client:
    transport = httpx2.HTTPTransport(uds=address.removeprefix("unix:"), verify=False)
    return httpx2.Client(transport=transport, base_url="http://engine", timeout=30)
