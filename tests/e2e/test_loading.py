"""Models are loaded, unloaded, put to sleep and woken by hand, with real llama.cpp and a real process."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from sllm_actors.testing.fake_engine import fake_engine_argv

from .cluster import DEMO, DEMO_ID, Cluster, eventually, group_is_gone
from .commands import sllm

pytestmark = [pytest.mark.allow_blocking, pytest.mark.timeout(180)]

SLEEPER = "sleeper:command"
SCALING = {"min_instances": 0}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with two deployments of which nothing runs: one of llama.cpp, and one that can sleep."""
    running = Cluster(tmp_path_factory.mktemp("sllm"), "--allow-command")
    command = list(fake_engine_argv("--socket", "$SOCKET", "--model", "$NAME", "--rate", "50"))
    settings = {"command": command, "enable_sleep_mode": True}
    try:
        for document in (
            {
                "model": DEMO,
                "backend": "llamacpp",
                "source": f"demo:{DEMO}",
                "backend_config": {"n_ctx": 512},
            },
            {"model": "sleeper", "backend": "command", "backend_config": settings},
        ):
            answer = running.http.post("/deployments", json=document | {"auto_scaling_config": SCALING})
            assert answer.status_code == 200, answer.text
        yield running
    finally:
        running.close()


def state(cluster: Cluster, name: str = DEMO_ID) -> str:
    found: str = cluster.described(name)["state"]
    return found


def done(cluster: Cluster, *arguments: str) -> str:
    """Run a command that succeeds; return its last line."""
    ended = sllm(cluster, *arguments)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()[-1]


def refused(ended: subprocess.CompletedProcess[str]) -> str:
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    return ended.stderr.removeprefix("error: ").strip()


def streaming(cluster: Cluster, lines: list[str], begun: threading.Event) -> threading.Thread:
    """Begin a long stream; its lines are added to ``lines``."""

    def stream() -> None:
        body: dict[str, Any] = {"model": DEMO, "max_tokens": 800, "stream": True, "ignore_eos": True}
        body["messages"] = [{"role": "user", "content": "Tell me a long story."}]
        url = f"{cluster.url}/v1/chat/completions"
        with httpx2.stream("POST", url, json=body, timeout=60, trust_env=False) as response:
            for line in response.iter_lines():
                lines.append(line)
                if "content" in line:
                    begun.set()

    thread = threading.Thread(target=stream)
    thread.start()
    assert begun.wait(60)
    return thread


def test_a_model_is_loaded_and_unloaded_by_hand_and_loaded_again_by_a_request(cluster: Cluster) -> None:
    done(cluster, "unload", DEMO, "--wait")  # whatever was before
    assert state(cluster) == "idle"
    assert done(cluster, "load", DEMO, "--wait") == f"Loaded: {DEMO_ID}"
    engine = cluster.engine()
    assert done(cluster, "load", DEMO) == f"{DEMO_ID} is loaded"
    assert cluster.engine() == engine

    assert done(cluster, "unload", DEMO, "--wait") == f"Unloaded: {DEMO_ID}"
    assert group_is_gone(engine)
    assert state(cluster) == "idle"
    assert done(cluster, "unload", DEMO, "--wait") == f"Unloaded: {DEMO_ID}"  # once more changes nothing

    assert cluster.ask()
    assert state(cluster) == "ready"


def test_what_serves_a_request_is_unloaded_only_with_force_and_after_it(cluster: Cluster) -> None:
    done(cluster, "load", DEMO, "--wait")
    engine, lines, begun = cluster.engine(), list[str](), threading.Event()
    thread = streaming(cluster, lines, begun)
    sentence = f"{DEMO_ID} has 1 request: unload it later, or with --force, which lets them end first"
    eventually(lambda: cluster.described()["in_flight"], what="the head knows of it")
    assert refused(sllm(cluster, "unload", DEMO)) == sentence
    assert done(cluster, "unload", DEMO, "--force", "--wait") == f"Unloaded: {DEMO_ID}"
    thread.join(60)
    assert "data: [DONE]" in lines
    assert group_is_gone(engine)


