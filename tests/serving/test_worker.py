"""The worker: it keeps what is ordered, lets go of nothing that is in use, and goes on without the head."""

from __future__ import annotations

import anyio
import pytest

from sllm_actors.actors import MailboxFull, RemoteFailure
from sllm_actors.engines.messages import (
    InspectSource,
    LogChunk,
    ReadLog,
    ReplicaOrder,
    ReplicaReport,
    ReplicaState,
    SourceInspected,
)
from sllm_actors.serving.messages import WORKER, DesiredReplicas, Withdrawn, WorkerReport
from sllm_actors.serving.replicas import Replicas
from sllm_actors.serving.worker import MAX_QUESTIONS
from sllm_actors.transport import PeerLost

from .kit import inventory, key, until
from .workplace import workplace

pytestmark = pytest.mark.anyio


# ---- orders


async def test_what_is_ordered_is_started_once_and_what_is_no_longer_ordered_is_drained() -> None:
    async with workplace() as place:
        await place.order(key(0), key(1))
        await place.order(key(0), key(1))
        assert place.made == 2
        assert place.states() == {key(0): ReplicaState.STARTING, key(1): ReplicaState.STARTING}
        first = place.replicas[key(0)]
        await place.order(key(1))
        await place.order(key(1))
        assert first.stops == 1
        assert place.states() == {key(1): ReplicaState.STARTING}  # there is no gateway to wait for


async def test_what_is_wanted_again_while_it_ends_is_started_again() -> None:
    async with workplace() as place:
        await place.link("g1", "gateway")
        await place.order(key(0))
        await place.order()
        assert place.states() == {key(0): ReplicaState.DRAINING}
        await place.order(key(0))
        assert place.made == 1
        await place.withdraw("g1", key(0))
        assert place.states() == {}
        await place.clock.advance(1.0)
        await place.rest()
        assert place.made == 2
        assert place.states() == {key(0): ReplicaState.STARTING}


async def test_a_replica_actor_that_crashes_is_started_again_after_a_growing_pause() -> None:
    async with workplace() as place:
        await place.link("head", "head")
        await place.order(key(0))
        for failures, pause in ((1, 1.0), (2, 2.0), (3, 4.0)):
            place.replicas[key(0)].context.ref.tell("a bug")
            await place.rest()
            (failed,) = place.replica(key(0))
            assert (failed.state, failed.failures) == (ReplicaState.FAILED, failures)
            assert "a bug" in failed.reason
            assert place.reported() == {key(0): ReplicaState.FAILED}
            await place.order(key(0))  # as the head does, whatever is reported: no way round the pause
            assert place.made == failures
            await place.clock.advance(pause)
            await place.rest()
            assert place.made == failures + 1
            assert place.reported() == {key(0): ReplicaState.STARTING}


async def test_replicas_that_do_not_start_are_tried_again_after_growing_pauses() -> None:
    async with workplace() as place:
        place.broken = True
        await place.order(key(0), key(1), key(2))
        for times, pause in enumerate((1.0, 2.0, 4.0), 1):
            assert place.made == 3 * times
            await place.order(key(0), key(1), key(2))
            assert place.made == 3 * times
            await place.clock.advance(pause)
            await place.rest()
        assert set(place.states().values()) == {ReplicaState.FAILED}
        await place.order(key(1))
        assert set(place.states()) == {key(1)}
        place.broken = False
        await place.clock.advance(8.0)
        await place.rest()
        assert place.states() == {key(1): ReplicaState.STARTING}


# ---- what others hear of it


async def test_the_head_and_gateways_hear_of_each_change_under_rising_numbers() -> None:
    async with workplace() as place:
        await place.link("head", "head")
        await place.link("g1", "gateway")
        await place.order(key(0))
        await place.become(key(0), ReplicaState.READY)
        for node in ("head", "g1"):
            assert place.reported(node) == {key(0): ReplicaState.READY}
            sequences = [each.sequence for each in place.network.told[node]]
            assert sequences == sorted(set(sequences))


async def test_a_peer_hears_everything_when_its_link_comes_up() -> None:
    async with workplace() as place:
        await place.order(key(0))
        await place.link("g1", "gateway")
        assert place.reported("g1") == {key(0): ReplicaState.STARTING}
        await place.link("w2", "worker")
        assert place.network.told["w2"] == []


async def test_what_was_lost_on_the_way_is_said_again() -> None:
    async with workplace() as place:
        await place.link("head", "head")
        await place.link("g1", "gateway")
        place.network.lost = {"head", "g1"}
        await place.order(key(0))
        place.network.lost = set()
        assert place.reported("g1") == {}
        await place.clock.advance(5.0)
        await place.rest()
        assert place.reported("head") == place.reported("g1") == {key(0): ReplicaState.STARTING}


async def test_the_stock_is_taken_again_and_a_failure_of_that_keeps_the_last() -> None:
    async with workplace() as place:
        await place.link("head", "head")
        place.stock = inventory(2)
        await place.clock.advance(5.0)
        await place.rest()
        place.stock_error = OSError("no /proc")
        await place.clock.advance(5.0)
        await place.rest()
        last = place.network.last("head", WorkerReport)
        assert last is not None
        assert len(last.inventory.gpus) == 2


