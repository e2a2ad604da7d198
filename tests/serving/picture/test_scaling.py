"""How many replicas there are by what clients want, in a world of workers that obey."""

from __future__ import annotations

from typing import Any

from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving.messages import Demand
from sllm_actors.serving.picture.deployment import Deployment
from sllm_actors.serving.picture.deployment_state import DeploymentState, spoken_for
from sllm_actors.serving.picture.events import DemandReported, ReplicasReported

from .world import World

ID = "m:command"


def scaled(least: int | None = None, most: int = 4, **more: Any) -> dict[str, Any]:
    """Return the keys of a document with a target of 8 requests."""
    given = {} if least is None else {"min_instances": least}
    return {"auto_scaling_config": {**given, "max_instances": most, **more}}


def wants(world: World, held: int = 0, in_flight: int = 0, gateway: str = "g") -> None:
    """Let a gateway say what its clients want; without any request, they want nothing any more."""
    if held or in_flight:
        world.send(DemandReported(gateway, (Demand(ID, held, in_flight),)))
    else:
        world.send(DemandReported(gateway, (), (ID,)))


def passes(world: World, seconds: float, held: int = 0, in_flight: int = 0) -> None:
    """Let time pass while a gateway renews each second what its clients want."""
    for _ in range(round(seconds)):
        wants(world, held, in_flight)
        world.wait(1.0)


def replicas(world: World) -> int:
    return sum(world.where(ID).values())


def state(deployment: Deployment) -> DeploymentState:
    return spoken_for(deployment)[0]


def test_without_a_minimum_one_replica_is_started_once_and_stays() -> None:
    world = World()
    world.worker("a")
    known = world.deploy("m", **scaled())
    assert replicas(world) == 1
    world.ready()
    assert known.loaded
    world.wait(86400.0)
    assert (replicas(world), known.wanted, known.needed) == (1, 1, 0)


def test_what_was_deployed_is_kept_from_when_it_is_ready_and_from_the_last_request() -> None:
    world = World()
    world.worker("a")
    known = world.deploy("m", **scaled(keep_alive=60))
    wants(world, held=1)
    world.ready()
    assert known.loaded
    wants(world)
    world.wait(61.0)
    assert replicas(world) == 0


def test_that_a_replica_has_served_once_outlives_the_head() -> None:
    world = World()
    world.worker("a")
    world.deploy("m", **scaled())
    world.ready()
    world.machines["a"].running.clear()
    world.restart_head()
    assert replicas(world) == 0
    known = world.picture.catalogue.by_id[ID]
    assert state(known) is DeploymentState.IDLE
    wants(world, held=1)
    assert replicas(world) == 1


def test_with_a_minimum_of_0_nothing_starts_before_the_first_request() -> None:
    world = World()
    world.worker("a")
    known = world.deploy("m", **scaled(0, keep_alive=60))
    assert (replicas(world), state(known)) == (0, DeploymentState.IDLE)
    wants(world, held=1)
    assert replicas(world) == 1
    assert world.told("deployment.scaled") == ["from 0 to 1: 1 request held and in flight, 8 each"]
    world.ready()
    wants(world)
    world.wait(59.0)
    assert replicas(world) == 1
    world.wait(2.0)
    world.end("a")
    assert (replicas(world), state(known)) == (0, DeploymentState.IDLE)
    assert world.told("deployment.scaled")[1] == "from 1 to 0: no request for 60 s"


def test_a_minimum_of_0_that_is_given_later_wants_nothing_either_where_nothing_has_served_yet() -> None:
    world = World()
    deployment = world.deploy("m", **scaled(3))
    assert (deployment.wanted, replicas(world)) == (3, 0)  # there is no worker
    world.update(deployment, **scaled(0, keep_alive=60))
    world.wait(61.0)
    assert deployment.wanted == 0
    world.worker("a")
    assert replicas(world) == 0
    wants(world, held=1)
    assert (deployment.wanted, replicas(world)) == (1, 1)


def test_a_replica_that_is_used_is_not_stopped_for_idleness() -> None:
    world = World()
    world.worker("a")
    world.deploy("m", **scaled(0, keep_alive=0))
    passes(world, 100.0, held=1)
    world.ready()
    passes(world, 1000.0, in_flight=1)
    assert replicas(world) == 1
    wants(world)
    assert replicas(world) == 0


