"""The head's actor leaves the event loop time for other things, however much comes at once."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint

from sllm_actors.serving import controller
from sllm_actors.serving.differences.messages import Beat
from sllm_actors.serving.views.messages import DescribeCluster

from .head import running_head

pytestmark = pytest.mark.anyio


async def test_the_loop_has_its_turn_among_messages_that_come_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controller, "HOLD", 0.0)  # each message takes at least so long
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await checkpoint()

    async with running_head(tmp_path) as head, anyio.create_task_group() as beside:
        beside.start_soon(count)
        for _ in range(50):
            head.tell(Beat("replicas", "nobody", 1, 1))
        before = turns
        await head.ask(DescribeCluster())  # answered behind them
        assert turns - before >= 50
        beside.cancel_scope.cancel()
