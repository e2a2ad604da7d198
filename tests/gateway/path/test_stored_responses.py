"""What an id names is asked of the replica that made it, for no other has it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.gateway.conftest import Engines
from tests.gateway.kit import PlayedCluster, replica, running_gateway, served
from tests.gateway.played_nodes import PlayedNodes
from tests.gateway.raw_engine import Behaviour, Call, RawEngine

from sllm_actors.engines.external import ServerAccess
from sllm_actors.gateway.path import stored_responses
from sllm_actors.serving.messages import FindResponse

pytestmark = [pytest.mark.anyio, pytest.mark.every_shell]


def answering(name: str) -> Behaviour:
    """Return an engine that makes responses with ids of its own, and says of others that it has them."""
    made = 0

    async def answer(call: Call) -> None:
        nonlocal made
        if call.head.startswith(b"POST /v1/responses HTTP"):
            made += 1
            document = {
                "id": f"resp_{name}{made}",
                "object": "response",
                "after": call.document.get("previous_response_id"),
            }
            if call.document.get("stream"):
                await call.begin_events()
                await call.event({"type": "response.created", "response": document})
                await call.event({"type": "response.completed", "response": document})
                await call.stream.send(b"0\r\n\r\n")
                return
        else:
            document = {"by": name, "asked": call.head.split(b" HTTP")[0].decode()}
        await call.answer(200, document)

    return answer


async def deploy(cluster: PlayedCluster, *engines: RawEngine) -> None:
    await cluster.deploy(served(backend="vllm"))
    reports = []
    for number, engine in enumerate(engines, 1):
        engine.behave = answering(f"{number}x")
        reports.append(replica("smol:vllm", address=engine.address, number=number))
    await cluster.report(*reports)


async def respond(cluster: PlayedCluster, **more: Any) -> str:
    """Make a response; return its id."""
    answer = await cluster.http().post("/v1/responses", json={"model": "smol", "input": "hi"} | more)
    assert answer.status_code == 200
    if more.get("stream"):
        return answer.text.partition('"id": "')[2].partition('"')[0]
    return str(answer.json()["id"])


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True])
async def test_what_an_id_names_is_asked_of_the_replica_that_made_it(
    cluster: PlayedCluster, broken_engine: Engines, stream: bool
) -> None:
    async with broken_engine() as one, broken_engine() as two:
        await deploy(cluster, one, two)
        made = {await respond(cluster, stream=stream) for _ in range(12)}
        assert {each[5] for each in made} == {"1", "2"}, "both have made some"
        http = cluster.http()
        for each in made:
            for method, path in (
                ("GET", ""),
                ("DELETE", ""),
                ("POST", "/cancel"),
                ("GET", "/input_items?limit=2"),
            ):
                answer = await http.request(method, f"/v1/responses/{each}{path}")
                assert answer.json() == {"by": each[5:7], "asked": f"{method} /v1/responses/{each}{path}"}
            after = await respond(cluster, previous_response_id=each)
            assert after[5:7] == each[5:7]
        call = next(call for call in one.calls if call.head.startswith(b"GET"))
        assert b"content-length" not in call.head.lower()


@pytest.mark.slow
async def test_an_id_that_nobody_has_made_here_is_told_what_helps(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    async with broken_engine() as engine:
        await deploy(cluster, engine)
        http = cluster.http()
        for made in ("resp_9", "mine"):
            with pytest.raises(openai.NotFoundError) as caught:
                await cluster.client().responses.retrieve(made)
            assert caught.value.code == "unknown_id"
        answer = await http.get("/v1/responses/resp_9?model=smol")
        assert answer.json()["asked"] == "GET /v1/responses/resp_9?model=smol"
        answer = await http.get("/v1/responses/resp_9?model=nobody")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
        assert await respond(cluster, previous_response_id="resp_9"), "the engine says what is wrong with it"


def _is_one_of(kinds: tuple[type, ...], message: object) -> bool:
    return isinstance(message, kinds)


@pytest.mark.slow
async def test_what_another_gateway_has_passed_on_is_found_through_the_worker(
    tmp_path: Path, broken_engine: Engines
) -> None:
    nodes = PlayedNodes()
    async with broken_engine() as one, broken_engine() as two:
        async with running_gateway(tmp_path / "1", nodes=nodes) as cluster:
            await deploy(cluster, one, two)
            made = {await respond(cluster) for _ in range(12)}
        async with running_gateway(tmp_path / "2", nodes=nodes) as cluster:
            nodes.link("worker-2", "worker")
            await deploy(cluster, one, two)
            http = cluster.http()
            for each in made:
                answer = await http.get(f"/v1/responses/{each}")
                assert answer.json() == {"by": each[5:7], "asked": f"GET /v1/responses/{each}"}
                assert (await respond(cluster, previous_response_id=each))[5:7] == each[5:7]
            asked = [message for node, message in nodes.heard if isinstance(message, FindResponse)]
            assert len(asked) <= 2 * len(made), "what was found once is remembered"


async def test_workers_that_do_not_answer_leave_an_id_unknown(
    cluster: PlayedCluster, broken_engine: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_responses, "PATIENCE", 0.05)
    async with broken_engine() as engine:
        await deploy(cluster, engine)
        await cluster.nodes.probe("worker-1")
        cluster.nodes.link("worker-2", "worker")
        for lost in ((FindResponse,), ()):
            cluster.nodes.loses = partial(_is_one_of, lost)
            answer = await cluster.http().get("/v1/responses/resp_9")
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_id")
        before = len(cluster.nodes.heard)
        assert await respond(cluster, previous_response_id="x" * 300)
        heard = cluster.nodes.heard[before:]
        assert not any(isinstance(message, FindResponse) for _, message in heard), "it is no id"


async def test_what_a_replica_held_is_gone_with_it(cluster: PlayedCluster, broken_engine: Engines) -> None:
    async with broken_engine() as engine:
        await deploy(cluster, engine)
        made = await respond(cluster)
        await cluster.report(replica("smol:vllm", address=engine.address, attempt=2))
        http = cluster.http()
        for answer in (
            await http.get(f"/v1/responses/{made}"),
            await http.get(f"/v1/responses/{made}?model=smol"),
            await http.post("/v1/responses", json={"model": "smol", "previous_response_id": made}),
        ):
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_id")
            assert "has ended" in answer.json()["error"]["message"]
        await cluster.deploy()
        answer = await http.get(f"/v1/responses/{made}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_id")
        assert len(engine.calls) == 1


async def test_an_engine_that_breaks_is_not_replaced_by_one_that_does_not_have_it(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    async with broken_engine() as one, broken_engine() as two:
        await deploy(cluster, one, two)
        made = await respond(cluster)

        async def hang_up(call: Call) -> None:
            await call.stream.aclose()

        one.behave = two.behave = hang_up
        answer = await cluster.http().get(f"/v1/responses/{made}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "engine_broke")
        assert len(one.calls) + len(two.calls) == 2


async def test_a_server_has_what_it_made_when_its_worker_has_found_it_again(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    async with broken_engine() as theirs:
        theirs.behave = answering("t")
        server = ServerAccess("theirs", connect_timeout=1)
        await cluster.deploy(served("ours", "external"))
        await cluster.report(replica("ours:external", address=theirs.address, server=server))
        made = await respond(cluster, model="ours")
        await cluster.report(replica("ours:external", address=theirs.address, server=server, attempt=2))
        answer = await cluster.http().get(f"/v1/responses/{made}?model=ours")
        assert answer.json()["asked"] == f"GET /v1/responses/{made}?model=theirs"
