"""A replica that is not needed any more stops only when nobody uses it: no request is lost by that."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sllm_actors.testing.fake_engine import fake_engine_argv

from .cluster import PATIENCE, Cluster, eventually

pytestmark = pytest.mark.allow_blocking

ID = "fake:command"
LONG = 60
"""Words of an answer that is under way for as long as the engines are stalled."""


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    running = Cluster(tmp_path_factory.mktemp("sllm"), "--allow-command")
    try:
        yield running
    finally:
        running.close()


def deploy(cluster: Cluster, stall: Path) -> None:
    """Deploy two replicas, whose engines say nothing more while the file ``stall`` exists."""
    options = ("--rate", "20", "--stall-file", str(stall))
    command = list(fake_engine_argv("--socket", "$SOCKET", "--model", "$NAME", *options))
    document: dict[str, Any] = {
        "model": "fake",
        "backend": "command",
        "backend_config": {"command": command},
        "drain_timeout": 1,
        "auto_scaling_config": {"min_instances": 2, "max_instances": 2},
        "routing_policy": "round-robin",
    }
    answer = cluster.http.post("/deployments", json=document)
    assert answer.is_success, answer.text


def states(cluster: Cluster) -> list[str]:
    return sorted(each["state"] for each in cluster.described(ID)["instances"])


def test_a_replica_that_is_not_needed_serves_its_requests_to_the_end(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Two long answers are under way, one at each replica, when one of both is no longer needed."""
    stall = tmp_path / "stall"
    deploy(cluster, stall)
    eventually(lambda: states(cluster) == ["ready", "ready"], what="two are ready")
    asking = [Asking(cluster, LONG) for _ in range(2)]
    for each in asking:
        assert each.begun.wait(PATIENCE)
    stall.touch()
    needed = {"auto_scaling_config": {"min_instances": 1}}
    assert cluster.http.patch(f"/deployments/{ID}", json=needed).is_success
    eventually(lambda: "draining" in states(cluster), what="one is withdrawn")
    more = Asking(cluster, 2)  # it comes while one of both is withdrawn
    eventually(lambda: states(cluster) == ["ready", "ready"], what="it serves on, being busy")
    stall.unlink()
    assert [each.end() for each in (*asking, more)] == [LONG, LONG, 2]
    eventually(lambda: states(cluster) == ["ready"], what="it is idle, and stops")
    assert cluster.ask("hello", model="fake").startswith("hello")


class Asking:
    """A streamed request, in a thread of its own; ``begun`` is set when its first word is there."""

    def __init__(self, cluster: Cluster, words: int) -> None:
        self.begun = threading.Event()
        self._text = ""
        message = {"role": "user", "content": "word"}
        body = {"model": "fake", "messages": [message], "max_tokens": words, "stream": True}
        self._thread = threading.Thread(target=self._ask, args=(cluster.url, body))
        self._thread.start()

    def _ask(self, url: str, body: dict[str, Any]) -> None:
        path = f"{url}/v1/chat/completions"
        with httpx2.stream("POST", path, json=body, timeout=60, trust_env=False) as answer:
            assert answer.status_code == 200, answer.read()
            for line in answer.iter_lines():
                self._text += line
                self.begun.set()

    def end(self) -> int:
        """Return how many words came, when all have, and the stream has ended as it should."""
        self._thread.join()
        assert self._text.endswith("data: [DONE]")
        return self._text.count("word")
