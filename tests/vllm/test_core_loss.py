"""The core of one of two vLLMs is killed under requests: it answers 500 to all of them, and none fails."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from tests.e2e.cluster import Cluster, eventually

from .family import MODEL, both_ready, family_of, wait_for_fork_server

pytestmark = [pytest.mark.allow_blocking, pytest.mark.timeout(420)]


def test_none_of_fifty_requests_fails_when_the_core_of_one_of_two_engines_is_killed(cluster: Cluster) -> None:
    wait_for_fork_server(cluster)
    lost = family_of(both_ready(cluster, within=150)[0])
    with ThreadPoolExecutor(50) as pool:
        asking = [
            pool.submit(cluster.ask, f"Tell me about the number {number}.", model=MODEL, max_tokens=48)
            for number in range(50)
        ]
        eventually(lambda: any(each.done() for each in asking), within=120, what="the first answer")
        lost.titled("VLLM::EngineCore").send_signal(signal.SIGKILL)
        wait(asking)
    failed = [error for each in asking if (error := each.exception()) is not None]
    assert failed == []
    lost.wait_until_gone(within=30)
    both_ready(cluster, within=150)
