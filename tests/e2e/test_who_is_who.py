"""A copied data directory, and a head that has lost its key while a worker serves."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cluster import Sllm, eventually
from .commands import sllm
from .machines import Machines, engine
from .traffic import Traffic

pytestmark = pytest.mark.allow_blocking


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    running = Machines(tmp_path)
    try:
        running.start_head()
        running.start_gateway()
        running.start_worker("w1")
        yield running
    finally:
        running.close()


def is_refused(worker: Sllm) -> str:
    """Return what a worker says that gives up."""
    assert worker.ended() == 1
    worker.kill_all()
    assert "Traceback" not in worker.output
    return worker.output


def test_nobody_is_taken_for_another_and_what_serves_goes_on(machines: Machines) -> None:
    always = {"auto_scaling_config": {"min_instances": 1}}
    before = machines.deploy("served", engine("--model", "one", **always))
    copy = machines.directory("copy") / "worker"
    copy.mkdir(parents=True)
    for file in ("node.json", "credentials.json"):  # but not the key
        shutil.copy(machines.directory("w1") / "worker" / file, copy / file)
    with Traffic(machines.url, "served", watch="served:command") as traffic:
        said = is_refused(machines.start_worker("copy", joins=False))
        assert "a live node of that id is linked already: was its data directory copied?" in said
        assert machines.node("w1")["state"] == "up"

        machines.kill("head")
        (machines.directory("head") / "head.key").unlink()
        machines.start_head()
        machines.running["w1"].wait_for(r"another key .*--trust-new-head; what runs here goes on")
        traffic.wait_for_answers()

    machines.kill("w1")
    said = is_refused(machines.start_worker("copy", "--trust-new-head", joins=False))
    assert 'put its file "node.key" back beside node.json, or move node.json away' in said
    machines.kill("gateway")
    machines.start_gateway("--trust-new-head")
    machines.start_worker("w1", "--trust-new-head")
    assert machines.wait_ready("served", on=["w1"])["uid"] == before["uid"]


def test_a_node_that_is_removed_leaves_its_name_and_its_id_to_another(machines: Machines) -> None:
    before = machines.node("w1")
    up = sllm(machines, "node", "remove", "w1")
    assert (up.returncode, up.stderr) == (
        1,
        "error: w1 is up: drain it (sllm drain w1 --wait) and stop it first\n",
    )
    machines.kill("w1")
    another = machines.directory("another") / "worker"
    another.mkdir(parents=True)
    shutil.copy(machines.directory("w1") / "worker" / "node.json", another / "node.json")
    said = is_refused(machines.start_worker("another", joins=False))
    assert f"forget it with: sllm node remove {before['id']}" in said

    eventually(lambda: machines.node("w1").get("state") == "down", what="it is down")
    gone = sllm(machines, "node", "remove", "w1")
    assert (gone.returncode, gone.stdout) == (
        0,
        "w1 is removed: its name and its id are free for another node\n",
    )
    again = sllm(machines, "node", "remove", "w1")
    assert (again.returncode, again.stdout) == (0, "no node w1 is known: there is nothing to remove\n")
    assert "node.removed" in sllm(machines, "events").stdout

    machines.kill("head")  # it is forgotten for good
    machines.start_head()
    eventually(lambda: machines.http.get("/status").status_code == 200, what="the head is back")
    machines.start_worker("another", "--name", "w1", joins=False).wait_for("joined the head")
    eventually(lambda: machines.node("w1").get("state") == "up", what="another has its name")
    assert machines.node("w1")["id"] == before["id"]