def test_more_run_under_load_and_fewer_after_a_delay() -> None:
    world = World()
    world.workers("abcd")
    known = world.deploy("m", **scaled(0))
    wants(world, held=17)
    assert replicas(world) == 3, "nothing was measured yet that would tell that fewer do"
    world.ready()
    passes(world, 200.0, in_flight=17)
    passes(world, 250.0, in_flight=1)
    assert replicas(world) == 3
    passes(world, 150.0, in_flight=1)
    for name in "abcd":
        world.end(name)
    assert (replicas(world), known.wanted) == (1, 1)
    assert world.told("deployment.scaled")[-1].startswith("from ")


def test_no_replica_is_started_that_would_come_when_the_burst_is_over() -> None:
    world = World()
    world.workers("abcd")
    known = world.deploy("m", **scaled(0))
    wants(world, held=1)
    (key,) = world.machines["a"].running
    world.say("a", key, ReplicaState.READY, failures=0, starts=1, started_in=20.0)
    for uses in range(1, 20):  # of one second each
        world.send(DemandReported("g", (Demand(ID, in_flight=1, ready=1, uses=uses),)))
        world.wait(1.0)
        world.send(DemandReported("g", (Demand(ID, ready=1, uses=uses),)))
    assert known.starts_in == 20.0
    world.send(DemandReported("g", (Demand(ID, held=72, in_flight=8, ready=1, uses=28),)))
    assert (replicas(world), known.needed) == (1, 1), "the last of 80 begins in 9 s"
    world.send(DemandReported("g", (Demand(ID, held=192, in_flight=8, ready=1, uses=28),)))
    assert (replicas(world), known.needed) == (2, 2)
    world.send(DemandReported("g", (Demand(ID, held=1, in_flight=8, ready=1, uses=29),)))
    assert (replicas(world), known.needed) == (2, 2)
    world.send(DemandReported("g", (Demand(ID, in_flight=8, ready=1, uses=29),)))
    assert (replicas(world), known.needed) == (2, 1), "others may have its room, but nobody needs it yet"


def test_a_load_that_lasts_gets_what_its_mean_needs() -> None:
    world = World()
    world.workers("abcd")
    world.deploy("m", **scaled(0))
    wants(world, held=1)
    (key,) = world.machines["a"].running
    world.say("a", key, ReplicaState.READY, failures=0, starts=1, started_in=600.0)
    world.send(DemandReported("g", (Demand(ID, in_flight=1, ready=1, uses=1),)))
    world.wait(1.0)
    for _ in range(55):
        world.send(DemandReported("g", (Demand(ID, held=4, in_flight=8, ready=1, uses=9),)))
        world.wait(1.0)
    assert replicas(world) == 2, "though what waits begins soon"


def test_a_gateway_that_dies_takes_its_demand_with_it() -> None:
    world = World()
    world.worker("a")
    world.deploy("m", **scaled(0, keep_alive=10))
    wants(world, held=1)
    world.ready()
    world.wait(14.0)
    assert replicas(world) == 1
    world.wait(2.0)
    assert replicas(world) == 0


def test_a_revision_made_while_nothing_runs_is_rolled_back_by_its_first_failure() -> None:
    world = World()
    a = world.worker("a")
    known = world.deploy("m", **scaled(0))
    wants(world, held=1)
    world.ready()
    wants(world)
    world.update(known, **scaled(0, keep_alive=0), backend_config={"command": ["other"]})
    world.end("a")
    assert (replicas(world), known.target) == (0, 2)
    wants(world, held=1)
    (key,) = a.running
    assert key.revision == 2
    world.say("a", key, ReplicaState.FAILED, failures=1, reason="it cannot")
    assert world.told("rollout.rolled_back") == ["revision 2 was rolled back to 1: it failed: it cannot"]
    world.end("a")
    world.ready()
    assert world.states("a") == [(1, "ready")]


def test_a_schedule_changes_the_bounds_at_its_times() -> None:
    world = World()  # it is 1970-01-12 13:46:40 in Greenwich
    world.workers("ab")
    afternoon = {"cron": "0 14 * * *", "duration": 3600, "min_instances": 2, "max_instances": 6, "target": 1}
    known = world.deploy("m", **scaled(0, 1, keep_alive=60, scale_down_delay=10, schedules=[afternoon]))
    assert replicas(world) == 0
    world.wait(900.0)
    assert (replicas(world), known.most) == (2, 6)
    assert world.told("deployment.scaled") == ["from 0 to 2: at least 2 should run"]
    world.ready()
    world.wait(3600.0)
    assert (replicas(world), known.most) == (0, 1)


