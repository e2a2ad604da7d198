"""A launcher that is the first process of a container reaps what it inherits, and nothing that it started."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.e2e.cluster import eventually

from sllm_actors.engines.ownership.procfs import children
from sllm_actors.nodes.launcher.orphans import reap


def state(process: subprocess.Popen[bytes]) -> str:
    """Return the state of a child: "Z" once it has ended, "" once it is reaped."""
    try:
        return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def test_an_orphan_that_has_ended_is_reaped_and_a_child_that_is_waited_for_is_not() -> None:
    with (
        subprocess.Popen(["true"]) as orphan,
        subprocess.Popen(["sleep", "1000"]) as running,
        subprocess.Popen(["sh", "-c", "exit 3"]) as ours,
    ):
        eventually(lambda: state(orphan) == state(ours) == "Z", what="both have ended")
        others = set(children()) - {orphan.pid, running.pid}
        seen = reap(set(), others)
        assert (seen, state(orphan)) == ({orphan.pid}, "Z")  # it may have been started this moment
        reap(seen, others)
        assert state(orphan) == ""
        assert state(ours) == "Z"
        assert state(running) != ""
        assert ours.wait() == 3
        running.kill()
