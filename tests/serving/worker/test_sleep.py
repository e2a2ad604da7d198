"""The worker: it lets a replica sleep only when nobody uses it, and says why one cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.serving.kit import key

from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving.messages import SleepInstance, WakeInstance

from .workplace import workplace

pytestmark = pytest.mark.anyio


async def test_a_replica_sleeps_when_every_gateway_has_let_go_of_it_and_serves_again_when_woken(
    tmp_path: Path,
) -> None:
    async with workplace(tmp_path) as place:
        await place.link("g1", "gateway")
        await place.link("g2", "gateway")
        await place.order(key(0))
        await place.become(key(0), ReplicaState.READY)
        replica = place.replicas[key(0)]
        assert (await place.ask(SleepInstance(key(0), 2)))[0] == "pending"
        assert replica.levels == [2]
        assert place.reported("g2") == {key(0): ReplicaState.ASLEEP}
        await place.withdraw("g1", key(0))
        assert replica.drained == []
        await place.withdraw("g2", key(0))
        assert [each.withdrawal for each in replica.drained] == [1]
        assert (await place.ask(WakeInstance(key(0))))[0] == "pending"
        assert place.reported("g2") == {key(0): ReplicaState.READY}
        await place.withdraw("g1", key(0))
        assert len(replica.drained) == 1


async def test_a_word_about_an_earlier_sleep_does_not_count(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        await place.link("g1", "gateway")
        await place.order(key(0))
        await place.become(key(0), ReplicaState.READY)
        for question in (SleepInstance(key(0)), WakeInstance(key(0)), SleepInstance(key(0))):
            await place.ask(question)
        replica = place.replicas[key(0)]
        await place.withdraw("g1", key(0), before=1)
        assert replica.drained == []
        await place.withdraw("g1", key(0))
        assert [each.withdrawal for each in replica.drained] == [2]
        await place.order()  # to end, it is withdrawn once more
        assert len(replica.drained) == 1
        await place.withdraw("g1", key(0))
        assert place.states() == {}


async def test_a_request_for_sleep_that_cannot_be_is_refused_with_the_reason(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        status, error = await place.ask(SleepInstance(key(0)))
        assert (status, error["code"]) == ("unknown", "not_found")
        await place.order(key(0))
        status, error = await place.ask(SleepInstance(key(0)))
        assert (status, error["code"]) == ("conflict", "wrong_state")
        assert "is starting: only an instance that is ready can be put to sleep" in error["message"]
        assert (await place.ask(WakeInstance(key(0))))[0] == "conflict"
        place.can_sleep = False
        await place.become(key(0), ReplicaState.READY)
        status, error = await place.ask(SleepInstance(key(0)))
        assert (status, error["code"]) == ("conflict", "cannot_sleep")
        assert (await place.ask(SleepInstance(key(0), 3)))[0] == "invalid"
        status, said = await place.ask(WakeInstance(key(0)))
        assert (status, said["state"]) == ("done", "ready")
        assert place.replicas[key(0)].levels == []
        await place.become(key(0), ReplicaState.ASLEEP)
        assert (await place.ask(SleepInstance(key(0))))[0] == "done"
