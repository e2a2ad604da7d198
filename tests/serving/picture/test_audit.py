"""The audit finds what does not agree, going round in slices."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from attrs import evolve

from sllm_actors.serving.picture.audit import Audit
from sllm_actors.serving.picture.room.claim import Claim
from sllm_actors.serving.picture.room.need import Free, Need

from .world import World, count

Breaks = Callable[[World], None]


def _world() -> World:
    world = World()
    world.worker("a", gpus=2)
    world.worker("b", gpus=1)
    world.deploy("m", num_gpus=1, **count(2))
    world.deploy("big", num_gpus=4)
    world.ready()
    return world


def used(world: World) -> None:
    next(iter(world.picture.fleet.nodes["a"].replicas.values())).need = Need(gpus=2)


def room(world: World) -> None:
    world.picture.fleet.room.put("b", has_gpus=True, free=Free(7), load=0)


def missing_room(world: World) -> None:
    world.picture.fleet.room.remove("b")


def up(world: World) -> None:
    del world.picture.fleet.workers_up["a"]


def draining(world: World) -> None:
    world.picture.fleet.draining.add("a")


def order(world: World) -> None:
    world.machines["a"].orders.clear()


def extra_order(world: World) -> None:
    key, old = next(iter(world.machines["a"].orders.items()))
    world.machines["a"].orders[evolve(key, number=99)] = old


def node_key(world: World) -> None:
    replicas = world.picture.fleet.nodes["a"].replicas
    key = next(iter(replicas))
    replicas[evolve(key, number=99)] = replicas.pop(key)


def unowned(world: World) -> None:
    world.picture.catalogue.by_id["m:command"].replicas.clear()


def revision(world: World) -> None:
    world.picture.catalogue.by_id["m:command"].revisions.clear()
    world.picture.catalogue.by_id["m:command"].deleting = True


def by_id(world: World) -> None:
    world.picture.catalogue.by_id["m:command"] = world.picture.catalogue.by_id["big:command"]


def ids(world: World) -> None:
    world.picture.catalogue.ids.append("z")


def waits(world: World) -> None:
    world.picture.planner.waiting.remove("uid-2")


def queued(world: World) -> None:
    for index in range(9):
        world.picture.planner.waiting.add(f"x{index}", Need(1))


def route(world: World) -> None:
    world.picture.catalogue.by_id["m:command"].route = None


def record(world: World) -> None:
    world.picture.catalogue.by_id["m:command"].written = None


def state(world: World) -> None:
    world.picture.states.put(evolve(world.picture.catalogue.by_id["m:command"], replicas={}))


def uncounted(world: World) -> None:
    world.picture.states.forget("uid-1")


def claim(uid: str) -> Breaks:
    def broken(world: World) -> None:
        (replica, *_) = world.picture.fleet.nodes["a"].replicas.values()
        world.picture.planner.evictor.claims.add(Claim(uid, replica, (), 1.0))

    return broken


BROKEN = [
    claim("uid-1"),
    claim("nobody"),
    used,
    room,
    missing_room,
    up,
    draining,
    order,
    extra_order,
    node_key,
    unowned,
    revision,
    by_id,
    ids,
]
BROKEN += [waits, queued, route, record, state, uncounted]


@pytest.mark.parametrize("breaks", BROKEN)
def test_what_does_not_agree_is_found(breaks: Breaks) -> None:
    world = _world()
    for machine in world.machines.values():
        machine.slow = True
    world.delete(world.deploy("ends"))
    assert world.audit() == []
    breaks(world)
    assert world.audit() != []


def test_it_goes_round_in_slices_and_passes_over_what_is_gone_or_not_planned() -> None:
    world = _world()
    audit = Audit(world.picture, lambda node: world.machines[node].orders)
    assert (audit.slice(4), audit.round_is_over) == ([], False)
    assert (audit.slice(1), audit.round_is_over) == ([], True)
    assert [audit.slice(1) for _ in range(5)] == [[]] * 5
    audit.slice(1)
    world.delete(world.picture.catalogue.by_id["m:command"])
    del world.picture.fleet.nodes["b"]
    world.picture.fleet.room.remove("b")
    assert [audit.slice(1) for _ in range(3)] == [[]] * 3
    big = world.picture.catalogue.by_id["big:command"]
    big.written = None
    assert world.picture.hold(big.id)
    assert world.audit() == []
