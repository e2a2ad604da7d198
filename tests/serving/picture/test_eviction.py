"""Who goes when a deployment finds no room, and who gets what is left."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving.decisions.swapping import QUANTUM
from sllm_actors.serving.picture.eviction.claims import PATIENCE

from .sharing import runs, scaled, serve, shared, use
from .world import World


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
    assert world.picture.catalogue.by_id["m:command"].fewer == "n:command needed its room"


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


@pytest.mark.slow
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
    serve(world, busy)
    world.want(large.id, held=1)
    world.wait(60)
    assert runs(world) == ["m"]


def test_of_what_had_its_turn_no_more_goes_than_is_needed() -> None:
    world = World()
    small, other, third = shared(world, "m", "n", "o", gpus=3)
    large = world.deploy("large", **{**scaled(), "num_gpus": 2})
    for deployment in (small, other, third):
        serve(world, deployment)
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


def test_growth_takes_only_what_is_idle() -> None:
    world = World()
    growing, busy = shared(world, "m", "n", gpus=2)
    serve(world, busy)
    serve(world, growing, in_flight=3)
    world.wait(120)
    assert runs(world) == ["m", "n"]
    world.want(busy.id)
    assert runs(world) == ["m", "m"]


def test_a_burst_that_would_soon_be_over_makes_nobody_start_again_later() -> None:
    world = World()
    idle, growing = shared(world, "n", "m", gpus=2, **scaled(max_instances=2))
    use(world, idle)
    world.want(growing.id, held=1)
    (key,) = (each for each in world.machines["a"].running if each.deployment == growing.id)
    world.say("a", key, ReplicaState.READY, failures=0, starts=1, started_in=20.0)
    world.want(growing.id, in_flight=1, uses=1)
    world.wait(1.0)
    world.want(growing.id, uses=1)  # a request takes a second, a start 20
    world.want(growing.id, held=49, in_flight=1, uses=2, reached=1)
    assert growing.needed == 2, "it would have what is free"
    assert runs(world) == ["m", "n"], "the last of 50 begins in 49 s"
    world.want(growing.id, held=79, in_flight=1, uses=2, reached=1)
    assert runs(world) == ["m", "m"], "the last of 80 would begin after more than three starts"


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
    world.workers("bc", gpus=0)
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
    serve(world, busy)
    world.want(large.id, held=1)
    assert runs(world) == ["m", "n"]
    world.wait(QUANTUM + 1)
    assert runs(world) == ["large"]
    assert (idle.wanted, busy.wanted) == (0, 1), "the idle one does not come back unasked"
    assert [len(world.told(kind)) for kind in ("replica.evicted", "deployment.swapped")] == [1, 1]


def test_an_idle_one_stays_where_the_busy_one_has_to_go_anyway() -> None:
    world = World()
    (idle,) = shared(world, "m", gpus=3)
    busy, asked = (world.deploy(name, **{**scaled(), "num_gpus": 2}) for name in ("n", "o"))
    use(world, idle)
    serve(world, busy)
    world.want(asked.id, held=1)
    world.wait(QUANTUM + 1)
    assert runs(world) == ["m", "o"]


def test_a_busy_replica_whose_worker_is_given_up_is_no_longer_one_that_may_go() -> None:
    world = World()
    busy, asked = shared(world, "m", "n")
    serve(world, busy)
    world.unlink("a")
    world.wait(11)
    world.want(asked.id, held=1)
    world.wait(QUANTUM + 1)
    assert len(world.picture.planner.evictor.claims) == 0
    assert world.audit() == []
