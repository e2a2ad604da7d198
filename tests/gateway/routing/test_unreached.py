"""What the head hears of workers that a gateway does not reach."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from tests.gateway.kit import running_gateway

from sllm_actors.gateway.routing import actor
from sllm_actors.serving.messages import UnreachedWorker, WorkersUnreached

pytestmark = pytest.mark.anyio


async def test_the_head_hears_which_workers_are_dialled_in_vain_and_then_that_none_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actor, "LOOK_INTERVAL", 0.01)
    away = (UnreachedWorker("worker-1", "h:1", "h:1 cannot be reached"),)
    async with running_gateway(tmp_path) as cluster:

        def heard() -> list[tuple[UnreachedWorker, ...]]:
            return [each.workers for _, each in cluster.nodes.heard if isinstance(each, WorkersUnreached)]

        await cluster.deploy()
        cluster.unreached = away
        with anyio.fail_after(60):
            while len(heard()) < 5:  # noqa: ASYNC110 - it is told on the network
                await anyio.sleep(0.01)
            cluster.unreached = ()
            while heard()[-1] or heard().count(()) < actor.TELL_AGAIN:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        said = heard()
        assert said == [away] * said.count(away) + [()] * said.count(()), (
            "again and again, in case one is lost"
        )
        await anyio.sleep(0.1)
        assert heard() == said, "and then no more"
