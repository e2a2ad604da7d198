"""An engine that is started as a program, where no fork server is kept: slowly, and owned as well."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from tests.e2e.cluster import Cluster, eventually

from .conftest import arguments_for
from .family import DEPLOYMENT, DOCUMENT, MODEL, deploy, family_of, was_forked

pytestmark = [pytest.mark.allow_blocking, pytest.mark.timeout(420)]


def test_a_plain_start_shows_what_it_does_serves_and_leaves_nothing(vllm_python: str, tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, *arguments_for(vllm_python), "--fork-servers", "none")
    try:
        deploy(cluster, DOCUMENT)
        phases: list[str] = []

        def ready() -> dict[str, object] | None:
            described = cluster.describe(DEPLOYMENT) or {"instances": []}
            instance = next(iter(described["instances"]), None)
            if instance is not None and instance["progress"] not in phases[-1:]:
                phases.append(instance["progress"])
            time.sleep(0.1)
            return instance if instance is not None and instance["state"] == "ready" else None

        family = family_of(eventually(ready, within=300, what="it has started"))
        assert not was_forked(family.pid)
        told = " ".join(phases)
        assert told.index("importing") < told.index("loading the weights"), phases
        assert cluster.ask(model=MODEL)
        assert len(family.processes) >= 3
        assert len(family.files) >= 3  # socket, TMPDIR, and shared memory
        os.kill(family.pid, signal.SIGKILL)
        family.wait_until_gone(within=20)
    finally:
        cluster.close()