def test_llama_cpps_paths_load_and_unload_and_its_list_says_so(cluster: Cluster) -> None:
    def value() -> str:
        listed = cluster.http.get("/models").json()["data"]
        found: str = next(each["status"]["value"] for each in listed if each["id"] == DEMO)
        return found

    done(cluster, "unload", DEMO, "--wait")
    assert value() == "unloaded"
    answer = cluster.http.post("/models/load", json={"model": DEMO})
    assert (answer.status_code, answer.json()) == (202, {"success": True})
    eventually(lambda: value() == "loaded", what="it is loaded")
    assert cluster.http.post("/models/load", json={"model": DEMO}).json() == {"success": True}
    assert cluster.http.post("/models/unload", json={"model": DEMO}).json() == {"success": True}
    eventually(lambda: value() == "unloaded", what="it is unloaded")


def test_a_model_is_put_to_sleep_and_woken_by_hand_and_by_a_request(cluster: Cluster) -> None:
    done(cluster, "load", "sleeper", "--wait")
    wakes: list[Callable[[], str]] = [
        lambda: done(cluster, "wake", "sleeper", "--wait"),
        lambda: cluster.ask(model="sleeper"),
    ]
    for wake in wakes:
        assert done(cluster, "sleep", "sleeper", "--level", "2", "--wait") == f"Asleep: {SLEEPER}"
        assert done(cluster, "sleep", "sleeper") == f"{SLEEPER} is asleep at level 2"
        assert wake()
        eventually(lambda: state(cluster, SLEEPER) == "ready", what="it is awake")
    assert done(cluster, "wake", "sleeper") == f"{SLEEPER} is awake"


def test_one_that_was_put_to_sleep_by_itself_is_woken_with_its_deployment(cluster: Cluster) -> None:
    done(cluster, "load", "sleeper", "--wait")
    (instance,) = cluster.described(SLEEPER)["instances"]
    assert cluster.http.post(f"/instances/{instance['id']}/sleep").status_code == 202
    eventually(lambda: state(cluster, SLEEPER) == "asleep", what="it sleeps")
    assert done(cluster, "load", "sleeper", "--wait") == f"Loaded: {SLEEPER}"


def test_what_cannot_be_is_one_sentence(cluster: Cluster) -> None:
    done(cluster, "load", DEMO, "--wait")
    sentence = f"the engine of {DEMO_ID} cannot sleep: `sllm unload {DEMO_ID}` stops it"
    assert refused(sllm(cluster, "sleep", DEMO)) == sentence
    done(cluster, "update", DEMO, "--min-instances", "1")
    remedy = f"`sllm update {DEMO_ID} --min-instances 0` lets it be unloaded"
    assert refused(sllm(cluster, "unload", DEMO)) == f"{DEMO_ID} is to have at least 1 replica: {remedy}"
    done(cluster, "update", DEMO, "--min-instances", "0")
    assert refused(sllm(cluster, "load", "nobody")) == "no deployment nobody: sllm status lists what is there"


def test_what_is_to_be_preloaded_is_loaded_when_it_is_deployed_and_when_the_head_starts(
    cluster: Cluster,
) -> None:
    document = {
        "model": "early",
        "backend": "llamacpp",
        "source": f"demo:{DEMO}",
        "preload": True,
        "backend_config": {"n_ctx": 512},
        "auto_scaling_config": {**SCALING, "keep_alive": 2},
    }
    assert cluster.http.post("/deployments", json=document).status_code == 200

    def loaded() -> int:
        """Return how often it was: two seconds later it is idle again."""
        answer = cluster.http.get("/events", params={"subject": "early:llamacpp", "limit": 1000})
        return sum(each["kind"] == "replica.ready" for each in answer.json()["events"])

    eventually(lambda: loaded() == 1, what="it is loaded")
    eventually(lambda: state(cluster, "early:llamacpp") == "idle", what="its keep-alive is over")
    os.kill(cluster.sllm.node("head"), signal.SIGKILL)
    eventually(lambda: loaded() == 2, what="the new head has loaded it")
    assert sllm(cluster, "delete", "early").returncode == 0
