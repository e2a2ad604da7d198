"""Who waits for room gets it by turns: whose turn it is, for how long, and what room is kept for."""

from __future__ import annotations

from attrs import evolve

from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving.decisions.start_cost import TYPICAL_START, Cost, CostKey, StartCosts, Tier
from sllm_actors.serving.decisions.swapping import QUANTUM, RETURN, STALENESS
from sllm_actors.serving.picture.events import DemandReported
from sllm_actors.serving.picture.eviction.making_room import SWAP_PATIENCE

from .sharing import runs, scaled, serve, shared, use
from .world import World


def test_room_is_kept_for_whom_it_was_made() -> None:
    world = World()
    idle, asked, other = shared(world, "m", "n", "o")
    use(world, idle)
    world.machines["a"].slow = True
    world.want(asked.id, held=1)
    world.want(other.id, held=9)
    assert runs(world) == ["m"]
    world.end("a")
    assert runs(world) == ["n"]


def test_room_is_kept_for_nobody_whose_clients_have_left() -> None:
    world = World()
    idle, asked, other = shared(world, "m", "n", "o")
    use(world, idle)
    world.machines["a"].slow = True
    world.want(asked.id, held=1)
    world.want(other.id, held=1)
    world.want(asked.id)
    world.end("a")
    assert runs(world) == ["o"]


def test_one_in_use_is_drained_after_its_quantum_and_not_before() -> None:
    world = World()
    busy, asked = shared(world, "m", "n")
    serve(world, busy)
    world.want(asked.id, held=1)
    world.wait(QUANTUM - 1)
    assert runs(world) == ["m"]
    world.machines["a"].slow = True
    world.wait(2)
    (order,) = (each for each in world.machines["a"].orders.values() if each.run is None)
    assert (order.if_idle, order.patience) == (False, SWAP_PATIENCE), "its requests end as they should"
    world.end("a")
    assert runs(world) == ["n"]
    assert any("n:command" in each for each in world.told("deployment.swapped"))
    world.machines["a"].slow = False
    world.want(busy.id, held=1)
    world.ready()
    world.wait(QUANTUM + 1)
    assert runs(world) == ["m"], "they take turns while both are asked for"


def test_a_higher_priority_does_not_wait_and_a_lower_one_waits_until_it_is_stale() -> None:
    world = World()
    busy, low = shared(world, "m", "low")
    world.update(low, **{**scaled(), "priority": -1})
    high = world.deploy("high", **scaled(), priority=1)
    serve(world, busy)
    world.want(low.id, held=1)
    world.wait(STALENESS - 1)
    assert runs(world) == ["m"]
    world.want(high.id, held=1)
    assert runs(world) == ["high"]


def test_of_those_that_wait_the_one_with_the_most_to_do_is_next() -> None:
    world = World()
    busy, few, many = shared(world, "m", "few", "many")
    serve(world, busy)
    world.want(few.id, held=1)
    world.want(many.id, held=9)
    world.want(busy.id)
    world.wait(RETURN)
    assert runs(world) == ["many"]
    world.ready()
    world.want(many.id, in_flight=9)
    world.want(many.id)
    world.wait(RETURN)
    assert runs(world) == ["few"]


def test_what_fails_again_and_again_has_no_right_to_its_room() -> None:
    world = World()
    failing, asked = shared(world, "m", "n")
    world.want(failing.id, held=1)
    (key,) = world.machines["a"].running
    world.say("a", key, ReplicaState.FAILED, failures=3, reason="no")
    world.want(asked.id, held=1)
    assert runs(world) == ["n"]


def test_room_is_kept_on_no_worker_that_is_lost() -> None:
    world = World()
    idle, asked = shared(world, "m", "n")
    use(world, idle)
    world.machines["a"].slow = True
    world.want(asked.id, held=1)
    claims = world.picture.planner.evictor.claims
    assert [claim.node for claim in claims] == ["a"]
    world.worker("b", gpus=1)
    assert (runs(world, "b"), len(claims)) == (["n"], 0), "it takes what is free sooner"
    other = world.deploy("o", **scaled())
    world.want(other.id, held=1)
    world.unlink("a")
    assert len(claims) == 0


def test_room_that_is_kept_goes_with_its_deployment() -> None:
    world = World()
    idle, asked = shared(world, "m", "n")
    use(world, idle)
    world.machines["a"].slow = True
    world.want(asked.id, held=1)
    world.delete(asked)
    assert len(world.picture.planner.evictor.claims) == 0
    world.delete(idle)
    world.end("a")
    assert world.audit() == []


def test_one_that_came_first_lets_another_pass_that_is_due_before_it() -> None:
    world = World()
    busy, low = shared(world, "m", "low")
    few, many = (world.deploy(name, **scaled()) for name in ("few", "many"))
    world.update(low, **scaled(), priority=-1)
    serve(world, busy)
    for deployment, held in ((low, 99), (few, 1), (many, 50)):
        world.want(deployment.id, held=held)
    world.wait(QUANTUM + 2)
    assert runs(world) == ["many"]


def test_two_that_are_due_at_one_time_get_a_place_each() -> None:
    world = World()
    busy = shared(world, "m", "n", gpus=2)
    asked = [world.deploy(name, **scaled()) for name in ("o", "p")]
    for deployment in busy:
        world.want(deployment.id, held=1)
    world.ready()
    for deployment in busy:
        world.want(deployment.id, in_flight=1)
    for deployment in asked:
        world.want(deployment.id, held=1)
        world.want(deployment.id, held=2)
    world.wait(QUANTUM + 3)
    assert runs(world) == ["o", "p"]


