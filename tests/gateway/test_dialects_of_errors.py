"""An error has the shape of the API that the client speaks, whoever makes it, and however early."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.gateway.conftest import Engines
from tests.gateway.kit import PlayedCluster, replica, running_gateway, served
from tests.gateway.raw_engine import Call
from tests.http_server.shells import Shell

pytestmark = [pytest.mark.anyio, pytest.mark.every_shell]

ASK: dict[str, Any] = {"model": "smol", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}


def is_anthropics(document: Any, kind: str, code: str) -> bool:
    error = document["error"]
    return (document["type"], error["type"], error["code"]) == ("error", kind, code) and bool(
        error["message"]
    )


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
async def test_every_error_of_messages_has_anthropics_shape(cluster: PlayedCluster, path: str) -> None:
    http = cluster.http()
    await cluster.deploy(served("other"))
    for body, kind, status, code in (
        (b"{", "invalid_request_error", 400, "invalid_json"),
        (b"{}", "invalid_request_error", 400, "model_required"),
        (json.dumps(ASK).encode(), "not_found_error", 404, "model_not_found"),
    ):
        answer = await http.post(path, content=body)
        assert answer.status_code == status
        assert is_anthropics(answer.json(), kind, code)
    answer = await http.get(path)
    assert (answer.status_code, answer.headers["allow"]) == (405, "OPTIONS, POST")
    assert is_anthropics(answer.json(), "invalid_request_error", "method_not_allowed")
    answer = await http.post(path, json=ASK, headers={"Content-Encoding": "br"})
    assert is_anthropics(answer.json(), "invalid_request_error", "unsupported_content_encoding")
    answer = await http.post("/v1/completions", content=b"{")
    assert answer.json().keys() == {"error"}, "others have OpenAI's"


async def test_so_do_those_that_come_before_the_body_is_read(tmp_path: Path, shell: Shell) -> None:
    locked: Any = {"shell": shell, "loopback": False, "admin_key": "k", "body_limit": 100, "requests": 1}
    async with running_gateway(tmp_path, **locked) as cluster:
        http = cluster.http()
        for method in ("POST", "GET"):
            answer = await http.request(method, "/v1/messages", json=ASK)
            assert answer.status_code == 401
            assert is_anthropics(answer.json(), "authentication_error", "invalid_api_key")
        key = {"Authorization": "Bearer k"}
        answer = await http.post("/v1/messages", content=b"x" * 200, headers=key)
        assert is_anthropics(answer.json(), "request_too_large", "body_too_large")
        cluster.gateway.give_up()
        answer = await http.post("/v1/messages", json=ASK, headers=key)
        assert is_anthropics(answer.json(), "overloaded_error", "gateway_stopping")


@pytest.mark.cleartext
async def test_so_do_those_of_the_server_itself(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as cluster:
        address = cluster.url.removeprefix("http://").split(":")
        async with await anyio.connect_tcp(address[0], int(address[1])) as stream:
            await stream.send(b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 70_000)
            answer = await stream.receive()
            while b"head_too_large" not in answer:
                answer += await stream.receive()
    assert answer.startswith(b"HTTP/1.1 431")
    assert is_anthropics(
        json.loads(answer.partition(b"\r\n\r\n")[2]), "invalid_request_error", "head_too_large"
    )


async def test_a_stream_of_messages_that_breaks_ends_with_anthropics_event(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    async def break_off(call: Call) -> None:
        await call.begin_events()
        await call.chunk(b'event: message_start\ndata: {"type": "message_start"}\n\n')
        await call.stream.aclose()

    async with broken_engine() as engine:
        engine.behave = break_off
        await cluster.deploy(served(backend="vllm"))
        await cluster.report(replica("smol:vllm", address=engine.address))
        answer = await cluster.http().post("/v1/messages", json={**ASK, "stream": True})
        assert answer.status_code == 200
        first, last = answer.text.strip().split("\n\n")
        assert "message_start" in first
        assert last.startswith("event: error\ndata: ")
        assert is_anthropics(json.loads(last.partition("data: ")[2]), "api_error", "engine_broke")


OFFERED = (
    *("/v1/responses", "/v1/messages", "/v1/messages/count_tokens", "/v1/rerank", "/v2/rerank", "/v1/score"),
    *("/rerank", "/score", "/tokenize", "/detokenize", "/pooling", "/classify", "/v1/audio/speech"),
    *("/v1/images/generations", "/v1/something/new"),
)


@pytest.mark.slow
async def test_what_an_engine_offers_is_passed_on_by_rule_with_its_own_errors(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    async def refuse(call: Call) -> None:
        await call.answer(422, {"error": {"message": "theirs", "path": call.head.split(b" ")[1].decode()}})

    async with broken_engine() as engine:
        engine.behave = refuse
        await cluster.deploy(served(backend="vllm"))
        await cluster.report(replica("smol:vllm", address=engine.address))
        for path in OFFERED:
            answer = await cluster.http().post(path, content=b'{"model":"smol",  "x":0.10}')
            assert answer.status_code == 422
            assert answer.json() == {"error": {"message": "theirs", "path": path}}
            assert engine.calls[-1].body == b'{"model":"smol",  "x":0.10}'
