"""Each process of a vLLM is killed in turn: nothing of it is left, another replica serves, it comes back."""

from __future__ import annotations

import signal

import pytest
from tests.e2e.cluster import Cluster, eventually

from .family import DEPLOYMENT, MODEL, both_ready, family_of, wait_for_fork_server, was_forked

pytestmark = [pytest.mark.allow_blocking, pytest.mark.timeout(420)]

KILLED = "the engine was killed by SIGKILL"
ENDED = "the engine ended by itself with exit code 0"


@pytest.mark.parametrize(
    ("title", "reason"),
    [("", KILLED), ("VLLM::EngineCore", ENDED), ("VLLM::Worker", ENDED)],
    ids=["API server", "core", "worker"],
)
def test_a_killed_process_takes_its_family_along_and_the_replica_comes_back(
    cluster: Cluster, title: str, reason: str
) -> None:
    wait_for_fork_server(cluster)
    lost = family_of(both_ready(cluster, within=120)[0])
    assert len(lost.processes) >= 3
    assert len(lost.files) >= 3  # socket, TMPDIR, and shared memory
    lost.titled(title).send_signal(signal.SIGKILL)
    lost.wait_until_gone(within=20)

    def starting() -> dict[str, str] | None:
        found = cluster.describe(DEPLOYMENT) or {"instances": []}
        # The third loss in a row of one replica is a crash loop, which starts again all the same.
        states = ("starting", "crash_loop")
        return next((i for i in found["instances"] if i["state"] in states and i["pid"]), None)

    again = eventually(starting, within=20, what="it starts again")
    assert again["reason"].startswith(reason)
    assert cluster.ask(model=MODEL)  # by the other one

    came = [family_of(instance) for instance in both_ready(cluster, within=150)]
    assert lost.pid not in {family.pid for family in came}
    assert all(was_forked(family.pid) for family in came)
    assert cluster.ask(model=MODEL)