async def test_without_the_head_replicas_stay() -> None:
    async with workplace() as place:
        await place.link("head", "head")
        await place.order(key(0))
        await place.lose("head")
        await place.become(key(0), ReplicaState.READY)
        assert place.states() == {key(0): ReplicaState.READY}


# ---- withdrawn and drained


async def test_a_replica_ends_when_every_gateway_has_let_go_of_it() -> None:
    async with workplace() as place:
        await place.link("g1", "gateway")
        await place.link("g2", "gateway")
        await place.order(key(0))
        replica = place.replicas[key(0)]
        await place.order()
        assert place.reported("g2") == {key(0): ReplicaState.DRAINING}
        await place.withdraw("g1", key(0))
        await place.withdraw("g1", key(0))
        assert replica.drained == []
        await place.withdraw("g2", key(0))
        assert len(replica.drained) == 1
        assert place.reported("g2") == {}


async def test_a_gateway_that_is_lost_is_not_waited_for() -> None:
    async with workplace() as place:
        await place.link("g1", "gateway")
        await place.link("g2", "gateway")
        await place.order(key(0))
        replica = place.replicas[key(0)]
        await place.order()
        await place.withdraw("g1", key(0))
        await place.lose("g2")
        assert len(replica.drained) == 1


async def test_a_gateway_that_came_back_before_its_loss_was_heard_is_still_waited_for() -> None:
    async with workplace() as place:
        old = await place.link("g1", "gateway")
        await place.order(key(0))
        replica = place.replicas[key(0)]
        await place.order()
        await place.link("g1", "gateway", life=2)
        place.worker.tell(PeerLost(old, "it has come back in a later life"))
        await place.rest()
        assert replica.drained == []
        await place.withdraw("g1", key(0))
        assert len(replica.drained) == 1


async def test_a_word_about_a_replica_that_does_not_drain_is_ignored() -> None:
    async with workplace() as place:
        await place.link("g1", "gateway")
        await place.order(key(0))
        await place.withdraw("g1", key(0))
        place.worker.tell(Withdrawn("g1", key(7).attempt(1)))
        await place.rest()
        replica = place.replicas[key(0)]
        assert replica.drained == []
        await place.order()
        assert replica.drained == []  # what was said before it drained does not count


# ---- the actor itself fails


async def test_a_worker_that_crashes_reports_nothing_that_ended_with_it_and_is_believed() -> None:
    async with workplace() as place:
        await place.link("head", "head")
        await place.link("g1", "gateway")
        await place.order(key(0))
        await place.become(key(0), ReplicaState.READY)
        before = place.system.whereis(WORKER)
        assert before is not None
        last = place.network.last("head", WorkerReport)
        assert last is not None
        before.tell(DesiredReplicas(None))  # type: ignore[arg-type]  # a bug
        await until(lambda: place.system.whereis(WORKER) not in (None, before))
        await place.rest()
        after = place.network.last("head", WorkerReport)
        assert after is not None
        assert (after.replicas, after.sequence > last.sequence) == ((), True)
        assert place.known.find(key(0).attempt(1)) is None
        await place.order(key(0))
        assert place.reported("g1") == {key(0): ReplicaState.STARTING}


# ---- questions


async def test_questions_are_answered_from_threads() -> None:
    async with workplace() as place:
        assert await place.worker.ask(InspectSource("x", "y"), timeout=5) == SourceInspected("", size=1)
        assert await place.worker.ask(ReadLog(key(0)), timeout=5) == LogChunk(0, 2, "hi")


async def test_a_question_that_fails_takes_no_engine_along() -> None:
    def fail(_: InspectSource) -> SourceInspected:
        raise PermissionError("/models")

    async with workplace() as place:
        await place.order(key(0))
        place.inspect = fail
        with pytest.raises(RemoteFailure, match="PermissionError: /models"):
            await place.worker.ask(InspectSource("x", "y"), timeout=5)
        place.inspect = lambda _: SourceInspected()
        await place.rest()
        assert place.made == 1
        assert place.states() == {key(0): ReplicaState.STARTING}


async def test_questions_are_bounded_and_do_not_keep_orders_waiting() -> None:
    gate = anyio.Event()

    def wait(_: InspectSource) -> SourceInspected:
        anyio.from_thread.run(gate.wait)
        return SourceInspected()

    async with workplace() as place, anyio.create_task_group() as tasks:
        place.inspect = wait
        for _ in range(MAX_QUESTIONS):
            tasks.start_soon(lambda: place.worker.ask(InspectSource("x", "y"), timeout=60))
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(MailboxFull):
            await place.worker.ask(ReadLog(key(0)), timeout=5)
        place.worker.tell(DesiredReplicas((ReplicaOrder(key(0), "m", "llamacpp", "/m.gguf"),)))
        await until(place.states)
        gate.set()


# ---- the table for tunnels


def test_only_exactly_that_engine_life_is_found() -> None:
    known = Replicas()
    first, second = (ReplicaReport(key(0).attempt(n), ReplicaState.READY) for n in (1, 2))
    known.put(first)
    assert known.find(first.id) == first
    known.put(second)
    assert known.find(first.id) is None
    assert known.find(second.id) == second
    known.put(ReplicaReport(second.id, ReplicaState.STOPPED))
    assert known.find(second.id) is None
    known.put(ReplicaReport(second.id, ReplicaState.STOPPED))
    known.put(first)
    known.forget(key(0))
    known.forget(key(0))
    assert known.all() == ()
