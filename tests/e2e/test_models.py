"""Models from a hub, through a whole cluster: brought, used, listed, and removed for another one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.models.hub_server import run_hub

from .cluster import Cluster, eventually
from .commands import gguf, sllm

pytestmark = [pytest.mark.allow_blocking, pytest.mark.timeout(180)]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster beside a hub with two models, whose worker may keep one of them."""
    file = gguf().read_bytes()
    with run_hub() as hub:
        hub.put("org/one", {"one.gguf": file})
        hub.put("org/two", {"two.gguf": file})
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        running = Cluster(tmp_path / "data", "--storage-quota", str(len(file) * 3 // 2))
        try:
            yield running
        finally:
            running.close()


def deploy(cluster: Cluster, name: str) -> tuple[int, str]:
    """Deploy a model of the hub; return the exit status, and everything that was printed."""
    arguments = ("--backend", "llamacpp", "--source", f"hf:org/{name}", "--engine-arg", "n_ctx=512")
    ended = sllm(cluster, "deploy", "--model", name, *arguments, "--wait", "--timeout", "50")
    return ended.returncode, ended.stdout + ended.stderr


def test_models_of_a_hub_are_brought_listed_and_removed_for_others(cluster: Cluster) -> None:
    assert deploy(cluster, "one")[0] == 0
    assert cluster.ask(model="one")

    def listed() -> list[str]:
        return [line.split()[0] for line in sllm(cluster, "status", "--models").stdout.splitlines()[1:]]

    eventually(lambda: listed() == ["hf:org/one@main"], what="the model is listed")

    code, printed = deploy(cluster, "two")
    assert code == 1
    assert "larger --storage-quota, or delete a deployment" in printed
    assert cluster.ask(model="one")  # what is in use was not touched

    assert sllm(cluster, "delete", "one", "two").returncode == 0
    code, printed = deploy(cluster, "two")
    assert code == 0, printed
    assert cluster.ask(model="two")
    eventually(lambda: listed() == ["hf:org/two@main"], what="the other one is gone")
