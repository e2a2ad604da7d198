"""An order is its own question: what cannot run is refused, until something has changed on the worker."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from attrs import evolve
from tests.serving.kit import inventory, key, until

from sllm_actors.engines.messages import InspectSource, ReplicaState, SourceInspected
from sllm_actors.serving.messages import WORKER
from sllm_actors.serving.worker.orders.assignments import MAX_CHECKS

from .workplace import Workplace, workplace

pytestmark = pytest.mark.anyio

PROBLEM = "/m.gguf is not there"


async def refused(place: Workplace) -> int:
    """Let an order be refused, and return the ``changes`` that the head knows then."""
    place.problems["/m.gguf"] = PROBLEM
    await place.order(key(0), num_gpus=1, fingerprint="f")
    return place.head.inventories[-1].changes


async def test_what_cannot_run_is_reported_and_not_started(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        await refused(place)
        report = place.head.table[key(0)]
        assert (report.state, report.unfit, report.reason) == (ReplicaState.FAILED, True, PROBLEM)
        assert (report.gpus, report.fingerprint) == (1, "f")
        place.problems.clear()
        await place.order(key(0), num_gpus=1, fingerprint="f")
        await place.advance(2.0)
        assert place.made == 0
        await place.order()
        assert place.reported() == {}


async def test_the_head_hears_of_it_when_what_was_refused_could_run(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        changes = await refused(place)
        await place.advance(20.0)
        assert place.head.inventories[-1].changes == changes
        asked = len(place.inspected)
        assert asked in (4, 5)  # once for the order, and about every five seconds
        place.problems.clear()
        await place.advance(6.0)
        assert place.head.inventories[-1].changes == changes + 1
        await place.advance(20.0)
        assert place.head.inventories[-1].changes == changes + 1
        assert len(place.inspected) <= asked + 2


async def test_a_head_that_stops_it_after_that_is_told_again(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        changes = await refused(place)
        place.problems.clear()
        await place.advance(6.0)
        await place.order()  # the head had not heard of it: it would reject this worker for a while
        assert place.head.inventories[-1].changes == changes + 2


async def test_what_was_refused_at_deploy_is_asked_again_too(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        changes = place.head.inventories[-1].changes
        place.problems["/new"] = "/new is not there"
        answer = await place.worker.ask(InspectSource("llamacpp", "/new"), timeout=60)
        assert answer.problem
        place.problems.clear()
        await place.advance(6.0)
        assert place.head.inventories[-1].changes == changes + 1


async def test_an_engine_that_is_installed_is_told_although_nothing_was_refused(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        changes = place.head.inventories[-1].changes
        place.engines = {"/engines/vllm/installed.json": (1, 2)}
        await place.advance(6.0)
        assert place.head.inventories[-1].changes == changes + 1


async def test_a_restart_of_the_actor_counts_as_a_change(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        changes = place.head.inventories[-1].changes
        before = place.system.whereis(WORKER)
        place.worker.tell(evolve(place.head.orders.beat(), life="a bug"))  # type: ignore[arg-type]
        await until(lambda: place.system.whereis(WORKER) not in (None, before))
        await place.rest()
        assert place.head.inventories[-1].changes > changes


async def test_a_check_that_fails_says_nothing_of_the_replica_and_it_starts(tmp_path: Path) -> None:
    async def fail(_: InspectSource) -> SourceInspected:
        raise OSError("the disk is silent")

    async with workplace(tmp_path) as place:
        place.inspect = fail
        await place.order(key(0))
        assert place.states() == {key(0): ReplicaState.STARTING}


async def test_a_question_that_fails_when_it_is_asked_again_stays_refused(tmp_path: Path) -> None:
    async def fail(_: InspectSource) -> SourceInspected:
        raise OSError("the disk is silent")

    async with workplace(tmp_path) as place:
        changes = await refused(place)
        place.inspect, before = fail, place.inspect
        await place.advance(6.0)
        assert place.head.inventories[-1].changes == changes
        place.inspect = before
        place.problems.clear()
        await place.advance(6.0)
        assert place.head.inventories[-1].changes == changes + 1


async def test_checks_are_bounded_and_a_stop_does_not_wait_for_them(tmp_path: Path) -> None:
    gate = anyio.Event()
    asked = 0

    async def wait(_: InspectSource) -> SourceInspected:
        nonlocal asked
        asked += 1
        await gate.wait()
        return SourceInspected()

    async with workplace(tmp_path) as place:
        place.inspect = wait
        keys = [key(number) for number in range(MAX_CHECKS + 3)]
        await place.order(*keys)
        assert asked == MAX_CHECKS
        assert set(place.reported().values()) == {ReplicaState.PENDING}
        await place.order(*keys[1:])
        assert set(place.reported()) == set(keys[1:])
        gate.set()
        await place.rest()
        assert asked == len(keys)
        assert set(place.replicas) == set(keys[1:])


async def test_the_stock_is_told_when_it_changes_and_a_failure_keeps_the_last(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        before = len(place.head.inventories)
        await place.advance(10.0)
        assert len(place.head.inventories) == before
        place.stock = inventory(2)
        await place.advance(6.0)
        place.stock_error = OSError("no /proc")
        await place.advance(6.0)
        assert [len(each.inventory.gpus) for each in place.head.inventories[before:]] == [2]
        sequences = [each.sequence for each in place.head.inventories]
        assert sequences == sorted(set(sequences))
