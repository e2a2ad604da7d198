"""Deploying, updating, rollouts and draining over HTTP: what reaches the head, and what comes back."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from sllm_actors.serving.deployment.problem import Mistake
from sllm_actors.serving.messages import (
    Deploy,
    Done,
    DrainNode,
    PauseRollout,
    Refusal,
    RefusalKind,
    RemoveNode,
    ResumeRollout,
    UndrainNode,
    UpdateDeployment,
)
from sllm_actors.testing import TestProbe

from .kit import PlayedCluster, served
from .played_head import DONE, asked

pytestmark = [pytest.mark.anyio, pytest.mark.every_shell]

NAME = "/models/org/my model:v1:llamacpp"
PATH = f"/deployments/{quote(NAME, safe='')}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "path", "body", "question"),
    [
        ("PATCH", PATH, '{"num_gpus":  2}', UpdateDeployment(NAME, '{"num_gpus":  2}')),
        ("PATCH", f"{PATH}?allow_downtime=true", "{}", UpdateDeployment(NAME, "{}", True)),
        ("PATCH", "/deployments/a/b:vllm", "{}", UpdateDeployment("a/b:vllm", "{}")),
        ("POST", "/deployments", '{"model": "m"}', Deploy('{"model": "m"}')),
        ("POST", "/deployments?update=true", "{}", Deploy("{}", update=True)),
        ("POST", "/deployments?update=false&allow_downtime=true", "{}", Deploy("{}", False, True)),
        ("POST", f"{PATH}/pause", "", PauseRollout(NAME)),
        ("POST", f"{PATH}/resume", "", ResumeRollout(NAME)),
        (
            "POST",
            "/deployments/a/pause:vllm/resume?allow_downtime=true",
            "",
            ResumeRollout("a/pause:vllm", True),
        ),
        ("POST", "/nodes/rack-1/drain", "", DrainNode("rack-1")),
        ("POST", "/nodes/a%2Fb%20c/undrain", "", UndrainNode("a/b c")),
        ("DELETE", "/nodes/a%2Fb%20c", "", RemoveNode("a/b c")),
    ],
)
async def test_a_control_request_reaches_the_head_and_its_answer_the_client(
    cluster: PlayedCluster, head: TestProbe, method: str, path: str, body: str, question: object
) -> None:
    got, response = await asked(cluster, head, method, path, body)
    assert got == question
    assert (response.status_code, response.text) == (200, DONE.document)
    _, response = await asked(cluster, head, method, path, body, Done("{}", pending=True))
    assert response.status_code == 202
    _, response = await asked(
        cluster, head, method, path, body, Refusal(RefusalKind.CONFLICT, "no", "not now")
    )
    assert (response.status_code, response.json()["error"]["code"]) == (409, "no")


async def test_each_mistake_of_a_document_is_listed_beside_the_message(
    cluster: PlayedCluster, head: TestProbe
) -> None:
    mistakes = (Mistake("a is wrong", "a"), Mistake("b is wrong", "b"), Mistake("so is all", None))
    refusal = Refusal(RefusalKind.INVALID, "invalid_deployment", "3 mistakes", "a", mistakes=mistakes)
    _, response = await asked(cluster, head, "PATCH", PATH, "{}", refusal)
    assert response.status_code == 400
    assert response.json() == {
        "error": {
            "message": "3 mistakes",
            "type": "invalid_request_error",
            "param": "a",
            "code": "invalid_deployment",
            "mistakes": [
                {"param": "a", "message": "a is wrong"},
                {"param": "b", "message": "b is wrong"},
                {"param": None, "message": "so is all"},
            ],
        }
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code", "param"),
    [
        ("PATCH", PATH, "", 400, "invalid_json", None),
        ("PATCH", PATH, "[]", 400, "invalid_json", None),
        ("PATCH", f"{PATH}?allow_downtime=yes", "{}", 400, "invalid_request", "allow_downtime"),
        ("POST", "/deployments?update=1", "{}", 400, "invalid_request", "update"),
        ("POST", f"{PATH}/resume?allow_downtime=", "", 400, "invalid_request", "allow_downtime"),
    ],
)
async def test_what_cannot_be_meant_never_reaches_the_head(
    cluster: PlayedCluster,
    head: TestProbe,
    method: str,
    path: str,
    body: str,
    status: int,
    code: str,
    param: str | None,
) -> None:
    await cluster.deploy(served("two", "vllm"), served("two", "llamacpp"))
    response = await cluster.http().request(method, path, content=body.encode())
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (status, code, param)
    await head.expect_nothing()


async def test_a_patch_that_is_too_large_never_reaches_the_head(cluster: PlayedCluster) -> None:
    large = await cluster.http().patch(PATH, content=b"x" * (2**16 + 1))
    assert (large.status_code, large.json()["error"]["code"]) == (413, "body_too_large")


async def test_without_a_head_nothing_is_changed(cluster: PlayedCluster) -> None:
    for method, path in (("PATCH", PATH), ("POST", f"{PATH}/pause"), ("POST", "/nodes/x/drain")):
        answer = await cluster.http().request(method, path, content=b"{}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "head_unavailable")
