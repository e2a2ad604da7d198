"""Replicas in use that had their turn fall asleep, where that is enough, once their requests have ended."""

from __future__ import annotations

import pytest

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving.decisions.swapping import QUANTUM
from sllm_actors.serving.picture.events import ReplicasReported
from sllm_actors.serving.picture.eviction.claims import PATIENCE
from sllm_actors.serving.picture.eviction.making_room import SWAP_PATIENCE
from sllm_actors.serving.views.reasons import what_it_waits_for

from .sharing import scaled
from .test_demotion import GIB, Box, Sleepers
from .test_waiting import TICK

ENDING = "waiting for its requests to end"


def busy(*names: str, kept: int = GIB, can_sleep: bool = True) -> tuple[Box, ReplicaKey]:
    """Return a box of which the first model answers a long request, and the one replica of that."""
    box = Box(*names, kept=kept)
    first = box.known[names[0]]
    box.world.want(first.id, held=1)
    box.ready(can_sleep=can_sleep)
    box.world.want(first.id, in_flight=1, uses=1)
    (key,) = first.replicas
    box.machine.busy.add(key)
    return box, key


def asks(box: Box, name: str) -> None:
    """Let a request wait for a model, for longer than the other one's quantum."""
    box.world.want(f"{name}:command", held=1)
    box.world.wait(QUANTUM + 1)


def requests_end(box: Box, name: str, key: ReplicaKey) -> None:
    """Let the requests of a model end, and its engine fall asleep then."""
    box.machine.busy.discard(key)
    box.world.want(f"{name}:command")
    box.machine.changed_tier(key)
    box.world.say("a", key, ReplicaState.ASLEEP)


def test_one_in_use_falls_asleep_after_its_turn_and_nothing_starts_before_it_has() -> None:
    box, m = busy("m", "n")
    asks(box, "n")
    order = box.machine.orders[m]
    assert order.run is not None
    assert (order.sleep, order.patience) == (1, SWAP_PATIENCE)
    assert (box.machine.running[m].progress, box.states) == (ENDING, {"m": "asleep"})
    box.world.wait(60)
    assert box.states == {"m": "asleep"}, "its request is not cut short, and its memory is not free"
    requests_end(box, "m", m)
    assert box.states == {"m": "asleep", "n": "starting"}
    (told,) = box.world.told("deployment.swapped")
    assert told.endswith("requests wait for n:command: it sleeps at level 1 when its own have ended")
    assert box.world.told("replica.stopped") == []
    assert box.world.audit() == []


def test_both_take_turns_by_sleeping_while_both_are_asked_for() -> None:
    box, m = busy("m", "n")
    asks(box, "n")
    box.world.want("m:command", held=1, in_flight=1, uses=2)
    assert box.machine.orders[m].sleep == 1, "what waits for it does not wake it: it is the other one's turn"
    assert what_it_waits_for(box.world.picture, box.known["m"], box.world.now)
    box.machine.busy.clear()
    box.world.want("m:command", held=1)
    box.machine.changed_tier(m)
    box.world.say("a", m, ReplicaState.ASLEEP)
    box.ready()
    box.world.want("n:command", in_flight=1, uses=1)
    assert box.states == {"m": "asleep", "n": "ready"}
    box.world.wait(QUANTUM + 1)
    assert box.states == {"m": "ready", "n": "asleep"}
    assert list(box.known["m"].replicas) == [m], "it woke, and no other one was started"
    assert box.world.told("replica.stopped") == []
    assert box.world.audit() == []


@pytest.mark.parametrize("how", [{"kept": 60 * GIB}, {"can_sleep": False}])
def test_one_in_use_that_would_keep_too_much_or_cannot_sleep_is_stopped(how: dict[str, int]) -> None:
    box, m = busy("m", "n", **how)  # type: ignore[arg-type]
    if "kept" in how:  # that is known of it once it has slept
        box.machine.busy.clear()
        box.world.want("m:command")
        box.ask("n")
        box.ask("m")
        box.world.want("m:command", in_flight=1, uses=9)
        (m,) = box.known["m"].replicas
    asks(box, "n")
    assert (box.machine.orders.get(m) is None) or box.machine.orders[m].run is None
    assert box.states == {"n": "starting"}


def test_one_whose_requests_never_end_is_stopped_by_its_worker_and_its_room_is_given() -> None:
    box, m = busy("m", "n")
    asks(box, "n")
    box.world.wait(SWAP_PATIENCE)
    assert box.states == {"m": "asleep"}
    del box.machine.running[m]  # as its worker does then
    box.world.send(ReplicasReported("a", (), (m,)))
    assert box.states == {"n": "starting"}
    assert box.known["m"].wait is not None, "its own wait for a place again"
    assert m not in box.machine.orders
    assert box.world.audit() == []


def test_one_that_does_not_say_what_became_of_it_is_stopped_in_the_end() -> None:
    box, m = busy("m", "n")
    asks(box, "n")
    box.world.wait(SWAP_PATIENCE + PATIENCE + 60)
    assert m not in box.machine.running
    assert box.states == {"n": "starting"}


