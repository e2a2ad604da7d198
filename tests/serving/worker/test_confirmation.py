"""The worker: it says whether an engine life serves, by asking its replica."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.serving.kit import key

from sllm_actors.engines.messages import ConfirmEngine, EngineConfirmed, ReplicaState

from .workplace import workplace

pytestmark = pytest.mark.anyio


async def test_a_gateway_is_told_by_the_replica_whether_an_engine_life_serves(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        await place.order(key(0))
        await place.become(key(0), ReplicaState.READY)

        for attempt, serving in ((1, True), (7, False)):
            answer = await place.worker.ask(ConfirmEngine(key(0).attempt(attempt)), timeout=60)
            assert answer == EngineConfirmed(serving=serving)


async def test_of_a_replica_that_the_worker_has_no_longer_it_says_that_it_was_stopped(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        answer = await place.worker.ask(ConfirmEngine(key(0).attempt(1)), timeout=60)

        assert answer == EngineConfirmed(reason="its replica was stopped")
