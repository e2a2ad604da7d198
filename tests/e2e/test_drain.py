"""A worker is drained for maintenance while clients go on asking."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

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
        for name in ("w1", "w2"):
            running.start_worker(name)
        yield running
    finally:
        running.close()


def test_a_drained_worker_has_no_replica_until_it_is_undrained(machines: Machines) -> None:
    two = {"auto_scaling_config": {"min_instances": 2, "max_instances": 2}}
    described = machines.deploy("moved", engine("--model", "one", "--start", "1", **two))
    assert machines.workers_of(described) == {"w1", "w2"}
    with Traffic(machines.url, "moved", watch="moved:command") as traffic:
        drained = sllm(machines, "drain", "w1", "--wait")
        assert drained.returncode == 0, drained.stderr
        assert "w1" in drained.stdout
        traffic.wait_for_answers()
    assert machines.workers_of(machines.wait_ready("moved")) == {"w2"}
    assert "it is drained" in sllm(machines, "status", "--nodes").stdout

    machines.kill("head")
    machines.start_head()
    machines.wait_ready("moved")
    machines.deploy("later", engine("--model", "one", **two))
    assert machines.workers_of(machines.describe("later")) == {"w2"}
    assert machines.node("w1")["draining"]
    assert sllm(machines, "drain", "w1", "--wait").returncode == 0

    assert sllm(machines, "undrain", "w1").returncode == 0
    assert machines.workers_of(machines.deploy("last", engine("--model", "one"))) == {"w1"}
    assert not machines.node("w1")["draining"]
    unknown = sllm(machines, "drain", "w3")
    assert unknown.returncode == 1
    assert "w3" in unknown.stderr
    assert "Traceback" not in unknown.stderr
