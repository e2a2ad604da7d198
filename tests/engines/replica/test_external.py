"""A replica that is a server of somebody else: reached, understood, watched, and the truth told of it."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.tls import TLSListener
from attrs import define, evolve, field
from tests.engines.kit import altered, report_of, start
from tests.strangers import own_connection

from sllm_actors.engines.external import ServerAccess
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import (
    ConfirmEngine,
    EngineConfirmed,
    ReplicaOrder,
    ReplicaReport,
    ReplicaState,
    StopReplica,
)
from sllm_actors.testing import TestSystem

pytestmark = pytest.mark.anyio

KEY = ReplicaKey("m:external", 1, 1)


@define
class TheirServer:
    """Answers health questions as a test says.

    Attributes:
        answers: By path; what is not there is 404. A status alone is an answer without a body.
        wants: The key that it wants, at every path in ``guarded``.
        heads: What was asked, headers and all.
    """

    answers: dict[str, int | tuple[int, Any]] = field(factory=lambda: {"/health": 200})
    wants: str = ""
    guarded: tuple[str, ...] = ("/health", "/v1/models")
    location: str = ""
    heads: list[str] = field(factory=list)

    async def answer(self, stream: SocketStream) -> None:
        head = (await stream.receive()).decode()
        self.heads.append(head)
        path = head.split()[1]
        found = self.answers.get(path, 404)
        status, body = found if isinstance(found, tuple) else (found, None)
        if self.wants and path in self.guarded and f"Bearer {self.wants}" not in head:
            status, body = 401, {"error": "no"}
        content = b"" if body is None else json.dumps(body).encode()
        lines = [f"HTTP/1.1 {status} Status", f"content-length: {len(content)}", "connection: close"]
        lines += [f"location: {self.location}"] if self.location else []
        await stream.send("\r\n".join([*lines, "", ""]).encode() + content)

    @asynccontextmanager
    async def listening(self, port: int = 0, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
        """Listen; give the address. Ends as a process that is killed: at once."""
        listener: Any = await anyio.create_tcp_listener(
            local_host="127.0.0.1", local_port=port, reuse_port=True
        )
        port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - anyio's extra
        if context is not None:
            listener = TLSListener(listener, context, standard_compatible=False)
        async with listener, anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, own_connection(self.answer))
            yield f"{'http' if context is None else 'https'}://localhost:{port}"
            tasks.cancel_scope.cancel()


@pytest.fixture
def host(host: EngineHost) -> EngineHost:
    """A worker that waits long for each answer, so that a busy machine is not taken for a dead server."""
    return altered(host, health=evolve(host.policy.health, timeout=10.0))


def order(source: str, **settings: Any) -> ReplicaOrder:
    return ReplicaOrder(KEY, "m", "external", source, settings)


async def told(host: EngineHost, what: ReplicaOrder, state: ReplicaState, reason: str = "") -> ReplicaReport:
    """Return the first report of a replica in that state, and with that in its reason, and end it."""
    async with TestSystem() as system:
        _, probe = await start(system, what, host)
        return await report_of(probe, state, lambda report: reason in report.reason)
    raise AssertionError("unreachable")


@pytest.mark.slow
async def test_a_server_that_goes_away_and_comes_back_is_followed(host: EngineHost) -> None:
    theirs = TheirServer({"/v1/models": 200})  # it has no /health
    async with TestSystem() as system:
        async with theirs.listening() as address:
            replica, probe = await start(system, order(f"{address}/v1", connect_timeout=2.0), host)
            reaching = await report_of(probe, ReplicaState.STARTING, lambda report: report.id.attempt > 0)
            assert reaching.progress == f"reaching {address}/v1"
            first = await report_of(probe, ReplicaState.READY)
            assert (first.address, first.pid) == (address, 0)
        down = await report_of(probe, ReplicaState.STARTING)
        refused = "connection refused (nothing listens there)"
        assert down.reason == f"{address} does not serve any more: {refused}"
        failed = await report_of(probe, ReplicaState.FAILED)
        assert (failed.reason, failed.server) == (f"{address} cannot be reached: {refused}", None)
        async with theirs.listening(int(address.rpartition(":")[2])):
            second = await report_of(probe, ReplicaState.READY)
            # A request that broke on the first may be sent to the second.
            assert second.id != first.id
            replica.tell(StopReplica("test", drain=False))
            await report_of(probe, ReplicaState.STOPPED)


@pytest.mark.slow
async def test_a_server_that_is_loading_is_waited_for_as_an_engine_is(host: EngineHost) -> None:
    theirs = TheirServer({"/health": 503})
    async with TestSystem() as system, theirs.listening() as address:
        _, probe = await start(system, evolve(order(address), startup_timeout=0.5), host)
        await report_of(probe, ReplicaState.STARTING, lambda report: report.progress.startswith("loading"))
        failed = await report_of(probe, ReplicaState.FAILED)
        assert failed.reason.startswith(f"{address} is not ready after 0.5 s: loading the model")
        theirs.answers["/health"] = 200
        await report_of(probe, ReplicaState.READY)


async def test_a_server_of_somebody_else_serves_while_it_answers_its_health_check(host: EngineHost) -> None:
    theirs = TheirServer({"/health": 200, "/v1/models": 200})
    async with TestSystem() as system, theirs.listening() as address:
        host = altered(host, health=evolve(host.policy.health, misses=10_000))
        replica, probe = await start(system, order(address), host)
        ready = await report_of(probe, ReplicaState.READY)
        assert await replica.ask(ConfirmEngine(ready.id), timeout=60) == EngineConfirmed(serving=True)

        theirs.answers["/health"] = 503
        ill = await replica.ask(ConfirmEngine(ready.id), timeout=60)
        assert ill == EngineConfirmed(reason="loading the model (status 503)")


@pytest.mark.parametrize(
    ("listed", "settings", "name"),
    [
        ([{"id": "theirs"}], {}, "theirs"),
        ([{"id": "theirs"}], {"upstream_model": "chosen"}, "chosen"),
        ([{"id": "a"}, {"id": "b"}], {}, "m"),
        ([], {}, "m"),
        ([7], {}, "m"),
        ([{"id": "a\nb"}], {}, "m"),
        (None, {}, "m"),
    ],
)
async def test_the_model_has_the_name_that_the_server_gives_it(
    host: EngineHost, listed: list[Any] | None, settings: dict[str, Any], name: str
) -> None:
    async with TheirServer({"/health": 200, "/v1/models": (200, {"data": listed})}).listening() as address:
        ready = await told(host, order(address, **settings), ReplicaState.READY)
    assert ready.server == ServerAccess(model=name)


@pytest.mark.slow
async def test_a_server_whose_model_is_replaced_is_asked_for_the_new_one(host: EngineHost) -> None:
    theirs = TheirServer({"/health": 200, "/v1/models": (200, {"data": [{"id": "old"}]})})
    async with TestSystem() as system, theirs.listening() as address:
        _, probe = await start(system, order(address), host)
        assert (await report_of(probe, ReplicaState.READY)).server == ServerAccess("old")
        theirs.answers["/v1/models"] = (200, {"data": [{"id": "new"}]})
        again = await report_of(probe, ReplicaState.READY)
        assert (again.server, again.reason) == (
            ServerAccess("new"),
            f"{address} serves another model now, new",
        )


async def test_key_and_headers_are_sent_and_are_in_no_report(
    host: EngineHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = TheirServer({"/health": 200, "/v1/models": 200}, wants="sk-their-key", guarded=("/v1/models",))
    (tmp_path / "key").write_text("sk-their-key\n")
    monkeypatch.setenv("THEIR_KEY", "sk-their-key")
    async with theirs.listening() as address:
        for way in ({"api_key_env": "THEIR_KEY"}, {"api_key_file": str(tmp_path / "key")}):
            settings = {**way, "headers": {"X-Team": "blue"}}
            ready = await told(host, order(address, **settings), ReplicaState.READY)
            assert "sk-their-key" not in repr(ready)
        assert all("x-team: blue" in head.lower() for head in theirs.heads)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answers", "settings", "why"),
    [
        ({}, {}, "status 404: there is no /v1/models; name another path by health_path"),
        ({}, {"health_path": "/up"}, "status 404: there is no /up; name another path by health_path"),
        (
            {"/health": 401},
            {},
            "status 401 at /health: it wants a key: name it by api_key_env or api_key_file",
        ),
        ({"/health": 403}, {"api_key_env": "HOME"}, "status 403 at /health: it refuses the key"),
        (
            {"/health": 200, "/v1/models": 401},
            {"api_key_env": "HOME"},
            "status 401 at /v1/models: it refuses",
        ),
        ({"/health": 307}, {}, "status 307 at /health: it redirects to elsewhere:8, which is not followed"),
        ({"/health": 500}, {}, "status 500 at /health"),
        (
            {},
            {"api_key_env": "NO_SUCH_VARIABLE"},
            "the environment variable NO_SUCH_VARIABLE, which api_key_env",
        ),
        (
            {},
            {"api_key_file": "/no/such"},
            "the file /no/such, which api_key_file names, cannot be read on this",
        ),
    ],
)
async def test_the_true_reason_is_told(
    host: EngineHost, answers: dict[str, Any], settings: dict[str, Any], why: str
) -> None:
    async with TheirServer(answers, location="http://elsewhere:8/?secret").listening() as address:
        settings["connect_timeout"] = 0.2
        failed = await told(host, order(address, **settings), ReplicaState.FAILED, why)
    assert failed.reason.startswith(f"{address} cannot be reached: {why}")
    assert "secret" not in failed.reason


async def test_proxies_of_the_environment_are_not_used(
    host: EngineHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with TheirServer().listening() as address:
        await told(host, order(address), ReplicaState.READY)


@pytest.mark.slow
async def test_a_redirect_with_a_secret_in_it_is_not_shown(host: EngineHost) -> None:
    async with TheirServer({"/health": 302}, location="http://u:secret@a/?b").listening() as address:
        failed = await told(host, order(address, connect_timeout=5.0), ReplicaState.FAILED, "302")
    assert failed.reason.endswith("status 302 at /health: it redirects, which is not followed")


@pytest.mark.slow
async def test_a_private_authority_is_trusted_where_it_is_named(
    host: EngineHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    path = tmp_path / "ca.pem"
    async with TheirServer().listening(context=context) as address:
        what = order(address, connect_timeout=5.0, ca_file=str(path))
        async with TestSystem() as system:
            _, probe = await start(system, what, host)
            failed = await report_of(probe, ReplicaState.FAILED)
            assert failed.reason.startswith(f"{address} cannot be reached: ca_file {path} cannot be read: No")
            authority.cert_pem.write_to_path(path)
            await report_of(probe, ReplicaState.READY)
        failed = await told(host, order(address, connect_timeout=5.0), ReplicaState.FAILED, "not trusted")
        assert "name the authority by ca_file" in failed.reason
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        await told(host, order(address), ReplicaState.READY)


@pytest.mark.slow
async def test_a_server_that_does_not_speak_http_is_told(host: EngineHost) -> None:
    async def answer(stream: SocketStream) -> None:
        await stream.receive()
        await stream.send(b"SSH-2.0-nonsense\r\n")

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, own_connection(answer))
        address = f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"  # noqa: S610 - anyio's extra
        failed = await told(host, order(address, connect_timeout=5.0), ReplicaState.FAILED, "speak HTTP")
        tasks.cancel_scope.cancel()
    assert failed.reason.endswith("what answers there does not speak HTTP as it should")
