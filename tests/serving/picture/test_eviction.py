"""Who goes when a deployment finds no room, and who gets what is left."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving.decisions.start_cost import TYPICAL_START, Cost, CostKey, StartCosts, Tier
from sllm_actors.serving.decisions.swapping import QUANTUM, STALENESS
from sllm_actors.serving.picture.deployment import Deployment
from sllm_actors.serving.picture.events import DemandReported
from sllm_actors.serving.picture.eviction.claims import PATIENCE
from sllm_actors.serving.picture.eviction.making_room import SWAP_PATIENCE

from .world import World


def scaled(least: int | None = 0, **scaling: Any) -> dict[str, Any]:
    more = {} if least is None else {"min_instances": least}
    return {"num_gpus": 1, "auto_scaling_config": {"target": 1, "max_instances": 4, **more, **scaling}}


def shared(world: World, *names: str, gpus: int = 1, **document: Any) -> list[Deployment]:
    """Return deployments of which nothing runs, on one worker."""
    world.worker("a", gpus=gpus)
    return [world.deploy(name, **{**scaled(), **document}) for name in names]


def use(world: World, deployment: Deployment, count: int = 1) -> None:
    """Let requests be answered, one by one: the deployment is loaded for them, if there is room."""
    world.want(deployment.id, held=1)
    world.ready()
    world.want(deployment.id, in_flight=1, uses=count)
    world.want(deployment.id)


def runs(world: World, worker: str = "a") -> list[str]:
    """Return which models a worker runs."""
    return sorted(key.deployment.partition(":")[0] for key in world.machines[worker].running)


def test_an_idle_replica_goes_for_one_that_is_asked_for() -> None:
    world = World()
    _, asked = shared(world, "m", "n")
    use(world, world.picture.catalogue.by_id["m:command"])
    assert runs(world) == ["m"]
    world.want(asked.id, held=1)
    assert runs(world) == ["n"]
    world.ready()
    world.wait(3600)
    assert runs(world) == ["n"], "what went for it does not come back unasked"
    assert any("n:command" in each for each in world.told("replica.evicted"))


def test_of_several_the_one_goes_that_was_used_least() -> None:
    world = World()
    first, second, asked = shared(world, "m", "n", "o", gpus=2)
    use(world, first, 3)
    use(world, second, 1)
    world.want(asked.id, held=1)
    assert runs(world) == ["m", "o"]


def test_as_few_go_as_will_do() -> None:
    world = World()
    first, second, third = shared(world, "m", "n", "o", gpus=3)
    large = world.deploy("large", **{**scaled(), "num_gpus": 2})
    for each, times in ((first, 1), (second, 2), (third, 3)):
        use(world, each, times)
    world.want(large.id, held=1)
    assert runs(world) == ["large", "o"]


@pytest.mark.parametrize("kept", [{"pinned": True}, scaled(1)])
def test_what_is_pinned_and_the_minimum_never_go(kept: dict[str, Any]) -> None:
    world = World()
    (asked,) = shared(world, "n")
    stays = world.deploy("m", **{**scaled(), **kept})
    use(world, stays)
    world.want(asked.id, held=1)
    world.wait(600)
    assert runs(world) == ["m"]


def test_idle_ones_go_for_a_minimum_that_nobody_asks_for() -> None:
    world = World()
    (idle,) = shared(world, "m")
    use(world, idle)
    world.deploy("n", **scaled(1))
    assert runs(world) == ["n"]


def test_nothing_that_runs_is_enough_for_what_is_too_large() -> None:
    world = World()
    (busy,) = shared(world, "m")
    large = world.deploy("large", **{**scaled(), "num_gpus": 2})
    world.want(busy.id, held=1)
    world.ready()
    world.want(busy.id, in_flight=1)
    world.want(large.id, held=1)
    world.wait(60)
    assert runs(world) == ["m"]


def test_of_what_had_its_turn_no_more_goes_than_is_needed() -> None:
    world = World()
    small, other, third = shared(world, "m", "n", "o", gpus=3)
    large = world.deploy("large", **{**scaled(), "num_gpus": 2})
    for deployment in (small, other, third):
        world.want(deployment.id, held=1)
        world.ready()
        world.want(deployment.id, in_flight=1)
    world.want(large.id, held=1)
    world.wait(QUANTUM + 1)
    assert len(runs(world)) == 2
    assert "large" in runs(world)


def test_the_minimum_of_a_schedule_never_goes_either() -> None:
    world = World()
    (asked,) = shared(world, "n")
    always = [{"cron": "* * * * *", "time_zone": "UTC", "duration": 60, "min_instances": 1}]
    stays = world.deploy("m", num_gpus=1, auto_scaling_config={"min_instances": 0, "schedules": always})
    use(world, stays)
    world.want(asked.id, held=1)
    world.wait(300)
    assert runs(world) == ["m"]


def test_nobody_goes_for_what_nobody_asks_for() -> None:
    world = World()
    (idle,) = shared(world, "m")
    use(world, idle)
    world.deploy("n", **scaled(None))
    world.wait(600)
    assert runs(world) == ["m"]


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


def test_what_is_ending_already_is_waited_for_and_nobody_else_goes() -> None:
    world = World()
    first, second, asked = shared(world, "m", "n", "o", gpus=2)
    use(world, first)
    use(world, second)
    world.machines["a"].slow = True
    world.delete(second)
    world.want(asked.id, held=1)
    assert world.told("replica.evicted") == []
    world.end("a")
    assert runs(world) == ["m", "o"]


def test_when_what_was_to_go_does_not_end_another_way_is_looked_for() -> None:
    world = World()
    first, second, asked = shared(world, "m", "n", "o", gpus=2)
    use(world, first, 1)
    use(world, second, 5)
    world.machines["a"].slow = True
    world.want(asked.id, held=1)
    world.wait(PATIENCE + asked.spec.drain_timeout + 31)
    assert [key.deployment for key, each in world.machines["a"].orders.items() if each.run is None] == [
        "m:command",
        "n:command",
    ]


def test_one_in_use_is_drained_after_its_quantum_and_not_before() -> None:
    world = World()
    busy, asked = shared(world, "m", "n")
    world.want(busy.id, held=1)
    world.ready()
    world.want(busy.id, in_flight=1)
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
    world.want(busy.id, held=1)
    world.ready()
    world.want(busy.id, in_flight=1)
    world.want(low.id, held=1)
    world.wait(STALENESS - 1)
    assert runs(world) == ["m"]
    world.want(high.id, held=1)
    assert runs(world) == ["high"]


def test_growth_takes_only_what_is_idle() -> None:
    world = World()
    growing, busy = shared(world, "m", "n", gpus=2)
    world.want(busy.id, held=1)
    world.ready()
    world.want(busy.id, in_flight=1)
    world.want(growing.id, held=1)
    world.ready()
    world.want(growing.id, in_flight=3)
    world.wait(120)
    assert runs(world) == ["m", "n"]
    world.want(busy.id)
    assert runs(world) == ["m", "m"]


def test_of_those_that_wait_the_one_with_the_most_to_do_is_next() -> None:
    world = World()
    busy, few, many = shared(world, "m", "few", "many")
    world.want(busy.id, held=1)
    world.ready()
    world.want(busy.id, in_flight=1)
    world.want(few.id, held=1)
    world.want(many.id, held=9)
    world.want(busy.id)
    assert runs(world) == ["many"]
    world.ready()
    world.want(many.id, in_flight=9)
    world.want(many.id)
    assert runs(world) == ["few"]


def test_what_fails_again_and_again_has_no_right_to_its_room() -> None:
    world = World()
    failing, asked = shared(world, "m", "n")
    world.want(failing.id, held=1)
    (key,) = world.machines["a"].running
    world.say("a", key, ReplicaState.FAILED, failures=3, reason="no")
    world.want(asked.id, held=1)
    assert runs(world) == ["n"]


def test_a_worker_without_the_label_gives_no_room() -> None:
    world = World()
    idle, asked = shared(world, "m", "n", node_selector={"kind": "large"})
    world.machines["a"].inventory = evolve(world.machines["a"].inventory, labels={"kind": "large"})
    world.inventory("a")
    use(world, idle)
    other = world.deploy("o", **scaled(), node_selector={"kind": "small"})
    world.want(other.id, held=1)
    assert runs(world) == ["m"]
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


def test_what_declines_to_go_since_it_is_busy_stays_and_another_one_goes() -> None:
    world = World()
    first, second, asked = shared(world, "m", "n", "o", gpus=2)
    use(world, first, 1)
    use(world, second, 5)
    world.machines["a"].slow = True
    world.want(asked.id, held=1)
    (key,) = (key for key, each in world.machines["a"].orders.items() if each.run is None)
    assert key.deployment == first.id
    world.want(first.id, in_flight=1)
    world.say("a", key, ReplicaState.READY, declined=1)
    stopped = [each.deployment for each, order in world.machines["a"].orders.items() if order.run is None]
    assert stopped == [second.id]
    world.end("a")
    assert runs(world) == ["m", "o"]


def test_nobody_goes_while_the_head_doubts_what_it_knows_of_its_workers() -> None:
    world = World()
    idle, asked = shared(world, "m", "n")
    for name in ("b", "c"):
        world.worker(name, gpus=0)
    use(world, idle)
    for name in ("b", "c"):
        world.unlink(name)
    world.want(asked.id, held=1)
    assert runs(world) == ["m"]


def test_the_worker_whose_replicas_are_worth_least_gives_the_room() -> None:
    world = World()
    dear, cheap, asked = shared(world, "m", "n", "o")
    use(world, dear, 9)
    world.worker("b", gpus=1)
    use(world, cheap, 1)
    world.worker("c", gpus=0)
    world.want(asked.id, held=1)
    assert (runs(world, "a"), runs(world, "b")) == (["m"], ["o"])


def test_idle_and_busy_replicas_go_together_where_one_is_not_enough() -> None:
    world = World()
    idle, busy = shared(world, "m", "n", gpus=2)
    large = world.deploy("large", **{**scaled(), "num_gpus": 2})
    use(world, idle)
    world.want(busy.id, held=1)
    world.ready()
    world.want(busy.id, in_flight=1)
    world.want(large.id, held=1)
    assert runs(world) == ["m", "n"]
    world.wait(QUANTUM + 1)
    assert runs(world) == ["large"]
    assert (idle.wanted, busy.wanted) == (0, 1), "the idle one does not come back unasked"
    assert [len(world.told(kind)) for kind in ("replica.evicted", "deployment.swapped")] == [1, 1]


def test_one_that_came_first_lets_another_pass_that_is_due_before_it() -> None:
    world = World()
    busy, low = shared(world, "m", "low")
    few, many = (world.deploy(name, **scaled()) for name in ("few", "many"))
    world.update(low, **scaled(), priority=-1)
    world.want(busy.id, held=1)
    world.ready()
    world.want(busy.id, in_flight=1)
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


def test_an_idle_one_stays_where_the_busy_one_has_to_go_anyway() -> None:
    world = World()
    (idle,) = shared(world, "m", gpus=3)
    busy, asked = (world.deploy(name, **{**scaled(), "num_gpus": 2}) for name in ("n", "o"))
    use(world, idle)
    world.want(busy.id, held=1)
    world.ready()
    world.want(busy.id, in_flight=1)
    world.want(asked.id, held=1)
    world.wait(QUANTUM + 1)
    assert runs(world) == ["m", "o"]


def test_a_busy_replica_whose_worker_is_given_up_is_no_longer_one_that_may_go() -> None:
    world = World()
    busy, asked = shared(world, "m", "n")
    world.want(busy.id, held=1)
    world.ready()
    world.want(busy.id, in_flight=1)
    world.unlink("a")
    world.wait(11)
    world.want(asked.id, held=1)
    world.wait(QUANTUM + 1)
    assert len(world.picture.planner.evictor.claims) == 0
    assert world.audit() == []


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
    world.want(busy.id, held=1)
    world.ready()
    world.want(busy.id, in_flight=1)
    world.want(waits.id, held=1)
    world.wait(5)
    world.picture.take(DemandReported("gateway", (), (busy.id,)), world.now)
    world.wants.discard(busy.id)
    world.want(late.id, held=1)
    assert runs(world) == ["n"]


def test_one_that_cannot_use_the_room_lets_others_pass() -> None:
    world = World()
    (busy,) = shared(world, "m")
    large = world.deploy("large", **{**scaled(), "num_gpus": 2})
    elsewhere = world.deploy("n", **scaled(), node_selector={"kind": "other"})
    late = world.deploy("o", **scaled())
    world.want(busy.id, held=1)
    world.ready()
    world.want(busy.id, in_flight=1)
    for deployment in (large, elsewhere):
        world.want(deployment.id, held=9)
    world.wait(5)
    world.want(late.id, held=1)
    world.want(busy.id)
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
