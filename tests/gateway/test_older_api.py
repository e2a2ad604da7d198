"""``/register``, ``/update`` and ``/delete`` as ServerlessLLM's released server has them."""

from __future__ import annotations

import json
from typing import Any

import anyio
import httpx2
import pytest

from sllm_actors.gateway.api import older
from sllm_actors.serving import answers
from sllm_actors.serving.messages import (
    ControlAnswer,
    DeleteDeployment,
    Deploy,
    Refusal,
    RefusalKind,
    UpdateDeployment,
)
from sllm_actors.serving.views.messages import DescribeDeployment
from sllm_actors.testing import TestProbe

from .kit import PlayedCluster, served
from .played_head import DONE, asked

pytestmark = [pytest.mark.anyio, pytest.mark.every_shell]


async def exchange(
    cluster: PlayedCluster, head: TestProbe, path: str, body: Any, *replies: ControlAnswer
) -> tuple[list[Any], httpx2.Response]:
    """Send one request while the head gives these answers; return what it was asked, and the response."""
    got: list[Any] = []

    async def reply() -> None:
        for each in replies:
            got.append(await head.expect(object))
            head.reply(each)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reply)
        response = await cluster.http().post(path, content=json.dumps(body).encode())
    return got, response


async def test_a_registration_is_a_deployment(cluster: PlayedCluster, head: TestProbe) -> None:
    body = {"model": "facebook/opt-1.3b", "backend": "vllm", "num_gpus": 1}
    answer = answers.deployed("facebook/opt-1.3b:vllm", 1, ["a warning"], created=True)
    got, response = await exchange(cluster, head, "/register", body, answer)
    assert got == [Deploy(json.dumps(body))]
    assert (response.status_code, response.json()) == (200, json.loads(answer.document) | {"status": "ok"})
    taken = Refusal(RefusalKind.CONFLICT, "deployment_exists", "it has other settings")
    _, response = await exchange(cluster, head, "/register", body, taken)
    assert (response.status_code, response.json()["error"]["code"]) == (409, "deployment_exists")


@pytest.mark.parametrize(
    ("body", "model", "deployment", "patch"),
    [
        (
            '{"model": "org/smol", "auto_scaling_config": {"target": 2}}',
            "org/smol",
            "org/smol:llamacpp",
            '{"auto_scaling_config": {"target": 2}}',
        ),
        ('{"model": "two", "backend": "vllm", "num_gpus": 1.0}', "two", "two:vllm", '{"num_gpus": 1.0}'),
        ('{"model": "two:llamacpp"}', "two:llamacpp", "two:llamacpp", "{}"),
        ('{"model": "gone"}', "gone", "gone:vllm", "{}"),
        ('{"model": "gone", "backend": "sglang"}', "gone", "gone:sglang", "{}"),
    ],
)
async def test_an_update_names_the_model(
    cluster: PlayedCluster, head: TestProbe, body: str, model: str, deployment: str, patch: str
) -> None:
    await cluster.deploy(served("org/smol"), served("two", "vllm"), served("two", "llamacpp"))
    got, response = await asked(cluster, head, "POST", "/update", body)
    assert got == UpdateDeployment(deployment, patch)
    status = {"status": f"updated model {model}"}
    assert (response.status_code, response.json()) == (200, json.loads(DONE.document) | status)


@pytest.mark.slow
async def test_a_deletion_is_answered_when_the_deployment_is_gone(
    cluster: PlayedCluster, head: TestProbe
) -> None:
    await cluster.deploy(served("org/smol"))
    name = "org/smol:llamacpp"
    replies = (answers.being_deleted(name), DONE, DONE, answers.unknown(name))
    got, response = await exchange(cluster, head, "/delete", {"model": "org/smol"}, *replies)
    assert got == [DeleteDeployment(name), *3 * [DescribeDeployment(name)]]
    assert response.status_code == 200
    assert response.json() == {
        "status": "deleted model org/smol",
        "deployment_id": name,
        "message": f"{name} is gone",
    }


async def test_a_deletion_that_takes_long_goes_on_by_itself(
    cluster: PlayedCluster, head: TestProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(older, "GONE_WITHIN", 0.0)
    name = "m:vllm"
    got, response = await exchange(cluster, head, "/delete", {"model": "m"}, answers.being_deleted(name))
    assert got == [DeleteDeployment(name)]
    assert (response.status_code, response.json()["status"]) == (202, "deleting model m")


async def test_deleting_what_is_not_there_is_no_error(cluster: PlayedCluster, head: TestProbe) -> None:
    _, response = await exchange(cluster, head, "/delete", {"model": "gone"}, answers.unknown("gone:vllm"))
    assert (response.status_code, response.json()["status"]) == (200, "deleted model gone")
    away = Refusal(RefusalKind.UNAVAILABLE, "store_unavailable", "not now")
    _, response = await exchange(cluster, head, "/delete", {"model": "gone"}, away)
    assert response.status_code == 503


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "param"),
    [
        *(
            (path, body, status, code, param)
            for path in ("/update", "/delete")
            for body, status, code, param in (
                ("{", 400, "invalid_json", None),
                ("[]", 400, "invalid_json", None),
                ("{}", 400, "invalid_request", "model"),
                ('{"model": ""}', 400, "invalid_request", "model"),
                ('{"model": "m", "backend": 1}', 400, "invalid_request", "backend"),
                ('{"model": "m", "model": "n"}', 400, "invalid_deployment", "model"),
                ('{"model": "two"}', 409, "model_ambiguous", "backend"),
            )
        ),
        ("/register", "{", 400, "invalid_json", None),
        ("/delete", '{"model": "m", "lora_adapters": ["a"]}', 400, "invalid_request", "lora_adapters"),
        ("/delete", '{"model": "m", "force": true}', 400, "invalid_request", "force"),
    ],
)
async def test_what_cannot_be_meant_never_reaches_the_head(
    cluster: PlayedCluster, head: TestProbe, path: str, body: str, status: int, code: str, param: str | None
) -> None:
    await cluster.deploy(served("two", "vllm"), served("two", "llamacpp"))
    response = await cluster.http().post(path, content=body.encode())
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (status, code, param)
    await head.expect_nothing()
