"""Every error of the gateway, as the ``openai`` package shows it: its class, and what it retries."""

from __future__ import annotations

import inspect
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import openai
import pytest
from attrs import define, field
from tests.gateway.conftest import Engines
from tests.gateway.kit import PlayedCluster, replica, running_gateway, served
from tests.gateway.raw_engine import Call
from tests.gateway.test_errors import ALL

from sllm_actors.actors import NodeId
from sllm_actors.api_error import ApiError, method_not_allowed
from sllm_actors.engines.messages import ReplicaState
from sllm_actors.gateway import errors
from sllm_actors.gateway.path.inference import Inference
from sllm_actors.gateway.path.resolver import Resolver
from sllm_actors.gateway.path.server import HttpServer

pytestmark = pytest.mark.anyio

HELLO: Any = {"model": "smol", "messages": [{"role": "user", "content": "hello"}]}
LONGEST_WAIT = 60.0
"""Seconds of a Retry-After that every version of the client obeys."""

CLASSES: dict[int, type[openai.APIStatusError]] = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    409: openai.ConflictError,
    429: openai.RateLimitError,
}
RETRIED = {408, 409, 429}


class Hasty(openai.AsyncOpenAI):
    """The real client, but that it notes how long it would wait before it tries again, and does not wait."""

    waits: list[float]

    async def _sleep_for_retry(
        self, *, retries_taken: int, max_retries: int, options: Any, response: Any
    ) -> None:
        headers = None if response is None else response.headers
        left = max_retries - retries_taken
        self.waits = [*getattr(self, "waits", ()), self._calculate_retry_timeout(left, options, headers)]


@define
class Failing:
    """A server on which every request fails with the same error."""

    error: ApiError
    url: str = ""
    calls: int = 0
    shutdown: anyio.Event = field(factory=anyio.Event)

    async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:
        self.calls += 1
        head = {"status": self.error.status, "headers": self.error.headers}
        await send({"type": "http.response.start", **head})
        await send({"type": "http.response.body", "body": self.error.body})


@asynccontextmanager
async def failing_with(error: ApiError) -> AsyncIterator[Failing]:
    listener = socket.create_server(("127.0.0.1", 0))
    failing = Failing(error, f"http://127.0.0.1:{listener.getsockname()[1]}/v1")
    async with anyio.create_task_group() as tasks:

        async def serve() -> None:
            await HttpServer(failing).serve(listener, shutdown=failing.shutdown, grace=1)

        tasks.start_soon(serve)
        try:
            yield failing
        finally:
            failing.shutdown.set()


EACH = [error for error, *_ in ALL] + [method_not_allowed("PUT", "/v1/models", ["GET"])]


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("error", EACH, ids=[each.code for each in EACH])
async def test_the_client_raises_the_class_of_an_error_and_tries_again_what_may_pass(
    error: ApiError, stream: bool
) -> None:
    async with failing_with(error) as failing:
        async with Hasty(base_url=failing.url, api_key="k", max_retries=1, timeout=30) as client:
            with pytest.raises(openai.APIStatusError) as caught:
                await client.chat.completions.create(**HELLO, stream=stream)
        raised = caught.value
    kind = openai.InternalServerError if error.status >= 500 else openai.APIStatusError
    assert type(raised) is CLASSES.get(error.status, kind)
    assert (raised.status_code, raised.code, raised.param) == (error.status, error.code, error.param)
    assert error.message in str(raised)
    assert raised.request_id
    retries = error.should_retry is not False and (error.status in RETRIED or error.status >= 500)
    assert failing.calls == (2 if retries else 1)
    if error.retry_after is not None and retries:
        assert client.waits == [float(raised.response.headers["retry-after"])]
        assert 1 <= client.waits[0] <= LONGEST_WAIT


def test_every_error_that_the_gateway_makes_is_among_them() -> None:
    def makes_one(function: Any) -> bool:
        return inspect.isfunction(function) and function.__module__ == errors.__name__

    made = [name for name, _ in inspect.getmembers(errors, makes_one) if not name.startswith("_")]
    assert len(made) > 25
    here = Path(__file__).with_name("test_errors.py").read_text()
    assert [name for name in made if f"errors.{name}(" not in here] == []


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/responses"])
async def test_an_error_in_the_middle_of_a_stream_is_raised_with_its_code(
    cluster: PlayedCluster, broken_engine: Engines, path: str
) -> None:
    async def breaks_midway(call: Call) -> None:
        await call.begin_events()
        await call.event({"type": "response.output_text.delta", "delta": "hel", "choices": []})

    async with broken_engine() as engine:
        engine.behave = breaks_midway
        await ready(cluster, engine.address)
        client = cluster.client(max_retries=2)
        calls: dict[str, Callable[[], Awaitable[Any]]] = {
            "/v1/chat/completions": lambda: client.chat.completions.create(**HELLO, stream=True),
            "/v1/completions": lambda: client.completions.create(model="smol", prompt="x", stream=True),
            "/v1/responses": lambda: client.responses.create(model="smol", input="x", stream=True),
        }
        with pytest.raises(openai.APIError) as caught:
            async for _ in await calls[path]():
                pass
        assert caught.value.code == "engine_broke"
        assert len(engine.calls) == 1


# ---- each status, as it really comes about


async def ready(cluster: PlayedCluster, address: str, **more: Any) -> None:
    await cluster.deploy(served(backend="vllm", **more))
    await cluster.report(replica("smol:vllm", address=address))


