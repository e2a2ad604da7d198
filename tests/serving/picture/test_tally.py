"""What is counted as it changes agrees with what a walk over everything counts."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from sllm_actors.serving.picture.fleet import MAX_DOWN, Fleet
from sllm_actors.serving.picture.node import Link

from .world import World

NAMES = ("a", "b", "c")
STEPS = ("link", "unlink", "deploy", "wait", "drain")


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["link", "unlink", "deploy", "wait", "drain"]), st.sampled_from(NAMES))
    )
)
def test_the_tally_agrees_with_a_walk_over_all_nodes(steps: list[tuple[str, str]]) -> None:
    world = World()
    for number, name in enumerate(NAMES):
        world.worker(name, gpus=number)
    for step, name in steps:
        match step:
            case "link":
                if not world.machines[name].linked:
                    world.link(name)
            case "unlink":
                if world.machines[name].linked:
                    world.unlink(name)
            case "deploy":
                world.deploy(f"m{world.uids}", num_gpus=NAMES.index(name))
            case "wait":
                world.wait(6.0)
            case "drain":
                world.drain(name, draining=not world.picture.fleet.nodes[name].draining)
        agrees(world.picture.fleet)


def agrees(fleet: Fleet) -> None:
    nodes, tally = fleet.nodes.values(), fleet.tally
    assert +tally.nodes == Counter((each.role, each.link.value) for each in nodes)
    up = [each for each in nodes if each.link is Link.UP]
    assert tally.gpus == sum(each.gpus for each in up)
    assert tally.free_gpus == sum(each.free_gpus for each in up)
    assert tally.replicas == sum(len(each.replicas) for each in nodes)
    assert fleet.ids == sorted(fleet.nodes)
    assert [each.id for each in fleet.after("")] == fleet.ids


def test_a_node_that_is_forgotten_is_neither_listed_nor_counted() -> None:
    world = World()
    for number in range(MAX_DOWN + 2):
        world.worker(f"w{number:03}")
        world.unlink(f"w{number:03}")
        world.wait(11.0)
    fleet = world.picture.fleet
    assert len(fleet.nodes) == MAX_DOWN
    assert "w000" not in fleet.ids
    agrees(fleet)
    fleet.tally.forget(fleet.nodes["w005"])
    fleet.tally.forget(fleet.nodes["w005"])  # which is harmless
    assert sum(fleet.tally.nodes.values()) == MAX_DOWN - 1