def test_room_is_kept_no_longer_on_a_worker_that_cannot_run_what_it_was_made_for() -> None:
    world = World()
    idle, asked = shared(world, "m", "n")
    use(world, idle)
    world.machines["a"].slow = True
    world.want(asked.id, held=1)
    fleet = world.picture.fleet
    fleet.reject(fleet.nodes["a"], (asked.uid, 1), "it has no such engine", world.now, world.now + 600)
    world.end("a")
    assert len(world.picture.planner.evictor.claims) == 0
    assert runs(world) == []


def test_what_is_to_be_loaded_only_once_waits_no_longer_than_a_start_may_take() -> None:
    world = World()
    world.worker("b", gpus=1)
    world.drain("b")
    world.worker("c", gpus=1)
    world.worker("a", gpus=1)
    world.machines["a"].inventory = evolve(world.machines["a"].inventory, labels={"kind": "large"})
    world.inventory("a")
    kind = {"node_selector": {"kind": "large"}}
    stays = world.deploy("m", **scaled(1), **kind)
    world.ready()
    once = world.deploy("n", **scaled(None), **kind)
    assert (stays.wanted, once.wanted) == (1, 1)
    world.wait(once.spec.startup_timeout + 31)
    assert (stays.wanted, once.wanted) == (1, 0)


def test_one_that_has_just_come_does_not_jump_the_queue() -> None:
    world = World()
    busy, waits = shared(world, "m", "n")
    late = world.deploy("o", **scaled())
    serve(world, busy)
    world.want(waits.id, held=1)
    world.wait(5)
    world.picture.take(DemandReported("gateway", (), (busy.id,)), world.now)
    world.wants.discard(busy.id)
    world.want(late.id, held=1)
    world.wait(RETURN)
    assert runs(world) == ["n"]


def test_one_that_cannot_use_the_room_lets_others_pass() -> None:
    world = World()
    (busy,) = shared(world, "m")
    large = world.deploy("large", **{**scaled(), "num_gpus": 2})
    elsewhere = world.deploy("n", **scaled(), node_selector={"kind": "other"})
    late = world.deploy("o", **scaled())
    serve(world, busy)
    for deployment in (large, elsewhere):
        world.want(deployment.id, held=9)
    world.wait(5)
    world.want(late.id, held=1)
    world.want(busy.id)
    world.wait(RETURN)
    assert runs(world) == ["o"]


def test_an_engine_that_never_started_is_taken_to_be_as_quick_as_others_were() -> None:
    world = World()
    known, fresh = shared(world, "m", "n")
    costs = world.picture.costs
    assert costs.typical == TYPICAL_START
    for _ in range(20):
        costs.learn(CostKey(known.revisions[1].fingerprint, "a", Tier.STOPPED), 0.5)
    costs.learn(CostKey(known.revisions[1].fingerprint, "a", Tier.ASLEEP_1), 99.0)
    assert 0.5 < costs.typical < 0.6
    assert StartCosts((Cost(CostKey("x", "a", Tier.STOPPED), 20.0),)).typical == 13.0
    use(world, known)
    world.want(fresh.id, held=1)
    assert runs(world) == ["n"]


def test_one_whose_clients_ask_again_at_once_keeps_its_room_and_goes_when_they_do_not() -> None:
    world = World()
    busy, asked = shared(world, "m", "n")
    world.want(busy.id, held=1)
    world.ready()
    world.want(busy.id, in_flight=1)
    world.want(asked.id, held=1)
    for _ in range(3):
        world.want(busy.id)
        world.wait(RETURN / 2)
        assert runs(world) == ["m"]
        world.want(busy.id, in_flight=1)
        world.wait(RETURN)
        assert runs(world) == ["m"]
    assert world.told("replica.evicted") == []
    world.want(busy.id)
    world.wait(RETURN)
    assert runs(world) == ["n"]


def test_one_whose_clients_ask_again_and_again_has_no_longer_a_turn_for_that() -> None:
    world = World()
    busy, asked = shared(world, "m", "n")
    world.want(busy.id, held=1)
    world.ready()
    world.want(asked.id, held=1)
    began = world.now
    while runs(world) == ["m"]:
        world.want(busy.id)
        world.wait(RETURN / 2)
        world.want(busy.id, in_flight=1)
        world.wait(RETURN / 2)
        assert world.now <= began + QUANTUM + 2 * RETURN
    assert world.now >= began + QUANTUM


def test_idle_room_is_waited_for_beside_what_is_in_use_and_has_had_its_turn() -> None:
    world = World()
    rests, busy, asked = shared(world, "m", "n", "o", gpus=2)
    for deployment in (rests, busy):
        world.want(deployment.id, held=1)
    world.ready()
    for deployment in (rests, busy):
        world.want(deployment.id, in_flight=1)
    world.wait(QUANTUM - RETURN / 2)
    world.want(rests.id)
    world.want(asked.id, held=1)
    world.wait(RETURN / 4)
    assert runs(world) == ["m", "n"]
    world.wait(RETURN)
    assert runs(world) == ["n", "o"]


def test_a_person_who_loads_a_model_waits_no_longer_for_idle_room_than_a_request_does() -> None:
    world = World()
    (busy,) = shared(world, "m")
    world.want(busy.id, held=1)
    world.ready()
    world.want(busy.id, in_flight=1)
    world.want(busy.id)
    world.deploy("n", **scaled(1))
    assert runs(world) == ["m"]
    world.wait(RETURN)
    assert runs(world) == ["n"]
