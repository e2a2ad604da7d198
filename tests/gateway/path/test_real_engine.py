"""The openai package as a client, llama.cpp as the engine, and the whole gateway between them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx2
import openai
import pytest
from tests.gateway.kit import PlayedCluster, replica, served

pytestmark = pytest.mark.anyio

SAY_HI: Any = [{"role": "user", "content": "Say hi"}]
LONG: Any = [{"role": "user", "content": "Count from 1 to 1000, one number per line."}]


@pytest.fixture
async def serving(cluster: PlayedCluster, llama: str) -> PlayedCluster:
    await cluster.deploy(served())
    await cluster.report(replica(address=llama))
    return cluster


async def test_a_chat_is_answered(serving: PlayedCluster) -> None:
    answer = await serving.client().chat.completions.create(
        model="smol", messages=SAY_HI, max_tokens=8, temperature=0
    )
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 8


@pytest.mark.slow
async def test_a_stream_comes_chunk_by_chunk_and_says_the_same(serving: PlayedCluster) -> None:
    asked: Any = {"model": "smol:llamacpp", "messages": SAY_HI, "max_tokens": 8, "temperature": 0}
    whole = await serving.client().chat.completions.create(**asked)
    stream = await serving.client().chat.completions.create(**asked, stream=True)
    pieces = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
    assert len([piece for piece in pieces if piece]) == 8
    assert "".join(pieces) == whole.choices[0].message.content


async def test_completions_and_embeddings_are_answered(serving: PlayedCluster) -> None:
    client = serving.client()
    answer = await client.completions.create(model="smol", prompt="Once upon", max_tokens=4, temperature=0)
    assert answer.choices[0].text
    embedded = await client.embeddings.create(model="smol", input="hello", encoding_format="float")
    assert len(embedded.data[0].embedding) == 576


async def test_errors_of_the_engine_come_through_unchanged(serving: PlayedCluster) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await serving.client().chat.completions.create(model="smol", messages=[], max_tokens=-5, n=-1)
    assert isinstance(caught.value.body, dict)
    with pytest.raises(openai.NotFoundError) as missing:
        await serving.client().chat.completions.create(model="nobody", messages=SAY_HI)
    assert missing.value.code == "model_not_found"


@pytest.mark.parametrize("announced", [True, False], ids=["length", "chunks"])
async def test_an_upload_from_which_a_field_was_taken_is_a_whole_form(
    serving: PlayedCluster, *, announced: bool
) -> None:
    """The demo model hears nothing; of a form that is not whole the engine does not say so: that is 400."""

    def part(named: str, value: str) -> str:
        return f'--XB\r\nContent-Disposition: form-data; name="{named}"\r\n\r\n{value}\r\n'

    sound = part('file"; filename="a.wav', "RIFF" * 100_000)
    body = (part("model", "smol") + sound + part("keep_alive", "5m") + "--XB--\r\n").encode()

    async def in_pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 10_000):
            yield body[at : at + 10_000]

    headers = {"Content-Type": "multipart/form-data; boundary=XB"}
    if announced:
        headers["Content-Length"] = str(len(body))
    answer = await serving.http().post("/v1/audio/transcriptions", content=in_pieces(), headers=headers)
    assert answer.status_code == 501
    assert "does not support audio" in answer.json()["error"]["message"]


async def metric(llama: str, name: str) -> int:
    transport = httpx2.AsyncHTTPTransport(uds=llama.removeprefix("unix:"))
    async with httpx2.AsyncClient(transport=transport, base_url="http://engine", timeout=60) as http:
        text = (await http.get("/metrics", timeout=60)).text
    line = next(line for line in text.splitlines() if line.startswith(f"llamacpp:{name} "))
    return int(float(line.split()[1]))


async def until_idle(llama: str) -> None:
    with anyio.fail_after(60):
        while await metric(llama, "requests_processing"):  # noqa: ASYNC110 - it is another process that is looked at
            await anyio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "unstreamed"])
async def test_a_client_that_hangs_up_stops_the_generation(
    serving: PlayedCluster, llama: str, stream: bool
) -> None:
    await until_idle(llama)
    before = await metric(llama, "tokens_predicted_total")
    with anyio.move_on_after(0.7):
        answer: Any = await serving.client().chat.completions.create(
            model="smol", messages=LONG, max_tokens=3000, temperature=0, stream=stream
        )
        async for _ in answer:
            pass
    assert serving.gateway.balancer.total in (0, 1)
    await until_idle(llama)
    assert await metric(llama, "tokens_predicted_total") - before < 1000, "it went on"
    assert serving.gateway.balancer.total == 0
