"""Collections look only at what is new; at everything now and then, if possible while a node is idle."""

from __future__ import annotations

import subprocess
import sys

import pytest

_SETUP = """
import gc, sys, time, weakref
import anyio
from sllm_actors.nodes import garbage

class Knot:
    def __init__(self):
        self.itself = self

async def busy(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await anyio.sleep(0)

async def main():
    garbage.IDLE, garbage.TICKS = 0.03, 10  # on a machine that is busy itself, busy() gets little
    looked_at = []
    def watch(phase, info):
        if phase == "start":
            generations = range(info["generation"] + 1)
            looked_at.append(sum(len(gc.get_objects(generation=each)) for each in generations))
    gc.callbacks.append(watch)
    before = gc.get_threshold()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(garbage.keep_collections_short, 0.005)
        await anyio.sleep(0.01)
{body}
        tasks.cancel_scope.cancel()
    assert gc.get_threshold() == before and gc.get_freeze_count() == 0
    assert gc.callbacks == [watch]

anyio.run(main)
"""

NEW = """
        kept = [[each] for each in range(500_000)]
        assert len(looked_at) > 5
        assert max(looked_at) < 100_000, looked_at
"""

REPLACED = """
        gc.disable()  # of itself
        kept = [[each] for each in range(500_000)]
        gc.freeze()
        gc.enable()
        looked_at.clear()
        for number in range(500_000):
            kept[number] = [number]
            if number % 1000 == 0:
                await anyio.sleep(0.001)
        assert max(looked_at) < 100_000, looked_at
"""

KNOTS = """
        knots = weakref.WeakSet()
        for _ in range(500_000):
            knots.add(Knot())
        assert len(knots) < 100_000
"""

IDLE = """
        looked_at.clear()
        began = time.monotonic()
        with anyio.fail_after(60):
            while len(looked_at) < 2:
                await anyio.sleep(0.01)
        await anyio.sleep(0.5)
        assert len(looked_at) < 60 * (time.monotonic() - began), looked_at
"""

FROZEN = """
        knot = Knot()
        gone = weakref.ref(knot)
        gc.collect()
        assert gc.get_freeze_count() > 1000
        del knot
        gc.collect()
        assert gone() is not None
"""

THAWED = (
    """
        garbage.THAW, garbage.REST = 0.5, 0.0
"""
    + FROZEN
    + """
        await busy(0.7)
        assert gone() is not None
        with anyio.fail_after(60):  # once it is idle, which a busy machine delays
            while gone() is not None:
                await anyio.sleep(0.1)
        assert gc.get_freeze_count() > 1000
        await anyio.sleep(0.1)
        looked_at.clear()
"""
    + NEW
)

GROWN = (
    """
        garbage.REST = 0.0
"""
    + FROZEN
    + """
        held = sys.getallocatedblocks()
        kept = [[each] for each in range(held // 8)]
        await anyio.sleep(0.5)
        assert gone() is not None
        kept += [[each] for each in range(held // 2)]
        with anyio.fail_after(60):
            while gone() is not None:
                await anyio.sleep(0.1)
        await anyio.sleep(0.1)
        looked_at.clear()
        await anyio.sleep(0.5)
        assert max(looked_at, default=0) < 100_000, looked_at
"""
)

SELDOM = (
    """
        garbage.REST = 1.0
        began = time.monotonic()
"""
    + FROZEN
    + """
        kept = [[each] for each in range(sys.getallocatedblocks())]
        while gone() is not None:
            await anyio.sleep(0.05)
        assert time.monotonic() > began + 1.0
"""
)

BUSY_FOR_LONG = (
    """
        garbage.THAW, garbage.REST, garbage.PATIENCE = 0.2, 0.0, 2
"""
    + FROZEN
    + """
        with anyio.fail_after(60):
            while gone() is not None:
                await anyio.sleep(0)
"""
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [NEW, REPLACED, KNOTS, IDLE, FROZEN, THAWED, GROWN, SELDOM, BUSY_FOR_LONG],
    ids=["new", "replaced", "knots", "idle", "frozen", "thawed", "grown", "seldom", "busy for long"],
)
def test_a_node_looks_at_what_is_new_and_seldom_at_everything(body: str) -> None:
    code = _SETUP.replace("{body}", body)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