def test_one_that_finds_room_elsewhere_meanwhile_ends_its_requests_all_the_same() -> None:
    box, m = busy("m", "n")
    asks(box, "n")
    box.machine.slow = True
    box.world.worker("b", gpus=1)
    box.world.want("m:command", held=1, in_flight=1, uses=2)
    assert box.world.where("m:command") == {"b": 1}
    order = box.machine.orders[m]
    assert (order.run, order.if_idle, order.patience) == (None, False, SWAP_PATIENCE)
    box.world.end("a")
    assert box.states == {"n": "starting"}
    assert box.world.audit() == []


def test_one_that_is_deleted_meanwhile_gets_no_longer_than_others() -> None:
    box, m = busy("m", "n")
    asks(box, "n")
    box.machine.slow = True
    box.world.delete(box.known["m"])
    assert (box.machine.orders[m].run, box.machine.orders[m].patience) == (None, None)
    box.world.end("a")
    assert box.states == {"n": "starting"}


def test_one_that_a_person_wakes_meanwhile_serves_on_and_the_other_one_waits_for_its_turn() -> None:
    box, m = busy("m", "n")
    asks(box, "n")
    box.world.say("a", m, ReplicaState.READY, level=None, progress="")
    assert (box.machine.orders[m].sleep, box.machine.orders[m].patience) == (None, None)
    assert box.states == {"m": "ready"}
    box.world.wait(QUANTUM + 1)
    assert box.machine.orders[m].sleep == 1, "it has had another turn"
    assert box.world.audit() == []


def test_an_engine_that_is_started_anew_instead_is_told_once_more_and_as_patiently() -> None:
    box, m = busy("m", "n")
    asks(box, "n")
    before = box.machine.orders[m]
    for state in (ReplicaState.STARTING, ReplicaState.READY):
        box.world.say("a", m, state, level=None, progress="")
    again = box.machine.orders[m]
    assert (again.sleep, again.patience) == (1, SWAP_PATIENCE)
    assert again.turn > before.turn


@pytest.mark.parametrize("link", [True, False])
def test_a_new_head_lets_it_fall_asleep_and_gives_the_room(link: bool) -> None:
    box, m = busy("m", "n")
    asks(box, "n")
    box.world.restart_head(link=link)
    box.known = {each.spec.model: each for each in box.world.picture.catalogue.by_uid.values()}
    if not link:
        box.world.link("a")
    box.world.want("n:command", held=1)
    assert box.machine.running[m].progress == ENDING, "nothing has woken it"
    assert box.states == {"m": "asleep"}
    requests_end(box, "m", m)
    box.world.wait(1)
    assert box.states == {"m": "asleep", "n": "starting"}
    assert box.world.audit() == []


def test_a_worker_that_dies_meanwhile_starts_what_waits_and_not_the_sleeper() -> None:
    box, m = busy("m", "n")
    asks(box, "n")
    box.world.want("m:command")  # its clients have lost their answers
    box.world.unlink("a")
    box.world.link("a", new_life=True)
    assert box.states == {"n": "starting"}
    assert m not in box.machine.orders


def test_of_several_that_make_way_only_those_are_stopped_whose_sleep_is_not_enough() -> None:
    box = Box("m", "n", gpus=2)
    large = box.world.deploy("large", **{**scaled(), "num_gpus": 2})
    for name in ("m", "n"):
        box.world.want(f"{name}:command", held=1)
        box.ready()
        box.world.want(f"{name}:command", in_flight=1, uses=1)
    box.world.want(large.id, held=1)
    box.world.wait(QUANTUM + 1)
    assert box.states == {"m": "asleep", "n": "asleep", "large": "starting"}
    assert box.world.told("replica.stopped") == []


@pytest.mark.parametrize(("said", "level"), [(None, 2), (1, None)])
@pytest.mark.parametrize("in_use", [True, False])
def test_where_a_worker_refuses_a_sleep_for_want_of_memory_one_sleeps_deeper_or_is_stopped(
    said: int | None, level: int | None, in_use: bool
) -> None:
    box = Box("n")
    box.machine.memory_short = True
    box.known["m"] = box.deploy("m", **(scaled() if said is None else scaled(sleep_level=said)))
    box.ask("m")
    if in_use:
        box.world.want("m:command", in_flight=1, uses=2)
    box.world.want("n:command", held=1)
    box.world.wait(60)
    assert box.states == ({"m": "asleep", "n": "starting"} if level else {"n": "starting"})
    assert [report.level for report in box.machine.running.values() if report.level] == (
        [level] if level else []
    )
    assert box.world.audit() == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_turns_by_sleeping_keep_nobody_waiting_longer_than_the_bound(seed: int) -> None:
    clients = Sleepers(seed, models=3 + seed, gpus=1)
    clients.run(400.0, rate=0.3, greedy=True)
    told = clients.world.told("deployment.swapped")
    assert any("sleeps at level" in each for each in told)
    assert 0.0 < clients.waited <= clients.bound + 8 * TICK * len(clients.models)
    assert clients.world.audit() == []
