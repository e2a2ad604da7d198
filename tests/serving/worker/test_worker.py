"""The worker: it keeps what is ordered, lets go of nothing that is in use, and goes on without the head."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from attrs import evolve
from tests.serving.kit import inventory, key, until

from sllm_actors.actors import MailboxFull, RemoteFailure
from sllm_actors.engines.messages import (
    InspectSource,
    LogChunk,
    ReadLog,
    ReplicaReport,
    ReplicaState,
    SourceInspected,
)
from sllm_actors.serving.messages import (
    WORKER,
    FindResponse,
    Order,
    ReadDocument,
    ReplicaDocument,
    ResponseFound,
    ResponseMade,
    Withdrawn,
)
from sllm_actors.serving.streams import OrdersDifference
from sllm_actors.serving.worker.questions import MAX_QUESTIONS
from sllm_actors.serving.worker.replicas import Replicas
from sllm_actors.transport import PeerLost

from .workplace import run, workplace

pytestmark = pytest.mark.anyio


# ---- orders


async def test_what_is_ordered_is_started_once_and_what_is_ordered_to_stop_is_drained(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        await place.order(key(0), key(1))
        await place.order(key(0), key(1))
        assert place.made == 2
        assert place.states() == {key(0): ReplicaState.STARTING, key(1): ReplicaState.STARTING}
        first = place.replicas[key(0)]
        await place.order(key(1))
        await place.order(key(1))
        assert first.stops == ["it is no longer wanted"]
        assert place.states() == {key(1): ReplicaState.STARTING}  # there is no gateway to wait for


async def test_absence_stops_nothing(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        await place.order(key(0), key(1))
        place.head.forget(key(0))
        await place.rest()
        place.network.lost = {"head"}
        place.head.forget(key(1))
        place.network.lost = set()
        await place.link("head", "head", life=2)  # with a whole that names no replica
        assert place.states() == {key(0): ReplicaState.STARTING, key(1): ReplicaState.STARTING}
        assert [replica.stops for replica in place.replicas.values()] == [[], []]


async def test_orders_that_were_lost_on_the_way_are_asked_for_at_the_next_beat(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        place.head.orders.put(Order(key(0), run(key(0))))
        place.head.orders.flush()  # and nobody gets it
        await place.rest()
        assert place.states() == {}
        place.head.beat()
        await place.rest()
        assert place.states() == {key(0): ReplicaState.STARTING}


async def test_orders_are_asked_for_again_when_the_page_was_lost(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        await place.order(key(0))
        place.network.lost = {"head"}
        await place.lose("head")
        await place.link("head", "head", life=2)
        place.network.lost = set()
        place.head.orders.put(Order(key(1), run(key(1))))
        place.head.send()
        for _ in range(3):
            place.head.beat()
            await place.rest()
        assert set(place.states()) == {key(0), key(1)}
        assert place.made == 2


async def test_a_replica_of_an_earlier_deployment_of_the_same_name_is_another(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        old, new = evolve(key(0), uid="old"), evolve(key(0), uid="new")
        await place.order(old, new)
        assert set(place.reported().values()) == {ReplicaState.STARTING}
        await place.order(new)
        assert place.reported() == {new: ReplicaState.STARTING}


async def test_a_changed_order_reaches_the_replica_without_a_restart(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        await place.order(key(0), document="{}")
        await place.order(key(0), document='{"drain_timeout": 5}', drain_timeout=5.0)
        assert place.made == 1
        assert place.replicas[key(0)].order.drain_timeout == 5.0
        said = await place.worker.ask(ReadDocument(key(0)), timeout=60)
        assert said == ReplicaDocument('{"drain_timeout": 5}')
        assert await place.worker.ask(ReadDocument(key(1)), timeout=60) == ReplicaDocument("")


async def test_what_is_wanted_again_while_it_ends_is_started_again(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        await place.link("g1", "gateway")
        await place.order(key(0))
        await place.order()
        assert place.states() == {key(0): ReplicaState.DRAINING}
        await place.order(key(0))
        assert place.made == 1
        await place.withdraw("g1", key(0))
        assert place.states() == {key(0): ReplicaState.PENDING}
        await place.advance(1.0)
        assert place.made == 2
        assert place.states() == {key(0): ReplicaState.STARTING}


async def test_a_replica_actor_that_crashes_is_started_again_after_a_growing_pause(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        await place.order(key(0), num_gpus=1, fingerprint="f")
        for failures, pause in ((1, 1.0), (2, 2.0), (3, 4.0)):
            place.replicas[key(0)].context.ref.tell("a bug")
            await place.rest()
            failed = place.head.table[key(0)]
            assert (failed.state, failed.failures) == (ReplicaState.FAILED, failures)
            assert (failed.gpus, failed.fingerprint, failed.unfit) == (1, "f", False)
            assert "a bug" in failed.reason
            await place.order(key(0), num_gpus=1, fingerprint="f")  # no way round the pause
            assert place.made == failures
            await place.advance(pause)
            assert place.made == failures + 1
            assert place.reported() == {key(0): ReplicaState.STARTING}


async def test_replicas_that_do_not_start_are_tried_again_after_growing_pauses(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        place.broken = True
        await place.order(key(0), key(1), key(2))
        for times, pause in enumerate((1.0, 2.0, 4.0), 1):
            assert place.made == 3 * times
            await place.order(key(0), key(1), key(2))
            assert place.made == 3 * times
            await place.advance(pause)
        assert set(place.states().values()) == {ReplicaState.FAILED}
        await place.order(key(1))
        assert set(place.states()) == {key(1)}
        place.broken = False
        await place.advance(8.0)
        assert place.states() == {key(1): ReplicaState.STARTING}


# ---- what others hear of it


async def test_the_head_and_gateways_follow_every_change(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        await place.link("g1", "gateway")
        await place.order(key(0))
        await place.become(key(0), ReplicaState.READY)
        for node in ("head", "g1"):
            assert place.reported(node) == {key(0): ReplicaState.READY}
            states = [report.state for report in place.peers[node].news if report is not None]
            assert states == [ReplicaState.PENDING, ReplicaState.STARTING, ReplicaState.READY]


async def test_a_peer_hears_everything_when_its_link_comes_up(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        await place.order(key(0))
        await place.link("g1", "gateway")
        assert place.reported("g1") == {key(0): ReplicaState.STARTING}
        await place.link("w2", "worker")
        assert place.network.told["w2"] == []


async def test_what_was_lost_on_the_way_is_made_good_by_a_beat(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        await place.link("g1", "gateway")
        place.network.lost = {"head", "g1"}
        await place.order(key(0))
        place.network.lost = set()
        assert place.reported("g1") == {}
        await place.advance(1.0)
        assert place.reported("head") == place.reported("g1") == {key(0): ReplicaState.STARTING}


async def test_progress_is_reported_at_most_twice_a_second_and_the_last_word_arrives(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        await place.order(key(0))
        before = len(place.head.news)
        for percent in range(100):
            place.replicas[key(0)].say(ReplicaState.STARTING, progress=f"{percent} %")
            await place.clock.advance(0.02)
        await place.rest()
        assert len(place.head.news) - before <= 4
        await place.advance(0.6)
        assert place.head.table[key(0)].progress == "99 %"
        place.replicas[key(0)].say(ReplicaState.READY)
        await place.rest()
        assert place.reported() == {key(0): ReplicaState.READY}


async def test_a_report_that_is_too_large_is_sent_without_its_log(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        await place.order(key(0))
        place.replicas[key(0)].say(ReplicaState.FAILED, log_tail=("x" * 300_000,), reason="y" * 300_000)
        await place.rest()
        failed = place.head.table[key(0)]
        assert (failed.state, failed.log_tail, len(failed.reason)) == (ReplicaState.FAILED, (), 4000)


async def test_nothing_is_sent_to_a_node_that_is_not_linked(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        await place.link("g1", "gateway")
        await place.order(key(0))
        await place.lose("head")
        await place.lose("g1")
        before = {node: len(told) for node, told in place.network.told.items()}
        place.stock = inventory(4)
        await place.become(key(0), ReplicaState.READY)
        await place.advance(6.0)
        assert {node: len(told) for node, told in place.network.told.items()} == before


async def test_without_the_head_replicas_stay(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        await place.order(key(0))
        await place.lose("head")
        await place.become(key(0), ReplicaState.READY)
        assert place.states() == {key(0): ReplicaState.READY}


# ---- withdrawn and drained


async def test_a_replica_ends_when_every_gateway_has_let_go_of_it(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
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
        assert place.reported("g2") == place.reported() == {}


async def test_a_gateway_that_comes_while_a_replica_drains_is_waited_for_too(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        await place.link("g1", "gateway")
        await place.order(key(0))
        await place.order()
        await place.link("g2", "gateway")
        assert place.reported("g2") == {key(0): ReplicaState.DRAINING}
        await place.withdraw("g1", key(0))
        assert place.states() == {key(0): ReplicaState.DRAINING}
        await place.withdraw("g2", key(0))
        assert place.states() == {}


async def test_a_gateway_that_is_lost_is_not_waited_for(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        await place.link("g1", "gateway")
        await place.link("g2", "gateway")
        await place.order(key(0))
        replica = place.replicas[key(0)]
        await place.order()
        await place.withdraw("g1", key(0))
        await place.lose("g2")
        assert len(replica.drained) == 1


async def test_a_gateway_that_came_back_before_its_loss_was_heard_is_still_waited_for(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
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


async def test_a_word_about_a_replica_that_does_not_drain_is_ignored(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
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


async def test_a_worker_that_crashes_reports_what_ended_with_it_and_takes_its_orders_again(
    tmp_path: Path,
) -> None:
    async with workplace(tmp_path) as place:
        await place.link("g1", "gateway")
        await place.order(key(0), key(1))
        await place.become(key(0), ReplicaState.READY)
        before = place.system.whereis(WORKER)
        assert before is not None
        place.head.orders.remove(key(1))  # so it does not come back
        place.head.send()
        await place.rest()
        before.tell(OrdersDifference("head", 1, place.head.orders.number + 1, None))  # type: ignore[arg-type]  # a bug
        await until(lambda: place.system.whereis(WORKER) not in (None, before))
        assert place.known.find(key(0).attempt(1)) is None
        await place.rest()
        for node in ("head", "g1"):
            assert place.reported(node) == {key(0): ReplicaState.STARTING}
            assert place.peers[node].table[key(0)].id == key(0).attempt(3)


# ---- questions


async def test_questions_are_answered(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        assert await place.worker.ask(InspectSource("x", "y"), timeout=60) == SourceInspected("", size=1)
        assert await place.worker.ask(ReadLog(key(0)), timeout=60) == LogChunk(0, 2, "hi")


async def test_a_question_that_fails_takes_no_engine_along(tmp_path: Path) -> None:
    async def fail(_: InspectSource) -> SourceInspected:
        raise PermissionError("/models")

    async with workplace(tmp_path) as place:
        await place.order(key(0))
        place.inspect = fail
        with pytest.raises(RemoteFailure, match="PermissionError: /models"):
            await place.worker.ask(InspectSource("x", "y"), timeout=60)
        await place.rest()
        assert place.made == 1
        assert place.states() == {key(0): ReplicaState.STARTING}


async def test_questions_are_bounded_and_do_not_keep_orders_waiting(tmp_path: Path) -> None:
    gate = anyio.Event()

    async def wait(question: InspectSource) -> SourceInspected:
        if question.backend == "x":
            await gate.wait()
        return SourceInspected()

    async with workplace(tmp_path) as place, anyio.create_task_group() as tasks:
        place.inspect = wait
        for _ in range(MAX_QUESTIONS):
            tasks.start_soon(lambda: place.worker.ask(InspectSource("x", "y"), timeout=60))
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(MailboxFull):
            await place.worker.ask(ReadLog(key(0)), timeout=60)
        await place.order(key(0))
        assert place.states() == {key(0): ReplicaState.STARTING}
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
    known.put(evolve(second, state=ReplicaState.STOPPED))
    assert known.find(second.id) is None
    known.put(evolve(second, state=ReplicaState.STOPPED))
    known.put(first)
    known.forget(key(0))
    known.forget(key(0))
    assert known.all() == ()


def test_no_life_of_a_workers_actor_has_the_number_of_another() -> None:
    node, later = Replicas(), Replicas()
    numbers = [node.begin(7), node.begin(7), node.begin(8), later.begin(9), later.begin(9)]
    assert len(set(numbers)) == 5
    assert 0 <= Replicas().begin(2**60) < 2**62


async def test_links_of_which_the_news_was_lost_are_noticed(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        await place.order(key(0))
        peer = await place.link("g1", "gateway")
        del place.linked["g1"]  # and nobody tells the worker's actor
        await place.advance(1.1)
        await place.order()
        assert place.states() == {}  # nobody waits for a gateway that is gone
        place.linked["g1"] = peer
        await place.advance(1.1)
        await place.order(key(1))
        await place.order()
        assert place.states() == {key(1): ReplicaState.DRAINING}


async def test_a_stop_of_what_never_came_is_answered(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        place.head.orders.put(Order(key(0), None, "it is no longer wanted"))
        place.head.send()
        await place.rest()
        assert ReplicaState.STOPPED in {each.state for each in place.head.news if each is not None}
        assert place.reported() == {}  # the head has withdrawn the order


async def test_what_a_head_does_not_order_to_stop_any_more_is_no_longer_said_to_be_gone(
    tmp_path: Path,
) -> None:
    async with workplace(tmp_path) as place:
        place.head.keeps_orders = True
        place.head.orders.put(Order(key(0), None, "it is no longer wanted"))
        place.head.send()
        await place.rest()
        assert place.reported() == {key(0): ReplicaState.STOPPED}
        await place.lose("head")
        await place.link("other", "head", epoch=2)
        assert place.reported("other") == {}


async def test_a_worker_knows_which_of_its_replicas_has_made_a_response(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        await place.link("g1", "gateway")
        me = key(0).attempt(2)
        place.worker.tell(ResponseMade(me, "resp_1"))
        assert await place.worker.ask(FindResponse("resp_1"), timeout=60) == ResponseFound(me)
        assert await place.worker.ask(FindResponse("resp_2"), timeout=60) == ResponseFound(None)


async def test_what_the_machine_has_is_told_again_though_nothing_changes(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        told = len(place.head.inventories)
        await place.advance(25.0)
        assert len(place.head.inventories) == told
        await place.advance(10.0)
        assert len(place.head.inventories) == told + 1
        assert place.head.inventories[-1].inventory == place.head.inventories[0].inventory
