"""``sllm run``: a model is deployed if need be, waited for, and talked to."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Sllm
from .server import PlayedGateway, deployment

NAME = "m:vllm"
PATH = "/v1/chat/completions"


def test_a_model_that_is_not_there_is_deployed_and_waited_for(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.deployments[NAME] = [deployment(NAME, state="starting"), deployment(NAME)]
    gateway.unlisted = (NAME,)
    gateway.warnings = ["careful"]
    options = ("--num-gpus", "2", "--gpu-memory", "20GiB", "--temperature", "0", "--system", "Be brief.")
    ended = sllm("run", "m", "What", "is it?", *options)
    assert (ended.code, ended.out) == (0, "Hello.\n")
    assert ended.err.splitlines() == [
        "warning: careful",
        f"Deployment created: {NAME}",
        f"{NAME}: starting",
        f"{NAME}: ready",
    ]
    assert gateway.bodies("POST", "/deployments") == [{"model": "m", "num_gpus": 2, "gpu_memory": "20GiB"}]
    (asked,) = gateway.bodies("POST", PATH)
    assert (asked["model"], asked["temperature"]) == (NAME, 0)
    assert [each["content"] for each in asked["messages"]] == ["Be brief.", "What is it?"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["m", NAME])
@pytest.mark.parametrize("state", ["ready", "asleep"])
def test_a_model_that_is_there_is_talked_to(
    sllm: Sllm, gateway: PlayedGateway, name: str, state: str
) -> None:
    gateway.add(deployment(NAME, state=state))
    ended = sllm("run", name, stdin="Hi\nAgain\n")
    assert (ended.code, ended.out) == (0, "Hello.\nHello.\n")
    assert gateway.bodies("POST", "/deployments") == []
    assert len(gateway.bodies("POST", PATH)[1]["messages"]) == 3


def test_a_model_that_cannot_start_is_told_and_not_asked(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.add(deployment(NAME, state="failed", detail="out of memory"))
    ended = sllm("run", "m", "Hi")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.splitlines()[-1] == f"error: {NAME} failed: out of memory"
    assert gateway.bodies("POST", PATH) == []


def test_several_deployments_of_a_model_are_told_apart(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.add(deployment(NAME), deployment("m:llamacpp"))
    ended = sllm("run", "m", "Hi")
    assert (ended.code, ended.err) == (
        1,
        "error: m is deployed more than once: name one of m:llamacpp, m:vllm\n",
    )
    assert sllm("run", "m", "--backend", "llamacpp", "Hi").code == 0
    assert gateway.bodies("POST", PATH)[0]["model"] == "m:llamacpp"


@pytest.mark.slow
def test_a_model_named_by_its_source_is_deployed_once(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.deployments["org/m:vllm"] = [deployment("org/m:vllm")]
    gateway.unlisted = ("org/m:vllm",)
    assert sllm("run", "hf:org/m", "Hi").code == 0
    assert gateway.bodies("POST", "/deployments") == [{"model": "org/m", "source": "hf:org/m"}]
    gateway.unlisted = ()
    assert sllm("run", "hf:org/m", "Hi").code == 0
    assert len(gateway.bodies("POST", "/deployments")) == 1


def test_a_path_is_a_model_too(
    sllm: Sllm, gateway: PlayedGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    gateway.refusal = None
    sllm("run", "./x.gguf", "--backend", "llamacpp", "--timeout", "0", "Hi")
    (body,) = gateway.bodies("POST", "/deployments")
    assert body == {"model": "./x.gguf", "backend": "llamacpp", "source": str(tmp_path / "x.gguf")}
