"""What Anthropic's libraries get from the gateway at ``/v1/messages``: their errors, and ids of requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.gateway.conftest import Engines
from tests.gateway.kit import PlayedCluster, replica, running_gateway, served
from tests.gateway.raw_engine import Call
from tests.http_server.shells import Shell

pytestmark = [pytest.mark.anyio, pytest.mark.every_shell]

HELLO: Any = {"model": "smol", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}


async def say_hello(call: Call) -> None:
    await call.answer(200, {"type": "message", "content": []}, "request-id: the-engines-own")


async def test_an_answer_has_the_id_of_its_request_where_anthropics_libraries_look_for_it(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    async with broken_engine() as engine:
        engine.behave = say_hello
        await cluster.deploy(served(backend="vllm"))
        await cluster.report(replica("smol:vllm", address=engine.address))
        http = cluster.http()
        for path in ("/v1/messages", "/v1/messages/count_tokens"):
            for model, status in (("smol", 200), ("nobody", 404)):
                headers = {"X-Request-Id": "mine"}
                answer = await http.post(path, json=HELLO | {"model": model}, headers=headers)
                assert answer.status_code == status
                assert answer.headers.get_list("request-id") == ["mine"]
                assert answer.headers.get_list("x-request-id") == ["mine"]
        other = await http.post("/v1/chat/completions", json=HELLO | {"model": "nobody"})
        assert "request-id" not in other.headers


async def test_whatever_refuses_a_request_does_so_in_anthropics_shape(cluster: PlayedCluster) -> None:
    http = cluster.http()
    await cluster.deploy(served())
    far = {"Origin": "http://a.example"}
    for method, path, headers, status, kind in (
        ("GET", "/v1/messages", {}, 405, "invalid_request_error"),
        ("PUT", "/v1/messages/count_tokens", {}, 405, "invalid_request_error"),
        ("GET", "/v1/messages", far, 403, "permission_error"),
        ("POST", "/v1/messages", far, 403, "permission_error"),
        ("POST", "/v1/messages", {"Content-Encoding": "br"}, 415, "invalid_request_error"),
    ):
        answer = await http.request(method, path, json=HELLO, headers=headers)
        shown = answer.json()
        assert (answer.status_code, shown["type"], shown["error"]["type"]) == (status, "error", kind)
        assert shown["error"]["message"]


async def test_a_key_is_asked_for_in_anthropics_shape(tmp_path: Path, shell: Shell) -> None:
    async with running_gateway(tmp_path, shell=shell, loopback=False, admin_key="right") as cluster:
        answer = await cluster.http().post("/v1/messages", json=HELLO)
        assert (answer.status_code, answer.json()["error"]["type"]) == (401, "authentication_error")
        answer = await cluster.http().post("/v1/messages", json=HELLO, headers={"X-Api-Key": "right"})
    assert answer.status_code != 401
