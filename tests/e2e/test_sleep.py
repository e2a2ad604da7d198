"""A replica is put to sleep and woken, through a real cluster with a real process that can sleep."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sllm_actors.testing.fake_engine import fake_engine_argv

from .cluster import Cluster, eventually

pytestmark = pytest.mark.allow_blocking

ID = "sleeper:command"


@pytest.fixture(scope="module")
def sleeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with one replica that can sleep, and one of another model that cannot."""
    running = Cluster(tmp_path_factory.mktemp("sllm"), "--allow-command")
    try:
        for model, sleeps in (("sleeper", True), ("sleepless", False)):
            deploy(running, model, sleeps=sleeps)
        yield running
    finally:
        running.close()


def stall_file(cluster: Cluster) -> Path:
    """Return the file that keeps the engines from going on with their answers while it exists."""
    return cluster.data_dir / "stall"


def deploy(cluster: Cluster, model: str, *, sleeps: bool) -> None:
    options = ("--rate", "50", "--stall-file", str(stall_file(cluster)))
    command = list(fake_engine_argv("--socket", "$SOCKET", "--model", "$NAME", *options))
    settings = {"command": command, "enable_sleep_mode": sleeps}
    document = {"model": model, "backend": "command", "backend_config": settings, "drain_timeout": 5}
    answer = cluster.http.post("/deployments", json=document)
    assert answer.status_code == 200, answer.text
    cluster.wait_ready(f"{model}:command")


def instance(cluster: Cluster, model: str = "sleeper") -> dict[str, Any]:
    (only,) = cluster.described(f"{model}:command")["instances"]
    found: dict[str, Any] = only
    return found


def tell(cluster: Cluster, action: str, **body: Any) -> httpx2.Response:
    return cluster.http.post(f"/instances/{instance(cluster)['id']}/{action}", json=body or None)


def wait_for(cluster: Cluster, state: str, progress: str = "") -> None:
    def there() -> bool:
        found = instance(cluster)
        return (found["state"], found["progress"]) == (state, progress)

    eventually(there, what=f"{state} {progress}")


def awake(cluster: Cluster) -> None:
    """Leave nothing of what the test before has asked for."""
    stall_file(cluster).unlink(missing_ok=True)
    assert tell(cluster, "wake_up").is_success
    wait_for(cluster, "ready")


@pytest.mark.parametrize("level", [1, 2])
def test_a_request_wakes_a_replica_that_sleeps(sleeper: Cluster, level: int) -> None:
    awake(sleeper)
    before = instance(sleeper)
    assert tell(sleeper, "sleep", level=level).status_code == 202
    wait_for(sleeper, "asleep")
    assert sleeper.described(ID)["state"] == "asleep"
    answers: list[str] = []
    many = [
        threading.Thread(target=lambda: answers.append(sleeper.ask("hello", model="sleeper")))
        for _ in range(4)
    ]
    for each in many:
        each.start()
    for each in many:
        each.join()
    assert [answer.startswith("hello") for answer in answers] == [True] * 4
    wait_for(sleeper, "ready")
    assert instance(sleeper)["pid"] == before["pid"]  # it slept, and was not restarted


def test_a_person_wakes_a_replica_too(sleeper: Cluster) -> None:
    awake(sleeper)
    assert tell(sleeper, "sleep").status_code == 202
    wait_for(sleeper, "asleep")
    assert tell(sleeper, "wake_up").status_code == 202
    wait_for(sleeper, "ready")
    assert tell(sleeper, "wake_up").status_code == 200


def test_a_request_under_way_ends_before_the_engine_sleeps(sleeper: Cluster) -> None:
    awake(sleeper)
    answers: list[str] = []
    asking = threading.Thread(
        target=lambda: answers.append(sleeper.ask("word", model="sleeper", max_tokens=20))
    )
    stall_file(sleeper).touch()
    asking.start()
    pid = instance(sleeper)["pid"]
    eventually(
        lambda: tell(sleeper, "sleep").status_code == 202 and instance(sleeper)["progress"] != "",
        what="it is to sleep while a request is under way",
    )
    wait_for(sleeper, "asleep", "waiting for its requests to end")
    stall_file(sleeper).unlink()
    asking.join()
    assert answers[0].count("word") == 20
    wait_for(sleeper, "asleep")
    assert sleeper.ask("again", model="sleeper")
    assert instance(sleeper)["pid"] == pid


def test_sleep_under_load_fails_no_request(sleeper: Cluster) -> None:
    """A request that is on its way while the replica falls asleep must not end in an engine that sleeps."""
    failures: list[BaseException] = []
    stop = threading.Event()

    def ask_on() -> None:
        while not stop.is_set():
            try:
                assert sleeper.ask("hello", model="sleeper", max_tokens=2)
            except BaseException as error:  # noqa: BLE001 - told by the test
                failures.append(error)

    asking = [threading.Thread(target=ask_on) for _ in range(4)]
    for each in asking:
        each.start()
    for _ in range(20):
        assert tell(sleeper, "sleep").status_code in (200, 202, 409)
        stop.wait(0.1)
    stop.set()
    for each in asking:
        each.join()
    assert failures == []


def test_a_replica_that_nobody_needs_falls_asleep_by_itself_and_is_woken_with_and_without_a_head(
    sleeper: Cluster,
) -> None:
    awake(sleeper)
    patch = {"auto_scaling_config": {"keep_alive": 1}}
    assert sleeper.http.patch(f"/deployments/{ID}", json=patch).is_success
    pid = instance(sleeper)["pid"]
    wait_for(sleeper, "asleep")
    assert sleeper.ask("hello", model="sleeper").startswith("hello")
    assert instance(sleeper)["pid"] == pid, "it slept, and was not restarted"
    wait_for(sleeper, "asleep")
    os.kill(head := sleeper.sllm.node("head"), signal.SIGSTOP)
    try:
        eventually(lambda: knows_no_head(sleeper), what="the gateway has lost the head")
        assert sleeper.ask("again", model="sleeper").startswith("again")
    finally:
        os.kill(head, signal.SIGCONT)
    eventually(lambda: sleeper.describe(ID) is not None, what="the head is back")
    wait_for(sleeper, "asleep")
    assert instance(sleeper)["pid"] == pid
    assert sleeper.http.patch(
        f"/deployments/{ID}", json={"auto_scaling_config": {"keep_alive": -1}}
    ).is_success


def knows_no_head(cluster: Cluster) -> bool:
    answer = httpx2.get(f"{cluster.url}/deployments/{ID}", timeout=60, trust_env=False)
    return answer.status_code == httpx2.codes.SERVICE_UNAVAILABLE


def test_an_engine_that_cannot_sleep_is_left_as_it_is(sleeper: Cluster) -> None:
    before = instance(sleeper, "sleepless")
    refused = sleeper.http.post(f"/instances/{before['id']}/sleep")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "cannot_sleep")
    assert "cannot sleep" in refused.json()["error"]["message"]
    assert sleeper.ask("hello", model="sleepless")
    assert instance(sleeper, "sleepless")["pid"] == before["pid"]
