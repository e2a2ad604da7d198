"""What a user of the ``openai`` package gets from a cluster that serves a real model."""

from __future__ import annotations

import time

import openai
import pytest
from openai import OpenAI

from .cluster import DEMO, DEMO_ID, Cluster, eventually

pytestmark = pytest.mark.allow_blocking
QUESTION: list[openai.types.chat.ChatCompletionMessageParam] = [
    {"role": "user", "content": "What is gravity?"}
]


def test_a_chat_is_answered(client: OpenAI) -> None:
    answer = client.chat.completions.create(model=DEMO, messages=QUESTION, max_tokens=48, temperature=0)
    text = answer.choices[0].message.content
    assert text is not None
    assert "gravity" in text.lower()
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 5


def test_a_stream_comes_piece_by_piece_and_says_the_same(client: OpenAI) -> None:
    plain = client.chat.completions.create(model=DEMO, messages=QUESTION, max_tokens=48, temperature=0)
    stream = client.chat.completions.create(
        model=DEMO, messages=QUESTION, max_tokens=48, temperature=0, stream=True
    )
    pieces, arrivals = [], []
    for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            pieces.append(chunk.choices[0].delta.content)
            arrivals.append(time.monotonic())
    assert "".join(pieces) == plain.choices[0].message.content
    assert len(pieces) > 10
    # Pieces come while the rest is being made, not all at the end.
    assert len({round(moment, 3) for moment in arrivals}) > 5


def test_the_deployment_id_is_as_good_as_the_model_name(client: OpenAI) -> None:
    answer = client.chat.completions.create(model=DEMO_ID, messages=QUESTION, max_tokens=4)
    assert answer.choices


def test_a_prompt_is_completed(client: OpenAI) -> None:
    answer = client.completions.create(model=DEMO, prompt="One, two, three,", max_tokens=8, temperature=0)
    assert len(answer.choices[0].text) > 1


def test_texts_become_vectors_of_one_length(client: OpenAI) -> None:
    answer = client.embeddings.create(model=DEMO, input=["gravity", "the weather"])
    first, second = (item.embedding for item in answer.data)
    assert len(first) == len(second) > 100
    assert first != second


def test_listed_models_can_be_used(client: OpenAI) -> None:
    listed = [model.id for model in client.models.list()]
    assert DEMO in listed
    for name in listed:
        assert client.chat.completions.create(model=name, messages=QUESTION, max_tokens=2).choices
    assert client.models.retrieve(DEMO).id == DEMO


def test_errors_come_as_the_classes_that_the_client_knows(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="no-such-model", messages=QUESTION)
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=DEMO, messages="not a list")  # type: ignore[arg-type]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


def test_bad_json_is_the_clients_fault(cluster: Cluster) -> None:
    response = cluster.http.post("/v1/chat/completions", content=b'{"model": ')
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("streamed", [True, False])
def test_a_client_that_hangs_up_stops_the_generation(
    cluster: Cluster, client: OpenAI, streamed: bool
) -> None:
    most = 1500
    long = {"model": DEMO, "max_tokens": most, "temperature": 0, "logit_bias": {}, "ignore_eos": True}
    body = {**long, "messages": QUESTION, "stream": streamed}
    before = engine_says(cluster, "tokens_predicted_total")
    if streamed:
        with cluster.http.stream("POST", "/v1/chat/completions", json=body) as response:
            next(response.iter_bytes())
    else:
        with pytest.raises(Exception, match="timed out"):
            cluster.http.post("/v1/chat/completions", json=body, timeout=1.0)
    client.chat.completions.create(model=DEMO, messages=QUESTION, max_tokens=1)
    eventually(lambda: engine_says(cluster, "requests_processing") == 0, what="the engine is idle")
    made = engine_says(cluster, "tokens_predicted_total") - before
    assert made < most, "the long answer was given up"


def engine_says(cluster: Cluster, metric: str) -> float:
    """Ask the engine itself, on its own socket, for one of its figures."""
    import httpx2

    described = cluster.wait_ready()
    path = described["instances"][0]["address"].removeprefix("unix:")
    with httpx2.Client(
        transport=httpx2.HTTPTransport(uds=path), base_url="http://engine", timeout=60
    ) as engine:
        lines = engine.get("/metrics").text.splitlines()
    (value,) = [line.split()[1] for line in lines if line.startswith(f"llamacpp:{metric} ")]
    return float(value)
