"""The worker is killed while its engines serve. This ends the cluster's use for other tests: it runs last."""

from __future__ import annotations

import os
import signal

import pytest
from tests.e2e.cluster import Cluster

from .family import both_ready, family_of

pytestmark = [pytest.mark.allow_blocking, pytest.mark.timeout(420)]


def test_a_killed_worker_leaves_no_engine_process(cluster: Cluster) -> None:
    families = [family_of(instance) for instance in both_ready(cluster, within=150)]
    os.kill(cluster.sllm.node("worker"), signal.SIGKILL)
    for family in families:
        family.wait_until_gone(within=3)
