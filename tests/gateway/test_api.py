"""Everything but inference, as the command line and curl use it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import httpx2
import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sllm_actors.actors import NodeId
from sllm_actors.engines.identity import ReplicaId
from sllm_actors.engines.messages import LogChunk, ReadLog, ReplicaState
from sllm_actors.gateway.cors import Cors
from sllm_actors.serving.messages import (
    ControlAnswer,
    DeleteDeployment,
    Deploy,
    Done,
    Refusal,
    RefusalKind,
)
from sllm_actors.serving.views.messages import (
    DescribeCluster,
    DescribeDeployment,
    DescribeDeployments,
    DescribeNodes,
)
from sllm_actors.testing import TestProbe

from .kit import PlayedCluster, replica, running_gateway, served
from .played_head import played_head

pytestmark = [pytest.mark.anyio, pytest.mark.every_shell]

NAME = "/models/org/my model:v1:llamacpp"


async def answering(probe: TestProbe, kind: type[Any], answer: object) -> Any:
    """Answer the next question of a probe and return it."""
    question = await probe.expect(kind)
    probe.reply(answer)
    return question


async def test_models_are_listed_and_found_by_both_names(cluster: PlayedCluster) -> None:
    await cluster.deploy(served("org/smol", created=12.7), served("two", "vllm"), served("two", "llamacpp"))
    client = cluster.client()
    assert [model.id async for model in client.models.list()] == ["org/smol", "two:llamacpp", "two:vllm"]
    one = await client.models.retrieve("org/smol")
    assert (one.id, one.created, one.object) == ("org/smol", 12, "model")
    assert (await client.models.retrieve("two:vllm")).id == "two:vllm"
    missing = await cluster.http().get("/v1/models/nobody")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


async def test_a_model_is_listed_with_how_it_is_and_what_else_it_is_called(cluster: PlayedCluster) -> None:
    await cluster.deploy(served("smol", aliases=("small", "s"), created=7.9))
    http = cluster.http()
    entry = {"id": "smol", "object": "model", "created": 7, "owned_by": "sllm", "aliases": ["small", "s"]}
    loads, brings = replica(state=ReplicaState.STARTING), replica(state=ReplicaState.STARTING, number=2)
    brings = evolve(brings, downloading=True)
    for reports, value, status in (
        ((), "unloaded", "pending"),
        ((brings,), "downloading", "starting"),
        ((brings, loads), "loading", "starting"),
        ((brings, replica(state=ReplicaState.ASLEEP)), "sleeping", "asleep"),
        ((replica(state=ReplicaState.FAILED),), "unloaded", "failed"),
    ):
        await cluster.report(*reports)
        shown = {"status": {"value": value, "state": status, "failed": status == "failed"}}
        assert (await http.get("/v1/models")).json()["data"] == [entry | shown]
    await cluster.report(replica(context_length=2048, attempt=2))
    loaded = {"value": "loaded", "state": "ready", "failed": False}
    known = {"status": loaded, "context_length": 2048, "max_model_len": 2048}
    for path in ("/v1/models", "/models"):
        assert (await http.get(path)).json()["data"] == [entry | known]
    assert (await http.get("/v1/models/small")).json() == entry | known | {"id": "small"}


async def test_health_is_good_with_and_without_a_head(cluster: PlayedCluster) -> None:
    http = cluster.http()
    assert (await http.get("/health")).json()["head"] == "down"
    cluster.head = NodeId("head")
    answer = await http.get("/health", headers={"x-request-id": "mine"})
    assert (answer.status_code, answer.json()["status"], answer.json()["head"]) == (200, "ok", "up")
    assert answer.headers["x-request-id"] == "mine"


async def test_without_a_head_control_is_refused_with_a_sentence(cluster: PlayedCluster) -> None:
    http = cluster.http()
    for head in (None, NodeId("head-that-is-away")):
        cluster.head = head
        for method, path in (("GET", "/status"), ("POST", "/deployments"), ("DELETE", "/deployments/m:a")):
            answer = await http.request(method, path, json={} if method == "POST" else None)
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "1"
            assert answer.json()["error"]["code"] == "head_unavailable"


async def test_the_heads_answers_are_passed_on_as_they_are(cluster: PlayedCluster) -> None:
    head = await played_head(cluster)
    http = cluster.http()
    asked: list[Any] = []
    answers: list[Any] = []
    path = f"/deployments/{quote(NAME, safe='')}"

    async def ask(method: str, target: str, answer: ControlAnswer, content: str | None = None) -> None:
        async def reply() -> None:
            asked.append(await answering(head, object, answer))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reply)
            answers.append(await http.request(method, target, content=content))

    body = '{"id": "x",  "n": 1.50}'
    await ask("POST", "/deployments", Done(body, pending=True), '{"model":  "m"}')
    await ask("GET", path, Done(body))
    await ask("GET", "/status", Done(body))
    await ask("GET", "/status?limit=7&cursor=abc&state=ready&model=m&backend=b&node=w", Done(body))
    await ask("GET", "/deployments?limit=10&cursor=abc&model=org%2Fsmol", Done(body))
    await ask("GET", "/nodes?limit=5&role=worker&state=down", Done(body))
    await ask("DELETE", path, Refusal(RefusalKind.UNKNOWN, "not_found", "no", retry_after=2.0))
    assert asked == [
        Deploy('{"model":  "m"}'),
        DescribeDeployment(NAME),
        DescribeCluster(),
        DescribeCluster(7, "abc", "ready", "m", "b", "w"),
        DescribeDeployments(10, "abc", model="org/smol"),
        DescribeNodes(5, role="worker", state="down"),
        DeleteDeployment(NAME),
    ]
    assert [answer.status_code for answer in answers] == [202, 200, 200, 200, 200, 200, 404]
    assert all(answer.text == body for answer in answers[:-1])
    error = {"message": "no", "type": "not_found_error", "param": None, "code": "not_found"}
    assert answers[-1].json() == {"error": error}
    assert answers[-1].headers["retry-after"] == "2"


async def test_a_list_is_not_asked_for_with_parameters_that_mean_nothing(cluster: PlayedCluster) -> None:
    head = await played_head(cluster)
    http = cluster.http()
    for target, param in (
        ("/status?stat=ready", "stat"),
        ("/deployments?limit=ten", "limit"),
        ("/nodes?role=worker&role=gateway", "role"),
    ):
        answer = await http.get(target)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (400, "invalid_parameter", param)
    await head.expect_nothing()


async def test_a_deployment_that_is_not_json_never_reaches_the_head(cluster: PlayedCluster) -> None:
    head = await played_head(cluster)
    http = cluster.http()
    for content in (b"", b"{", b"[]", b"\xff", b"[" * 60_000):
        answer = await http.post("/deployments", content=content)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_json")
    large = await http.post("/deployments", content=b"x" * (2**16 + 1))
    assert (large.status_code, large.json()["error"]["code"]) == (413, "body_too_large")
    assert large.json()["error"]["message"] == "the request's body may have at most 65536 bytes"
    await head.expect_nothing()


async def test_a_log_is_read_from_the_worker_that_has_it(cluster: PlayedCluster) -> None:
    deployment = NAME
    await cluster.report(replica(deployment))
    worker = await cluster.nodes.probe("worker-1")
    http = cluster.http()
    asked: list[Any] = []

    async def reply() -> None:
        asked.append(await answering(worker, ReadLog, LogChunk(5, 9, "abcd")))

    name = quote(f"{deployment}@1.1.1", safe=":@")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reply)
        answer = await http.get(f"/instances/{name}/logs?offset=5&limit=1048576")
    assert asked == [ReadLog(ReplicaId(deployment, 1, 1, 1).key, 5, 65536)]
    assert answer.json() == {
        "id": f"{deployment}@1.1.1",
        "offset": 5,
        "next_offset": 9,
        "text": "abcd",
        "ended": False,
    }
    for missing in ("nobody", "m:a@1.1.1", "m:a@1.1"):
        assert (await http.get(f"/instances/{missing}/logs")).status_code == 404
    wrong = await http.get(f"/instances/{name}/logs?offset=-1")
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "offset")


async def test_who_follows_a_log_gets_its_end_when_the_replica_is_gone(cluster: PlayedCluster) -> None:
    await cluster.report(replica(NAME))
    worker = await cluster.nodes.probe("worker-1")
    path = f"/instances/{quote(f'{NAME}@1.1.1', safe=':@')}/logs"
    http = cluster.http()

    async def read(offset: int, chunk: LogChunk) -> dict[str, Any]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answering, worker, ReadLog, chunk)
            answer = await http.get(f"{path}?offset={offset}")
        return dict(answer.json())

    assert (await read(0, LogChunk(0, 3, "one")))["text"] == "one"
    await cluster.report()
    assert (await read(3, LogChunk(3, 6, "two")))["text"] == "two"
    assert (await read(6, LogChunk(6, 6, "", ended=True)))["ended"] is True
    await cluster.report(replica(NAME, number=2))
    other = quote(f"{NAME}@1.3.1", safe=":@")
    assert (await http.get(f"/instances/{other}/logs")).status_code == 404


async def test_what_is_not_there_is_an_error_of_the_same_shape(cluster: PlayedCluster) -> None:
    http = cluster.http()
    for method, path, status in (
        ("GET", "/nothing", 404),
        ("GET", "/v1/nothing", 405),
        ("HEAD", "/v3/nothing", 404),
        ("OPTIONS", "/v3/nothing", 404),
        ("GET", "/v1/chat/completions", 405),
        ("GET", "/v1/responses/mine", 404),
        ("DELETE", "/v1/responses/mine", 404),
        ("POST", "/v1/responses/mine/cancel", 404),
        ("GET", "/v1/files/mine", 404),
        ("POST", "/v1/chat%2Fcompletions", 404),
        ("POST", "/v1/chat/completions%ff", 404),
        ("POST", "/v1/../slots/0", 404),
        ("POST", "/health", 405),
        ("PUT", "/deployments", 405),
        ("GET", "//", 404),
    ):
        answer = await http.request(method, path)
        assert answer.status_code == status, path
        if method == "HEAD":
            continue
        error = answer.json()["error"]
        assert isinstance(error["code"], str)
        assert error["message"]
        assert error["type"]


READ, WRITE = "GET, HEAD, OPTIONS", "OPTIONS, POST"


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        *(
            ("/health", READ),
            ("/models", READ),
            ("/v1/models", READ),
            ("/v1/models/smol", READ),
            ("/status", READ),
        ),
        *(("/deployments/smol:llamacpp", "DELETE, GET, HEAD, OPTIONS, PATCH"), ("/instances/x/logs", READ)),
        *(("/deployments/a/b:vllm/pause", WRITE), ("/deployments/a:vllm/resume", WRITE), ("/update", WRITE)),
        *(("/nodes/rack-1/drain", WRITE), ("/nodes/rack-1/undrain", WRITE)),
        *(("/v1/chat/completions", WRITE), ("/v1/messages", WRITE), ("/v1/audio/transcriptions", WRITE)),
        *(
            ("/tokenize", WRITE),
            ("/v2/rerank", WRITE),
            ("/v1/responses/resp_1", "DELETE, GET, OPTIONS, POST"),
        ),
        *(("/deployments", "GET, HEAD, OPTIONS, POST"), ("/nodes", READ), ("/instances/x/sleep", WRITE)),
    ],
)
async def test_every_path_says_which_methods_it_takes(cluster: PlayedCluster, path: str, allow: str) -> None:
    await cluster.deploy(served())
    http = cluster.http()
    asked = await http.options(path)
    assert (asked.status_code, asked.content) == (200, b"")
    assert sorted(asked.headers["allow"].split(", ")) == allow.split(", ")
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"} - set(allow.split(", ")):
        answer = await http.request(method, path, json={"model": "smol"})
        assert (answer.status_code, answer.headers["allow"]) == (405, allow), method
        error = answer.json()["error"]
        assert error["code"] == "method_not_allowed"
        assert error["message"] == f"{path} does not take {method}: it takes {allow}"


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/v1/models/smol", "/v1/models/gone", "/nothing"])
async def test_head_is_get_without_its_body(cluster: PlayedCluster, path: str) -> None:
    await cluster.deploy(served())
    http = cluster.http()
    got, asked = await http.get(path), await http.head(path)
    assert (asked.status_code, asked.content) == (got.status_code, b"")
    for name in ("content-length", "content-type"):
        assert asked.headers[name] == got.headers[name] or path == "/nothing"  # whose sentence has the method


@pytest.mark.cleartext
async def test_the_gateway_as_a_whole_says_what_it_takes(cluster: PlayedCluster) -> None:
    host, _, port = cluster.url.removeprefix("http://").partition(":")
    async with await anyio.connect_tcp(host, int(port)) as stream:
        await stream.send(b"OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        answer = b"".join([piece async for piece in stream]).lower()
    assert answer.startswith(b"http/1.1 204 ")
    assert b"\nallow: delete, get, head, options, patch, post\r\n" in answer


async def test_bodies_that_mean_nothing_are_refused_with_a_sentence(cluster: PlayedCluster) -> None:
    await cluster.deploy(served())
    http = cluster.http()
    for content, code in (
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b"\xff\xfe", "invalid_json"),
        (b"[" * 200_000, "invalid_json"),
        (b"1" * 5000, "invalid_json"),
        (b"[]", "invalid_json"),
        (b"{}", "model_required"),
        (b'{"model": 1}', "model_required"),
        (b'{"model": "smol", "backend": 1}', "invalid_request"),
        (b'{"model": "smol", "backend": "vllm"}', "model_not_found"),
        (b'{"model": "smol", "model": "nobody"}', "model_not_found"),
    ):
        answer = await http.post("/v1/chat/completions", content=content)
        assert answer.json()["error"]["code"] == code, content[:50]
        assert answer.status_code == (404 if code == "model_not_found" else 400)


async def test_a_level_is_one_number_given_once(cluster: PlayedCluster) -> None:
    http = cluster.http()
    for content, sentence in (
        (b'{"level": 1, "level": 2}', 'the key "level" is given twice'),
        (b"[1]", "the body must be a JSON object"),
        (b"\xff", "the body is not JSON"),
        (b'{"level": 3}', "the body must be a JSON object with a level of 0, 1 or 2"),
        (b'{"levle": 1}', "the body has no levle: it has level"),
        (b'{"level": NaN}', "level: NaN is not a number that JSON has"),
    ):
        answer = await http.post("/instances/x/sleep", content=content)
        assert (answer.status_code, answer.json()["error"]["message"]) == (400, sentence)


async def test_a_huge_body_is_refused(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, body_limit=2**20) as cluster:
        http = cluster.http()

        async def endless() -> Any:
            for _ in range(6):
                yield b"x" * 2**18

        for content in (b"x" * (2**20 + 1), endless()):
            answer = await http.post("/v1/completions", content=content)
            assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


async def test_a_client_that_sends_its_body_too_slowly_is_let_go(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, body_silence=0.1) as cluster:
        host, port = cluster.url.removeprefix("http://").split(":")
        async with await anyio.connect_tcp(host, int(port)) as stream:
            await stream.send(
                b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"
            )
            with anyio.fail_after(60):
                assert (await stream.receive()).startswith(b"HTTP/1.1 408 ")


@pytest.mark.cleartext
@pytest.mark.parametrize("head", [b"x" * 100_000, b"a: b\r\n" * 20_000], ids=["one header", "many headers"])
async def test_headers_have_a_bound(cluster: PlayedCluster, head: bytes) -> None:
    host, port = cluster.url.removeprefix("http://").split(":")
    async with await anyio.connect_tcp(host, int(port)) as stream:
        await stream.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\nx: " + head)
        with anyio.fail_after(60):
            answer = await stream.receive()
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert b"\r\nx-request-id: \r\n" not in answer


@pytest.mark.cleartext
async def test_headers_that_come_whole_and_all_at_once_have_the_same_bound(cluster: PlayedCluster) -> None:
    host, port = cluster.url.removeprefix("http://").split(":")
    for size, status in ((60_000, b"200"), (66_000, b"431")):
        async with await anyio.connect_tcp(host, int(port)) as stream:
            head = b"GET /health HTTP/1.1\r\nHost: localhost\r\nx: " + b"x" * size + b"\r\n\r\n"
            await stream.send(head)
            with anyio.fail_after(60):
                answer = await stream.receive()
            assert answer.startswith(b"HTTP/1.1 " + status)
            assert b"\r\nx-request-id: \r\n" not in answer


KEYS = st.sampled_from(["model", "stream", "backend", "messages", "stream_options", "n", "x"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.just("smol"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
PATHS = st.sampled_from(["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/rerank", "/v1/x"])


@pytest.fixture
async def fuzzing(cluster: PlayedCluster) -> httpx2.AsyncClient:
    return cluster.http()


@pytest.mark.slow
@given(
    st.one_of(st.binary(max_size=200), st.dictionaries(KEYS, VALUES).map(lambda it: json.dumps(it).encode())),
    PATHS,
)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_body_makes_the_gateway_fail(
    cluster: PlayedCluster, fuzzing: httpx2.AsyncClient, body: bytes, path: str
) -> None:
    if not cluster.gateway.deployments():
        await cluster.deploy(served(hold_timeout=0.01))
    answer = await fuzzing.post(path, content=body)
    assert answer.status_code in (400, 404, 503)
    assert answer.json()["error"]["message"]


# ---- web pages


@pytest.mark.parametrize("how", ["hot path", "asgi"])
async def test_an_allowed_web_page_is_told_so_in_every_answer(tmp_path: Path, how: str) -> None:
    page = "https://chat.example.org"
    asks = {"origin": page, "access-control-request-method": "POST", "host": "localhost"}
    async with running_gateway(tmp_path, cors=Cors.of([page])) as cluster:
        app: Any = cluster.gateway.app
        transport = httpx2.ASGITransport(app) if how == "asgi" else None
        async with httpx2.AsyncClient(transport=transport, base_url=cluster.url, timeout=60) as http:
            answer = await http.options("/v1/chat/completions", headers=asks)
            assert (answer.status_code, answer.content) == (204, b"")
            assert answer.headers["access-control-allow-origin"] == page
            assert "POST" in answer.headers["access-control-allow-methods"]
            refused = await http.options("/v1/responses", headers=asks | {"origin": "https://evil.example"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "origin_not_allowed")
            assert "access-control-allow-origin" not in refused.headers
            from_page = {"origin": page, "host": "localhost"}
            for method, path in (("GET", "/v1/models"), ("POST", "/v1/completions"), ("GET", "/nowhere")):
                answer = await http.request(method, path, headers=from_page, content=b"{}")
                assert answer.headers.get_list("access-control-allow-origin") == [page]
                assert len(answer.headers.get_list("x-request-id")) == 1
            stranger = await http.get("/v1/models", headers={"origin": "https://evil.example"})
            assert (stranger.status_code, stranger.headers["vary"]) == (403, "origin")


async def test_no_web_page_is_allowed_unless_the_gateway_was_told(cluster: PlayedCluster) -> None:
    asks = {"origin": "http://localhost:3000", "access-control-request-method": "POST"}
    answer = await cluster.http().options("/v1/chat/completions", headers=asks)
    assert not [name for name in answer.headers if name.startswith("access-control-allow-origin")]
