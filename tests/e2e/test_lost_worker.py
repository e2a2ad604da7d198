"""Workers that are killed, or stand still, and come back."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from .cluster import eventually
from .machines import Machines, engine
from .traffic import Traffic

pytestmark = pytest.mark.allow_blocking


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    running = Machines(tmp_path_factory.mktemp("sllm"))
    try:
        running.start_head()
        running.start_gateway()
        for name in ("w1", "w2"):
            running.start_worker(name)
        yield running
    finally:
        running.close()


def other(name: str) -> str:
    return "w2" if name == "w1" else "w1"


def test_a_worker_that_is_back_within_the_grace_gets_its_replicas_again(machines: Machines) -> None:
    described = machines.deploy("short", engine("--model", "one"))
    (pid,), (where,) = machines.pids_of(described), machines.workers_of(described)
    machines.kill(where)
    machines.start_worker(where)
    eventually(
        lambda: machines.pids_of(machines.describe("short")) != {pid},
        what="there is another engine",
    )
    machines.wait_ready("short", on=[where])
    with Traffic(machines.url, "short") as traffic:
        traffic.wait_for_answers()
    machines.delete("short")


def test_a_worker_that_dies_while_another_one_is_stopped_is_replaced_all_the_same(machines: Machines) -> None:
    (where,) = machines.workers_of(machines.deploy("lone", engine("--model", "one")))
    third = machines.start_worker("w3")
    assert third.stop(number=signal.SIGTERM) == 0
    machines.kill(where)
    machines.wait_ready("lone", on=[other(where)])
    machines.start_worker(where)
    machines.delete("lone")


def test_after_the_grace_another_worker_has_the_replica_and_keeps_it(machines: Machines) -> None:
    (where,) = machines.workers_of(machines.deploy("long", engine("--model", "one")))
    machines.kill(where)
    moved = machines.wait_ready("long", on=[other(where)])
    with Traffic(machines.url, "long", watch="long:command") as traffic:
        machines.start_worker(where)
        traffic.wait_for_answers()
        assert machines.pids_of(machines.wait_ready("long")) == machines.pids_of(moved)
    machines.delete("long")


def test_of_two_replicas_one_is_left_when_a_worker_goes_on_after_standing_still(machines: Machines) -> None:
    (where,) = machines.workers_of(machines.deploy("still", engine("--model", "one")))
    stopped = machines.running[where].node("worker")
    os.kill(stopped, signal.SIGSTOP)
    try:
        eventually(
            lambda: (
                ("ready", other(where))
                in [(each["state"], each["node_name"]) for each in machines.describe("still")["instances"]]
            ),
            what="the replica is replaced",
        )
    finally:
        os.kill(stopped, signal.SIGCONT)
    with Traffic(machines.url, "still", watch="still:command") as traffic:
        eventually(lambda: machines.node(where)["state"] == "up", what=f"{where} is back")
        machines.wait_ready("still")
        eventually(
            lambda: sum(machines.node(name)["replicas"] for name in ("w1", "w2")) == 1,
            what="one replica is left",
        )
        traffic.wait_for_answers()
    machines.delete("still")


def test_a_rollout_goes_on_when_the_head_was_killed_in_the_middle_of_it(machines: Machines) -> None:
    two = {"auto_scaling_config": {"min_instances": 2, "max_instances": 2}}
    machines.deploy("middle", engine("--model", "old", **two))
    with Traffic(machines.url, "middle", watch="middle:command") as traffic:
        changed = {"backend_config": engine("--model", "new", "--start", "1")["backend_config"]}
        assert machines.http.patch("/deployments/middle:command", json=changed).status_code == 200
        eventually(
            lambda: {each["revision"] for each in machines.describe("middle")["instances"]} == {1, 2},
            what="both revisions run",
        )
        os.kill(machines.running["head"].node("head"), signal.SIGKILL)
        traffic.wait_for_answers(by="new")
        eventually(lambda: machines.describe("middle").get("revision") == 2, what="it goes on")
        after = machines.wait_ready("middle")
        assert {each["revision"] for each in after["instances"]} == {2}
        traffic.wait_for_answers(by="new")
    machines.delete("middle")