async def raised(
    cluster: PlayedCluster,
    *,
    raw: bytes | Callable[[], AsyncIterator[bytes]] | None = None,
    path: str = "/chat/completions",
    key: str = "none",
    **more: Any,
) -> tuple[int, Any]:
    """Return the status and the code of the error that a streamed and a plain request get alike.

    Args:
        cluster: The gateway and what is behind it.
        raw: A body that is sent as it is, in place of a chat.
        path: Where that is sent.
        key: The key that the client has.
        more: What the chat has beside its message.
    """
    found = set()
    async with cluster.client(api_key=key) as client:

        async def ask(stream: bool) -> None:
            if raw is None:
                await client.chat.completions.create(**HELLO, stream=stream, **more)
            else:
                content = raw if isinstance(raw, bytes) else raw()
                await client.post(path, content=content, cast_to=object)

        for stream in (False, True):
            with pytest.raises(openai.APIStatusError) as caught:
                await ask(stream)
            assert caught.value.request_id
            found.add((caught.value.status_code, caught.value.code))
    (one,) = found
    return one


@pytest.mark.slow
async def test_what_the_request_itself_has_wrong(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, body_limit=2000, body_silence=0.2) as cluster:
        await cluster.deploy(served())

        async def slow() -> AsyncIterator[bytes]:
            yield b'{"model": '
            await anyio.sleep(5)

        assert await raised(cluster, raw=b'{"model": ') == (400, "invalid_json")
        assert await raised(cluster, raw=b"{}") == (400, "model_required")
        assert await raised(cluster, extra_headers={"Origin": "http://a.example"}) == (403, "forbidden_host")
        assert await raised(cluster, extra_body={"model": "other"}) == (404, "model_not_found")
        assert await raised(cluster, raw=b"{}", path="/no%20path") == (404, "unknown_url")
        assert await raised(cluster, raw=b"{}", path="/models") == (405, "method_not_allowed")
        assert await raised(cluster, extra_body={"x": "x" * 3000}) == (413, "body_too_large")
        coded = {"Content-Encoding": "br"}
        assert await raised(cluster, extra_headers=coded) == (415, "unsupported_content_encoding")
        assert await raised(cluster, extra_headers={"x-a": "a" * 70_000}) == (431, "head_too_large")
        hops = {"X-Sllm-Hops": ", ".join(f"gateway-{number}" for number in range(8))}
        assert await raised(cluster, extra_headers=hops) == (508, "loop_detected")
        assert await raised(cluster, raw=slow) == (408, "body_timeout")


async def test_no_key_and_a_wrong_key(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, loopback=False, admin_key="right") as cluster:
        await cluster.deploy(served())
        assert await raised(cluster, key="wrong") == (401, "invalid_api_key")
        assert await raised(cluster, extra_headers={"Authorization": ""}) == (401, "invalid_api_key")


async def test_two_deployments_have_what_an_update_is_about(cluster: PlayedCluster) -> None:
    cluster.head = NodeId("gateway-1")
    await cluster.deploy(served("two", "vllm"), served("two", "llamacpp"))
    with pytest.raises(openai.ConflictError) as caught:
        await cluster.client().post("/../update", body={"model": "two"}, cast_to=object)
    assert caught.value.code == "model_ambiguous"


@pytest.mark.slow
async def test_waiting_in_vain(tmp_path: Path, broken_engine: Engines) -> None:
    async def never(call: Call) -> None:
        await call.hung_up.wait()

    async with broken_engine() as engine, running_gateway(tmp_path, silence=0.3) as cluster:
        engine.behave = never
        await cluster.deploy(served(hold_timeout=0.1, backend="vllm"))
        assert await raised(cluster) == (503, "cold_start_timeout")
        await cluster.deploy(served(hold_limit=0, backend="vllm"))
        assert await raised(cluster) == (429, "hold_queue_full")
        await ready(cluster, engine.address)
        assert await raised(cluster) == (504, "engine_silent")


async def test_every_replica_is_full(cluster: PlayedCluster, broken_engine: Engines) -> None:
    async def never(call: Call) -> None:
        await call.hung_up.wait()

    async with broken_engine() as engine, anyio.create_task_group() as tasks:
        engine.behave = never
        await ready(cluster, engine.address, max_concurrency=1, queue_timeout=0.1)
        tasks.start_soon(lambda: cluster.client().chat.completions.create(**HELLO))
        await engine.first_call()
        assert await raised(cluster) == (429, "queue_timeout")
        tasks.cancel_scope.cancel()


@pytest.mark.slow
async def test_engines_and_nodes_that_fail(tmp_path: Path, broken_engine: Engines) -> None:
    async def breaks(call: Call) -> None:
        pass

    async with broken_engine() as engine, running_gateway(tmp_path, restart_notice=0.1) as cluster:
        engine.behave = breaks
        assert await raised(cluster) == (503, "head_unavailable")
        await ready(cluster, engine.address)
        assert await raised(cluster) == (502, "engine_broke")
        failed = replica("smol:vllm", state=ReplicaState.FAILED, reason="no GPU", retry_in=50.0)
        await cluster.report(failed)
        assert await raised(cluster) == (503, "replicas_failed")
        await cluster.deploy(served(backend="vllm", no_place="no worker has a GPU"))
        await cluster.report()
        assert await raised(cluster) == (503, "no_place")


async def test_too_many_requests_for_the_gateway(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, requests=0) as cluster:
        assert await raised(cluster) == (503, "overloaded")


@pytest.mark.slow
@pytest.mark.allow_blocking  # the traceback of the mistake is printed, with lines of the code
async def test_a_mistake_of_the_gateways_own(cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object) -> None:
        raise ZeroDivisionError

    for owner, place in ((Resolver, "resolve"), (Inference, "begin")):
        monkeypatch.setattr(owner, place, breaks)
        assert await raised(cluster) == (500, "internal_error")
    monkeypatch.undo()
    await cluster.deploy()
    assert await raised(cluster) == (404, "model_not_found")
