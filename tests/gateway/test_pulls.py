"""Pulls over HTTP: the head says where, workers do it, and their answers are put together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from sllm_actors.serving.messages import WORKER, Refusal, RefusalKind
from sllm_actors.serving.pulls.messages import (
    CancelPull,
    DescribePull,
    PlanPull,
    PullModel,
    PullPlace,
    PullPlan,
    PullReport,
    PullState,
)
from sllm_actors.serving.pulls.ticket import write_ticket
from sllm_actors.testing import TestProbe

from .kit import PlayedCluster

pytestmark = [pytest.mark.anyio, pytest.mark.every_shell]

HERE, AWAY = PullPlace("gateway-1", "w1"), PullPlace("nowhere", "w2")
PLAN = PullPlan("vllm", "hf:org/m", (HERE,))
PULLING = PullReport(PullState.PULLING, 10, 40, "downloading org/m: 25 % of 40 B")


@pytest.fixture
async def worker(cluster: PlayedCluster) -> TestProbe:
    return await cluster.system.probe(WORKER)


async def asked(
    cluster: PlayedCluster, answers: list[tuple[TestProbe, Any]], method: str, path: str, body: Any = None
) -> tuple[list[Any], int, Any]:
    """Send a request while head and workers answer in this order; return what they got, and the response."""
    got: list[Any] = []

    async def reply() -> None:
        for probe, answer in answers:
            got.append(await probe.expect(object))
            probe.reply(answer)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reply)
        response = await cluster.http().request(method, path, json=body)
    return got, response.status_code, response.json()


async def test_a_pull_begins_and_any_gateway_says_by_its_id_how_far_it_is(
    cluster: PlayedCluster, head: TestProbe, worker: TestProbe
) -> None:
    got, status, said = await asked(
        cluster, [(head, PLAN), (worker, PULLING)], "POST", "/models/pull", {"model": "m", "workers": ["w1"]}
    )
    assert got == [PlanPull("m", workers=("w1",)), PullModel("vllm", "hf:org/m")]
    assert status == 202
    assert said == {
        "id": write_ticket(PLAN),
        "backend": "vllm",
        "source": "hf:org/m",
        "state": "pulling",
        "workers": [
            {
                "node": "gateway-1",
                "name": "w1",
                "state": "pulling",
                "done": 10,
                "total": 40,
                "progress": "downloading org/m: 25 % of 40 B",
                "reason": None,
            }
        ],
    }
    done = PullReport(PullState.DONE, 40, 40)
    got, status, later = await asked(cluster, [(worker, done)], "GET", f"/models/pull/{said['id']}")
    assert got == [DescribePull("vllm", "hf:org/m")]
    assert (status, later["state"], later["id"]) == (200, "done", said["id"])
    got, status, _ = await asked(cluster, [(worker, done)], "DELETE", f"/models/pull/{said['id']}")
    assert (got, status) == ([CancelPull("vllm", "hf:org/m")], 200)


@pytest.mark.parametrize(
    ("body", "plan", "question"),
    [
        ({"model": "m", "workers": "all"}, PlanPull("m", everywhere=True), PullModel),
        ({"model": "m", "backend": "b", "source": "s"}, PlanPull("m", "b", "s"), PullModel),
        ({"model": "m", "cancel": True}, PlanPull("m", everywhere=True), CancelPull),
        ({"model": "m", "cancel": True, "workers": ["w"]}, PlanPull("m", workers=("w",)), CancelPull),
    ],
)
async def test_what_is_asked_reaches_head_and_worker(
    cluster: PlayedCluster,
    head: TestProbe,
    worker: TestProbe,
    body: Any,
    plan: PlanPull,
    question: Callable[[str, str], object],
) -> None:
    done = PullReport(PullState.DONE)
    got, status, _ = await asked(cluster, [(head, PLAN), (worker, done)], "POST", "/models/pull", body)
    assert got == [plan, question("vllm", "hf:org/m")]
    assert status == 200


@pytest.mark.parametrize(
    ("here", "state"),
    [(PullState.PULLING, "pulling"), (PullState.FAILED, "failed"), (PullState.DONE, "away")],
)
async def test_a_worker_that_does_not_answer_is_away_and_the_others_are_told_of(
    cluster: PlayedCluster, worker: TestProbe, here: PullState, state: str
) -> None:
    ticket = write_ticket(PullPlan("vllm", "hf:org/m", (HERE, AWAY)))
    _, status, said = await asked(cluster, [(worker, PullReport(here))], "GET", f"/models/pull/{ticket}")
    assert (status, said["state"]) == (200, state)
    assert [each["state"] for each in said["workers"]] == [here.value, "away"]
    assert said["workers"][1]["reason"].startswith("worker w2 does not answer: ")
    _, _, said = await asked(cluster, [(worker, "what?")], "GET", f"/models/pull/{ticket}")
    assert said["workers"][0]["reason"] == "worker w1 answered with a str"


async def test_what_the_head_refuses_is_an_error_and_without_it_nothing_begins(
    cluster: PlayedCluster, head: TestProbe
) -> None:
    refusal = Refusal(RefusalKind.UNKNOWN, "node_not_found", "there is no worker x")
    _, status, said = await asked(cluster, [(head, refusal)], "POST", "/models/pull", {"model": "m"})
    assert (status, said["error"]["code"]) == (404, "node_not_found")
    _, status, said = await asked(cluster, [(head, "what?")], "POST", "/models/pull", {"model": "m"})
    assert (status, said["error"]["code"]) == (503, "head_unavailable")
    cluster.head = None
    _, status, said = await asked(cluster, [], "POST", "/models/pull", {"model": "m"})
    assert (status, said["error"]["code"]) == (503, "head_unavailable")


@pytest.mark.parametrize(
    ("content", "param", "sentence"),
    [
        ("{", None, "the body is not JSON"),
        ("[]", None, "the body must be a JSON object"),
        ("{}", "model", "the pull names no model: give the key model"),
        ('{"model": 3}', "model", "model must be a text"),
        ('{"model": "m", "source": ""}', "source", "source must be a text"),
        ('{"model": "m", "cancel": 1}', "cancel", "cancel must be true or false"),
        ('{"model": "m", "size": 1}', "size", "a pull has no size: it has model, backend, source, workers"),
        ('{"model": "m", "workers": "w1"}', "workers", "workers must be a list of names or ids of workers"),
        ('{"model": "m", "workers": []}', "workers", "workers must be a list of names or ids of workers"),
        ('{"model": "m", "workers": [1]}', "workers", "workers must be a list of names or ids of workers"),
        ("\xff", None, "the body is not JSON"),
    ],
)
async def test_a_body_that_is_no_pull_is_refused_in_one_sentence(
    cluster: PlayedCluster, content: str, param: str | None, sentence: str
) -> None:
    response = await cluster.http().post("/models/pull", content=content.encode("latin-1"))
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, param)
    assert sentence in error["message"]


async def test_an_id_that_is_none_is_not_found(cluster: PlayedCluster) -> None:
    for method in ("GET", "DELETE"):
        response = await cluster.http().request(method, "/models/pull/abc%2Fdef")
        assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
