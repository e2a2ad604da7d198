"""A head that has lost its store, and deletions that a worker has not heard of."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from .cluster import eventually, group_is_gone
from .machines import Machines, engine
from .traffic import Traffic

pytestmark = pytest.mark.allow_blocking


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    running = Machines(tmp_path_factory.mktemp("sllm"))
    try:
        running.start_head()
        running.start_gateway()
        running.start_worker("w1")
        yield running
    finally:
        running.close()


def lose_store(head: Path) -> None:
    """Delete what the head has written of deployments; its key, its secret and its identity stay."""
    for file in [*head.glob("state.db*"), *head.glob("deployments.json*")]:
        file.unlink()
    assert (head / "head.key").exists()


def test_a_head_without_its_store_takes_back_what_workers_run(machines: Machines) -> None:
    two = {"auto_scaling_config": {"min_instances": 2, "max_instances": 2}}
    before = machines.deploy("kept", engine("--model", "one", **two))
    with Traffic(machines.url, "kept", watch="kept:command") as traffic:
        machines.kill("head")
        lose_store(machines.directory("head"))
        traffic.wait_for_answers()
        machines.start_head()
        after = machines.wait_ready("kept")
        traffic.wait_for_answers()
    assert machines.pids_of(after) == machines.pids_of(before)
    assert [after[key] for key in ("uid", "revision", "spec")] == [
        before[key] for key in ("uid", "revision", "spec")
    ]
    assert (before["recovered"], after["recovered"]) == (False, True)

    # It is what it was: it is updated, and deleted, as any other.
    changed = {"backend_config": engine("--model", "two")["backend_config"]}
    patched = machines.http.patch("/deployments/kept:command", json=changed)
    assert patched.status_code == 200, patched.text
    eventually(lambda: machines.describe("kept")["rollout"] is None, what="the rollout is over")
    assert machines.wait_ready("kept")["revision"] == before["revision"] + 1
    machines.delete("kept")


def test_a_deletion_reaches_a_worker_that_was_away_when_it_was_made(machines: Machines) -> None:
    (pid,) = machines.pids_of(machines.deploy("forgotten", engine("--model", "one")))
    worker = machines.running["w1"].node("worker")
    os.kill(worker, signal.SIGSTOP)
    try:
        eventually(lambda: machines.node("w1").get("state") != "up", what="w1 is missed")
        assert machines.http.delete("/deployments/forgotten:command").is_success
        machines.kill("head")
        machines.start_head()
        assert psutil.pid_exists(pid)
    finally:
        os.kill(worker, signal.SIGCONT)
    eventually(lambda: group_is_gone(pid), what="its engine is gone")
    eventually(lambda: not machines.describe("forgotten"), what="it is forgotten")
