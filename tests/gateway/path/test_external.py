"""A whole gateway before servers that somebody else runs: what is sent there, and what clients are told."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSListener
from attrs import evolve
from tests.gateway.conftest import Engines
from tests.gateway.kit import PlayedCluster, replica, running_gateway, served
from tests.gateway.raw_engine import Call, RawEngine, say_hello

from sllm_actors.engines.external import ServerAccess
from sllm_actors.engines.messages import ReplicaState

pytestmark = pytest.mark.anyio

ID = "ours:external"
CHAT: dict[str, Any] = {"model": "ours", "messages": [{"role": "user", "content": "hi"}]}


async def deploy(cluster: PlayedCluster, *addresses: str, **access: Any) -> None:
    """Deploy servers that their worker has reached."""
    server = evolve(ServerAccess("theirs", connect_timeout=10.0), **access)
    await cluster.deploy(served("ours", "external"))
    reports = [
        replica(ID, address=address, number=number, server=server) for number, address in enumerate(addresses)
    ]
    await cluster.report(*reports)


async def say_theirs(call: Call) -> None:
    """Answer under the name that the server gives the model."""
    choice = {"index": 0, "message": {"role": "assistant", "content": '"model":"theirs"'}}
    if call.document.get("stream"):
        await call.begin_events()
        await call.event(
            {"model": "theirs", "choices": [{"index": 0, "delta": {"content": '"model":"theirs"'}}]}
        )
        await call.end()
    else:
        await call.answer(200, {"id": "c", "model": "theirs-2024", "choices": [choice]})


@pytest.mark.parametrize("stream", [False, True])
async def test_each_side_has_its_own_name_for_the_model(
    cluster: PlayedCluster, broken_engine: Engines, stream: bool
) -> None:
    async with broken_engine() as theirs:
        theirs.behave = say_theirs
        await deploy(cluster, theirs.address)
        asked = {**CHAT, "stream": stream, "backend": "external"}
        answer = await cluster.http().post("/v1/chat/completions", json=asked)
    assert theirs.calls[0].document == {**CHAT, "model": "theirs", "stream": stream}
    assert answer.status_code == 200
    document = json.loads(answer.text.removeprefix("data: ").partition("\n\n")[0] if stream else answer.text)
    assert document["model"] == "ours"
    assert json.dumps('"model":"theirs"') in json.dumps(document["choices"])


async def test_the_servers_key_and_headers_are_sent_and_the_clients_are_not(
    cluster: PlayedCluster, broken_engine: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THEIR_KEY", "sk-theirs")
    async with broken_engine() as theirs:
        await deploy(cluster, f"{theirs.address}/base", key_env="THEIR_KEY", headers={"X-Team": "blue"})
        credentials = dict.fromkeys(
            ("Authorization", "X-Api-Key", "api-key", "Cookie", "Proxy-Authorization", "X-Auth-Token"),
            "sk-mine",
        )
        answer = await cluster.http().post(
            "/v1/chat/completions?key=sk-mine&v=1",
            json=CHAT,
            headers={**credentials, "X-Team": "red", "X-Trace": "1"},
        )
    assert answer.status_code == 200
    head = theirs.calls[0].head.decode().lower()
    assert head.startswith("post /base/v1/chat/completions?v=1 http/1.1")
    assert "sk-mine" not in head
    assert "authorization: bearer sk-theirs" in head
    assert "x-team: blue" in head
    assert "x-team: red" not in head
    assert "x-trace: 1" in head
    assert f"host: 127.0.0.1:{theirs.port}" in head


async def test_no_credential_of_a_client_reaches_an_engine_of_ours_either(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    async with broken_engine() as engine:
        await cluster.deploy(served())
        await cluster.report(replica(address=f"loopback:{engine.port}"))
        headers = dict.fromkeys(("Authorization", "X-Api-Key", "api-key", "Cookie"), "sk-mine")
        await cluster.http().post("/v1/chat/completions", json={**CHAT, "model": "smol"}, headers=headers)
    assert b"sk-mine" not in engine.calls[0].head


# ---- when it cannot be reached


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        return int(gone.getsockname()[1])


async def refused(cluster: PlayedCluster, **more: Any) -> dict[str, Any]:
    answer = await cluster.http().post("/v1/chat/completions", json={**CHAT, **more})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (503, "server_unreachable")
    assert "retry-after" in answer.headers
    assert isinstance(error["message"], str)
    return dict(error)


@pytest.mark.slow
async def test_a_server_that_is_gone_is_waited_for_no_longer_than_its_connect_timeout(
    cluster: PlayedCluster,
) -> None:
    address = f"http://127.0.0.1:{closed_port()}"
    await deploy(cluster, address)
    error = await refused(cluster)
    assert error["message"] == (
        f"{ID} cannot serve now: {address} cannot be reached from this gateway:"
        " connection refused (nothing listens there)"
    )


async def test_another_server_takes_over_for_one_that_is_gone(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    async with broken_engine() as theirs:
        await deploy(cluster, f"http://127.0.0.1:{closed_port()}", theirs.address)
        for _ in range(5):
            answer = await cluster.http().post("/v1/chat/completions", json=CHAT)
            assert answer.status_code == 200


async def test_a_server_that_its_worker_cannot_reach_is_not_waited_for(cluster: PlayedCluster) -> None:
    await cluster.deploy(served("ours", "external"))
    reason = "http://a cannot be reached: its name is not known (no address for it)"
    await cluster.report(replica(ID, ReplicaState.FAILED, reason=reason))
    assert (await refused(cluster))["message"] == f"{ID} cannot serve now: {reason}"


async def test_requests_held_while_it_is_being_reached_are_told_why_it_was_not(
    cluster: PlayedCluster,
) -> None:
    await cluster.deploy(served("ours", "external"))
    await cluster.report(replica(ID, ReplicaState.STARTING))
    errors: list[dict[str, Any]] = []

    async def ask() -> None:
        errors.append(await refused(cluster))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask)
        await anyio.sleep(0.1)
        assert not errors
        await cluster.report(replica(ID, ReplicaState.FAILED, reason="there is no route to it"))
    assert [error["message"] for error in errors] == [f"{ID} cannot serve now: there is no route to it"] * 3


@pytest.mark.slow
async def test_a_key_that_this_gateway_does_not_have_is_named(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    async with broken_engine() as theirs:
        await deploy(cluster, theirs.address, key_env="NOT_HERE")
        error = await refused(cluster)
    assert (
        "the environment variable NOT_HERE, which api_key_env names, is not set on this gateway"
        in error["message"]
    )
    assert not theirs.calls


# ---- TLS


@asynccontextmanager
async def secure_server(certificate: trustme.LeafCert) -> AsyncIterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - anyio's extra
    theirs = RawEngine(port, say_hello)
    secure: Any = TLSListener(listener, context, standard_compatible=False)
    async with secure, anyio.create_task_group() as tasks:
        tasks.start_soon(secure.serve, theirs.serve)
        yield f"https://localhost:{port}"
        tasks.cancel_scope.cancel()


@pytest.mark.slow
async def test_a_private_authority_is_trusted_where_it_is_named_and_nowhere_else(
    cluster: PlayedCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, made = trustme.CA(), 0
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    create = ssl.create_default_context

    def counted(**options: Any) -> ssl.SSLContext:
        nonlocal made
        made += 1
        return create(**options)

    monkeypatch.setattr(ssl, "create_default_context", counted)
    async with secure_server(authority.issue_cert("localhost")) as address:
        await deploy(cluster, address, ca_file=str(path))
        for _ in range(3):
            answer = await cluster.http().post("/v1/chat/completions", json=CHAT)
            assert answer.status_code == 200
        assert made == 1, "a context is made once"
        await deploy(cluster, address)
        assert "its certificate is not trusted" in (await refused(cluster))["message"]


# ---- loops


async def test_a_gateway_that_is_its_own_server_says_so_at_the_first_round(cluster: PlayedCluster) -> None:
    await deploy(cluster, cluster.url, model="ours")
    answer = await cluster.http().post("/v1/chat/completions", json=CHAT)
    assert (answer.status_code, answer.json()["error"]["code"]) == (508, "loop_detected")


async def test_a_loop_over_another_gateway_is_found_too(cluster: PlayedCluster, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    async with running_gateway(tmp_path / "other") as other:
        await deploy(cluster, other.url, model="ours")
        await deploy(other, cluster.url, model="ours")
        for first in (cluster, other):
            answer = await first.http().post("/v1/chat/completions", json={**CHAT, "stream": True})
            assert (answer.status_code, answer.json()["error"]["code"]) == (508, "loop_detected")
