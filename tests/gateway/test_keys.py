"""API keys at a gateway: made over HTTP, heard of from the head, and what they open, over real sockets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from structlog.testing import capture_logs
from tests.gateway.conftest import Engines
from tests.gateway.kit import PlayedCluster, replica, running_gateway, served
from tests.gateway.played_head import asked
from tests.gateway.raw_engine import Call
from tests.http_server.shells import Shell

from sllm_actors.gateway.routing.asked import Asked
from sllm_actors.gateway.routing.flow import ANONYMOUS, Flow
from sllm_actors.serving.keys.messages import ADMIN, CreateKey, DeleteKey, KnownKey, ListKeys, UpdateKey
from sllm_actors.serving.keys.secret import digest_of
from sllm_actors.serving.messages import Done
from sllm_actors.testing import TestProbe

pytestmark = [pytest.mark.anyio, pytest.mark.every_shell]

HELLO: Any = {"model": "smol", "messages": [{"role": "user", "content": "hello"}]}
CHAT = "/v1/chat/completions"
MADE = Done('{"name": "chat", "share": 2.0, "created": 5.0}')


def known(name: str, share: float = 1.0) -> KnownKey:
    return KnownKey(name, digest_of(secret(name).encode()), share, admin=name == ADMIN)


def secret(name: str) -> str:
    return f"sllm-key-of-{name}"


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret(name)}"}


async def let_in(cluster: PlayedCluster, *keys: KnownKey) -> None:
    """Let the head tell of exactly these keys."""
    cluster.nodes.link("head", "head")
    cluster.nodes.head.let_in(keys)
    await cluster.settle()


def flows_at(cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch) -> list[Flow]:
    """Return the flows of the requests that ask the balancer from now on."""
    seen: list[Flow] = []
    take = cluster.gateway.balancer.take

    def spying(asked: Asked, user: Any) -> Any:
        seen.append(asked.flow)
        return take(asked, user)

    monkeypatch.setattr(cluster.gateway.balancer, "take", spying)
    return seen


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(60):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.01)


# ---- over HTTP


async def test_a_key_is_made_at_the_gateway_and_only_its_digest_reaches_the_head(
    cluster: PlayedCluster, head: TestProbe
) -> None:
    with capture_logs() as logs:
        got, response = await asked(cluster, head, "POST", "/keys", '{"name": "chat", "share": 2}', MADE)
    made = response.json()
    assert response.status_code == 200
    assert got == CreateKey("chat", digest_of(made["key"].encode()), 2.0)
    assert made | {"key": ""} == {"name": "chat", "share": 2.0, "created": 5.0, "key": ""}
    assert made["key"] not in repr(got) + str(logs)
    assert got.digest not in str(logs)
    got, response = await asked(cluster, head, "POST", "/keys", '{"name": "b"}', MADE)
    assert got.share == 1.0
    assert response.json()["key"] != made["key"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "path", "body", "question"),
    [
        ("GET", "/keys", "", ListKeys()),
        ("PATCH", "/keys/chat", '{"share": 0.5}', UpdateKey("chat", 0.5)),
        ("PATCH", "/keys/a%2Fb", '{"share": 3}', UpdateKey("a/b", 3.0)),
        ("DELETE", "/keys/chat", "", DeleteKey("chat")),
    ],
)
async def test_what_is_asked_of_keys_reaches_the_head_and_its_answer_the_client(
    cluster: PlayedCluster, head: TestProbe, method: str, path: str, body: str, question: object
) -> None:
    got, response = await asked(cluster, head, method, path, body)
    assert got == question
    assert response.status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "path", "body", "code", "param"),
    [
        ("POST", "/keys", "", "invalid_json", None),
        ("POST", "/keys", '{"name": 5}', "invalid_request", "name"),
        ("POST", "/keys", '{"name": "a", "share": "2"}', "invalid_request", "share"),
        ("POST", "/keys", '{"name": "a", "share": true}', "invalid_request", "share"),
        ("POST", "/keys", '{"name": "a", "share": 1' + "0" * 300 + "}", "invalid_json", None),
        ("POST", "/keys", '{"name": "a", "key": "mine"}', "invalid_request", "key"),
        ("PATCH", "/keys/a", "{}", "invalid_request", "share"),
        ("PATCH", "/keys/a", '{"share": 1, "name": "b"}', "invalid_request", "name"),
    ],
)
async def test_a_body_that_cannot_be_meant_never_reaches_the_head(
    cluster: PlayedCluster, head: TestProbe, method: str, path: str, body: str, code: str, param: str | None
) -> None:
    response = await cluster.http().request(method, path, content=body.encode())
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, code, param)
    await head.expect_nothing()


# ---- what keys open


async def test_beyond_loopback_a_key_opens_models_and_only_the_admin_key_control(
    tmp_path: Path, shell: Shell, broken_engine: Engines
) -> None:
    async with (
        broken_engine() as engine,
        running_gateway(tmp_path, shell=shell, loopback=False, admin_key="own") as cluster,
    ):
        await cluster.deploy(served(backend="vllm"))
        await cluster.report(replica("smol:vllm", address=engine.address))
        await let_in(cluster, known("chat"), known(ADMIN))
        await cluster.lose("head")  # what it was asked would be answered by nobody
        http = cluster.http()

        async def asks(method: str, path: str, **more: Any) -> tuple[int, str]:
            answer = await http.request(method, path, **more)
            return answer.status_code, answer.json().get("error", {}).get("code", "")

        for headers in (bearer("chat"), bearer(ADMIN), {"Authorization": "Bearer own"}):
            assert await asks("POST", CHAT, json=HELLO, headers=headers) == (200, "")
            assert await asks("GET", "/v1/models", headers=headers) == (200, "")
            assert await asks("GET", "/v1/models/smol", headers=headers) == (200, "")
        for method, path in (("GET", "/status"), ("GET", "/keys"), ("DELETE", "/deployments/smol:vllm")):
            assert await asks(method, path, headers=bearer("chat")) == (403, "admin_key_required")
            assert await asks(method, path, headers=bearer("other")) == (401, "invalid_api_key")
            assert (await asks(method, path, headers=bearer(ADMIN)))[1] == "head_unavailable"
        assert await asks("GET", "/health") == (200, "")
        assert cluster.gateway.refusals() == {"admin_key_required": 3, "invalid_api_key": 3}


async def test_a_refused_request_is_one_line_of_the_log(tmp_path: Path, shell: Shell) -> None:
    async with running_gateway(tmp_path, shell=shell, loopback=False, admin_key="own") as cluster:
        with capture_logs() as logs:
            answer = await cluster.http().post(CHAT, json=HELLO, headers=bearer("other"))
        assert answer.status_code == 401
        told = [each for each in logs if each["event"].startswith("request.")]
        assert [(each["event"], each["code"]) for each in told] == [("request.failed", "invalid_api_key")]
        assert secret("other") not in str(logs)


async def test_a_request_is_in_the_flow_of_its_key_with_the_share_that_this_has_now(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch, broken_engine: Engines
) -> None:
    async with broken_engine() as engine:
        await cluster.deploy(served(backend="vllm"))
        await cluster.report(replica("smol:vllm", address=engine.address))
        await let_in(cluster, known("chat", 2.0), known(ADMIN))
        flows, http = flows_at(cluster, monkeypatch), cluster.http()

        async def ask(headers: dict[str, str]) -> None:
            assert (await http.post(CHAT, json=HELLO, headers=headers)).status_code == 200

        for headers in ({}, bearer("EMPTY"), bearer("chat"), bearer("chat"), bearer(ADMIN)):
            await ask(headers)
        assert flows == [ANONYMOUS, ANONYMOUS, Flow("chat", 2.0), Flow("chat", 2.0), Flow(ADMIN)]
        flows.clear()
        await let_in(cluster, known("chat", 0.5), known(ADMIN))
        await ask(bearer("chat"))
        await let_in(cluster)
        await ask(bearer("chat"))
        assert flows == [Flow("chat", 0.5), ANONYMOUS], "on a connection that was open all the time"


async def test_a_stream_outlives_its_key_and_the_next_request_on_its_connection_is_refused(
    tmp_path: Path, shell: Shell, broken_engine: Engines
) -> None:
    going_on = anyio.Event()

    async def pause(call: Call) -> None:
        await call.begin_events()
        await call.text("hel")
        await going_on.wait()
        await call.text("lo", "stop")
        await call.end()

    async with (
        broken_engine() as engine,
        running_gateway(tmp_path, shell=shell, loopback=False, admin_key="own") as cluster,
    ):
        engine.behave = pause
        await cluster.deploy(served(backend="vllm"))
        await cluster.report(replica("smol:vllm", address=engine.address))
        await let_in(cluster, known("chat"))
        http, text = cluster.http(), ""
        request: Any = {"json": HELLO | {"stream": True}, "headers": bearer("chat")}
        async with http.stream("POST", CHAT, **request) as answer:
            assert answer.status_code == 200
            async for piece in answer.aiter_text():
                text += piece
                if "hel" in text and not going_on.is_set():
                    await let_in(cluster)
                    going_on.set()
        assert "hel" in text
        assert text.rstrip().endswith("data: [DONE]"), "the stream ends undisturbed"
        assert (await http.post(CHAT, **request)).status_code == 401
        assert len(engine.calls) == 1


async def test_a_gateway_whose_head_is_gone_knows_its_keys_also_after_a_restart(
    tmp_path: Path, shell: Shell
) -> None:
    more: Any = {"shell": shell, "loopback": False, "admin_key": "own"}

    async def models(cluster: PlayedCluster, name: str) -> int:
        answer: httpx2.Response = await cluster.http().get("/v1/models", headers=bearer(name))
        return answer.status_code

    async with running_gateway(tmp_path, **more) as cluster:
        await cluster.deploy(served())
        await let_in(cluster, known("chat"), known("lost"))
        await cluster.lose("head")
        assert await models(cluster, "chat") == await models(cluster, "lost") == 200
    content = json.loads((tmp_path / "routing.json").read_text())
    assert {each["name"] for each in content["keys"]} == {"chat", "lost"}
    assert secret("chat") not in str(content)
    async with running_gateway(tmp_path, **more) as cluster:
        await until(lambda: cluster.gateway.complete.is_set())
        assert await models(cluster, "chat") == await models(cluster, "lost") == 200
        await let_in(cluster, known("chat"))
        assert (await models(cluster, "chat"), await models(cluster, "lost")) == (200, 401)
