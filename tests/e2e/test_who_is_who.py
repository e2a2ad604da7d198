"""A copied data directory, and a head that has lost its key while a worker serves."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cluster import Sllm
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
