"""Looking for room, for those that wait for it, and for what is due."""

from __future__ import annotations

from sllm_actors.actors import Incarnation
from sllm_actors.serving.picture.events import (
    DeletionAsked,
    DrainSet,
    InventoryReported,
    NodeLost,
    NodeUp,
    ReplicasReported,
    TimePassed,
)
from sllm_actors.serving.picture.indices.queues import LOOKED_AT, WaitingQueues
from sllm_actors.serving.picture.indices.room import RoomIndex
from sllm_actors.serving.picture.indices.timers import Timers
from sllm_actors.serving.picture.room.need import NOTHING, Free, Need

from .world import World, count


def test_the_best_worker_has_the_fewest_of_the_same_then_the_least_room_then_the_least_load() -> None:
    index = RoomIndex()
    index.put("cpu", has_gpus=False, free=Free(), load=5)
    index.put("roomy", has_gpus=True, free=Free(4), load=0)
    index.put("tight", has_gpus=True, free=Free(1), load=3)
    index.put("idle", has_gpus=True, free=Free(1), load=0)
    one, two = Need(1), Need(2)
    assert index.best(one, one, {}, lambda _: True) == "idle"
    assert index.best(one, one, {"idle": 1}, lambda _: True) == "tight"
    assert index.best(one, one, {"idle": 1, "tight": 2, "roomy": 1}, lambda _: True) == "idle"
    assert index.best(two, NOTHING, {}, lambda _: True) == "cpu"
    assert index.best(two, two, {}, lambda node: node != "roomy") is None
    index.remove("cpu")
    index.remove("cpu")
    assert index.get("cpu") is None
    assert list(index.roomiest()) == ["roomy", "idle", "tight"]
    assert len(index) == 3


def test_a_head_of_a_queue_that_cannot_use_the_room_does_not_block_the_others() -> None:
    queues = WaitingQueues()
    for index in range(LOOKED_AT + 1):
        queues.add(f"u{index}", Need(1))
    queues.add("u0", Need(1))
    queues.add("large", Need(4))
    queues.add("larger", Need(8))
    assert list(queues.for_room(Free(4), lambda uid: uid == "large")) == ["large"]
    assert list(queues.for_room(Free(4), lambda uid: uid != "large")) == ["u0", "u1", "u2", "u3"]
    assert list(queues.for_room(Free(1), lambda uid: uid == f"u{LOOKED_AT}")) == []  # its own timer tries it
    queues.add("large", Need(1))
    queues.remove("nobody")
    assert list(queues.for_room(Free(9), lambda uid: uid == "large")) == []
    assert len(queues) == LOOKED_AT + 3


def test_a_later_time_takes_the_place_of_an_earlier_one() -> None:
    timers = Timers()
    timers.set("a", 1.0)
    timers.set("a", 1.0)
    timers.set("a", 3.0)
    timers.set("b", 2.0)
    timers.set("c", 2.5)
    timers.set("c", None)
    assert timers.due() == 2.0
    assert timers.pop(2.0) == ["b"]
    assert timers.pop(3.0) == ["a"]
    assert timers.due() is None
    for index in range(1000):
        timers.set("a", float(index))
    assert timers.pop(2000.0) == ["a"]


def test_events_about_what_is_not_known_change_nothing() -> None:
    world = World()
    world.worker("a")
    world.send(NodeUp("g", "gateway", "10.0.0.2", Incarnation(1, 0)))
    for event in (
        NodeUp("a", "worker", "10.0.0.1", Incarnation(1, 0)),
        NodeUp("g", "gateway", "10.0.0.2", Incarnation(1, 0)),
        NodeLost("a", Incarnation(1, 0), "late"),
        NodeLost("nobody", Incarnation(1, 0), "late"),
        InventoryReported("nobody", world.machines["a"].inventory),
        InventoryReported("g", world.machines["a"].inventory),
        ReplicasReported("g", (), (), whole=True),
        ReplicasReported("a", (), ()),
        DeletionAsked("nobody"),
        DrainSet("nobody", draining=True),
        DrainSet("a", draining=False),
        TimePassed(),
    ):
        before = len(world.journal)
        world.send(event)
        assert len(world.journal) == before
    world.send(NodeLost("g", Incarnation(1, 0), "it ended"))
    assert world.told("node.lost") == ["g is not linked: it ended"]


def test_a_burst_is_planned_once_and_in_parts() -> None:
    world = World()
    world.worker("a")
    for index in range(3):
        world.deploy(f"m{index}", **count(1))
    world.ready()
    world.restart_head()
    picture = world.picture
    for deployment in picture.catalogue.by_uid.values():
        picture.queue.mark(deployment)
        picture.queue.mark(deployment)
    picture.plan(world.now, limit=2)
    assert picture.more
    picture.plan(world.now, limit=2)
    assert not picture.more


def test_what_is_held_is_planned_after_it_is_released() -> None:
    world = World()
    known = world.deploy("m")
    assert world.picture.hold(known.id)
    world.worker("a")
    world.wait(100)
    assert world.where("m:command") == {}
    world.picture.release(known.id)
    world.picture.release("a")  # a node, of which nothing is planned
    world.settle()
    world.wait(31)
    assert world.where("m:command") == {"a": 1}


def test_a_node_that_is_held_is_written_by_who_holds_it() -> None:
    world = World()
    world.worker("a")
    assert world.picture.hold("a")
    del world.store.nodes["a"]
    world.unlink("a")
    world.link("a")
    assert world.store.nodes == {}
