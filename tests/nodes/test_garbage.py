"""Full collections happen while a node is idle, and look only at what is new."""

from __future__ import annotations

import subprocess
import sys

import pytest

_SETUP = """
import gc, sys, time
import anyio
from sllm_actors.nodes import garbage

async def main():
    full = []
    gc.callbacks.append(lambda phase, info: full.append(phase) if info["generation"] == 2 else None)
    before = gc.get_threshold()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(garbage.collect_when_idle, 0.05)
{body}
        tasks.cancel_scope.cancel()
    assert gc.get_threshold() == before and gc.get_freeze_count() == 0

anyio.run(main)
"""

IDLE = """
        await anyio.sleep(0.3)
        assert full and gc.get_freeze_count() > 1000
"""

BUSY = """
        kept, end = [], time.monotonic() + 0.5
        while time.monotonic() < end:
            kept.append([[] for _ in range(2000)])
            await anyio.sleep(0)
        assert not full, full
"""

BUSY_FOR_LONG = """
        garbage.PATIENCE = 2
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            await anyio.sleep(0)
        assert full
"""

THAWED = """
        garbage.THAW = 2
        await anyio.sleep(0.3)
        assert full and gc.get_freeze_count() > 1000
"""


@pytest.mark.parametrize("body", [IDLE, BUSY, BUSY_FOR_LONG, THAWED], ids=["idle", "busy", "long", "thawed"])
def test_a_node_collects_fully_only_when_it_is_idle_or_was_busy_for_long(body: str) -> None:
    code = _SETUP.replace("{body}", body)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
