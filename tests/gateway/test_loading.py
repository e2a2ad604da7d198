"""Loading and unloading over HTTP: what reaches the head, and what llama.cpp's paths answer."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import anyio
import pytest

from sllm_actors.serving.loading.messages import (
    LoadDeployment,
    SleepDeployment,
    UnloadDeployment,
    WakeDeployment,
)
from sllm_actors.serving.messages import (
    Done,
    Refusal,
    RefusalKind,
)
from sllm_actors.testing import TestProbe

from .kit import PlayedCluster, served
from .played_head import DONE, LOCAL, asked

pytestmark = [pytest.mark.anyio, pytest.mark.every_shell]

NAME = "/models/org/my model:v1:llamacpp"
PATH = f"/deployments/{quote(NAME, safe='')}"


@pytest.mark.parametrize(
    ("path", "body", "question"),
    [
        (f"{PATH}/load", "", LoadDeployment(NAME)),
        (f"{PATH}/unload", "", UnloadDeployment(NAME)),
        (f"{PATH}/unload?force=true", "", UnloadDeployment(NAME, force=True)),
        (f"{PATH}/sleep", "", SleepDeployment(NAME)),
        (f"{PATH}/sleep", '{"level": 2}', SleepDeployment(NAME, 2)),
        (f"{PATH}/wake", "", WakeDeployment(NAME)),
    ],
)
async def test_it_reaches_the_head_and_its_answer_the_client(
    cluster: PlayedCluster, head: TestProbe, path: str, body: str, question: object
) -> None:
    got, response = await asked(cluster, head, "POST", path, body)
    assert got == question
    assert (response.status_code, response.text) == (200, DONE.document)
    _, response = await asked(cluster, head, "POST", path, body, Done("{}", pending=True))
    assert response.status_code == 202
    refusal = Refusal(RefusalKind.CONFLICT, "busy", "it has requests")
    _, response = await asked(cluster, head, "POST", path, body, refusal)
    assert (response.status_code, response.json()["error"]["code"]) == (409, "busy")


@pytest.mark.parametrize(
    ("path", "body", "question"),
    [
        ("/models/load", {"model": "smol"}, LoadDeployment("smol:llamacpp")),
        ("/models/load", {"model": "smol:llamacpp"}, LoadDeployment("smol:llamacpp")),
        ("/models/load", {"model": "tiny"}, LoadDeployment("smol:llamacpp")),
        ("/models/load", {"model": "both", "backend": "vllm"}, LoadDeployment("both:vllm")),
        ("/models/unload", {"model": "smol"}, UnloadDeployment("smol:llamacpp")),
    ],
)
async def test_the_paths_of_llama_cpps_router_take_a_models_name_and_say_success(
    cluster: PlayedCluster, head: TestProbe, path: str, body: dict[str, str], question: object
) -> None:
    await cluster.deploy(served(aliases=("tiny",)), served("both"), served("both", "vllm"))
    cluster.head = LOCAL
    got: list[Any] = []

    async def reply() -> None:
        got.append(await head.expect(object))
        head.reply(Done("{}", pending=True))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reply)
        response = await cluster.http().post(path, json=body)
    assert got == [question]
    assert (response.status_code, response.json()) == (202, {"success": True})


async def test_a_model_that_is_unknown_or_ambiguous_or_none_is_refused(cluster: PlayedCluster) -> None:
    await cluster.deploy(served("both"), served("both", "vllm"))
    http = cluster.http()
    for body, status, code in (
        ({"model": "nobody"}, 404, "model_not_found"),
        ({"model": "both"}, 409, "model_ambiguous"),
        ({"model": "both", "backend": "sglang"}, 404, "model_not_found"),
        ({}, 400, "invalid_request"),
        ({"model": 1}, 400, "invalid_request"),
    ):
        response = await http.post("/models/load", json=body)
        assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    response = await http.post("/models/unload", content=b"[]")
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_json")


@pytest.mark.parametrize("body", ['{"level": 3}', '{"level": true}', '{"level": "1"}', "[1]", "x"])
async def test_a_level_that_is_none_is_refused(cluster: PlayedCluster, body: str) -> None:
    response = await cluster.http().post(f"{PATH}/sleep", content=body.encode())
    assert response.status_code == 400