def test_where_it_is_asked_to_a_replica_is_kept_as_long_as_the_pauses_were() -> None:
    world = World()
    world.worker("a")
    world.deploy("m", **scaled(0, learn_keep_alive=True))
    for _ in range(12):
        wants(world, held=1)
        world.ready()
        wants(world)
        world.wait(90.0)
    assert replicas(world) == 1
    world.wait(2 * 60.0 * 1.1 - 90.0 + 1.0)
    assert replicas(world) == 0


def test_a_replica_that_is_late_holds_up_nothing() -> None:
    world = World()
    world.worker("a")
    world.worker("b")
    known = world.deploy("m", **scaled(0), startup_timeout=20)
    wants(world, held=1)
    passes(world, 19.0, held=1)
    assert replicas(world) == 1
    passes(world, 3.0, held=1)
    assert (replicas(world), known.needed) == (2, 2)


def test_what_changes_no_answer_plans_nothing() -> None:
    world = World()
    world.worker("a")
    world.deploy("m", **scaled(0, most=1))
    wants(world, held=1)
    world.ready()
    wants(world, in_flight=1)
    for number in range(2, 50):
        world.picture.take(DemandReported("g", (Demand(ID, 0, number),)), world.now)
        assert not world.picture.more


def test_one_that_nobody_asks_for_waits_for_room_no_longer_than_a_start_may_take() -> None:
    world = World()
    world.worker("a", gpus=1)
    world.deploy("first", num_gpus=1)
    known = world.deploy("m", **scaled(), num_gpus=1, startup_timeout=60)
    large = world.deploy("large", num_gpus=2, startup_timeout=60)
    world.ready()
    assert (state(known), state(large)) == (DeploymentState.PENDING, DeploymentState.PENDING)
    world.wait(61.0)
    assert (state(known), known.loaded, known.wait) == (DeploymentState.IDLE, True, None)
    assert "from 1 to 0: others have had the room, and nobody asks for it" in world.told("deployment.scaled")
    assert state(large) is DeploymentState.FAILED, "no worker could have it"
    assert world.audit() == []


def test_a_replica_that_requests_wanted_waits_for_room_no_longer_than_they_do() -> None:
    world = World()
    world.worker("a", gpus=1)
    world.deploy("first", num_gpus=1, pinned=True)
    world.ready()
    known = world.deploy("m", **scaled(0, most=1), num_gpus=1)
    wants(world, in_flight=1)
    assert (state(known), known.wanted) == (DeploymentState.PENDING, 1)
    wants(world)
    assert (state(known), known.wait) == (DeploymentState.IDLE, None)
    assert "from 1 to 0: others have had the room, and nobody asks for it" in world.told("deployment.scaled")
    assert world.audit() == []


def test_a_first_start_waits_for_room_though_a_request_has_come_and_gone() -> None:
    world = World()
    world.worker("a", gpus=1)
    world.deploy("first", num_gpus=1, pinned=True)
    world.ready()
    known = world.deploy("m", **scaled(most=1), num_gpus=1)
    wants(world, held=1)
    wants(world)
    assert (state(known), known.wanted) == (DeploymentState.PENDING, 1)


def test_full_engines_get_another_one_beside_them_and_keep_it_while_they_need_it() -> None:
    world = World()
    world.workers("abc")
    known = world.deploy("m", **scaled(0, target=100, scale_down_delay=30))
    world.want(ID, in_flight=6)
    world.ready()
    (key,) = known.replicas
    (first,) = world.where(ID)
    world.say(first, key, ReplicaState.READY, kv_used=70)
    assert replicas(world) == 1
    world.say(first, key, ReplicaState.READY, kv_used=75)
    assert replicas(world) == 2
    assert world.told("deployment.scaled")[-1].startswith("from 1 to 2: its engines are full: 75 % of ")
    world.wait(100.0)
    assert replicas(world) == 2, "the second one starts still"
    world.ready()
    world.say(first, key, ReplicaState.READY, kv_used=90, waiting=5)
    world.wait(100.0)
    assert (replicas(world), known.needed) == (2, 2), "only one of them is full"
    world.say(first, key, ReplicaState.READY, kv_used=50, waiting=0)
    world.wait(31.0)
    assert replicas(world) == 1, "one is enough for what both have"


def test_a_report_of_how_full_an_engine_is_plans_nothing_that_would_change_nothing() -> None:
    world = World()
    world.worker("a")
    known = world.deploy("m", **scaled(1, most=1))
    world.want(ID, in_flight=6)
    world.ready()
    (key,) = known.replicas
    report = world.machines["a"].put(key, ReplicaState.READY, kv_used=100, waiting=5)
    world.picture.take(ReplicasReported("a", (report,)), world.now)
    assert not world.picture.more
