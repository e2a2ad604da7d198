"""The simulation of engines that sleep and wake finds each bug of sleeping that is planted for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving.picture.eviction.making_room import RoomMaker
from sllm_actors.serving.picture.planning.planner import Planner
from sllm_actors.serving.picture.replica import KnownReplica
from sllm_actors.serving.picture.room import ledger

from .test_demotion import GIB, Sleepers
from .test_waiting import TICK

SEEDS = 6

Patch = pytest.MonkeyPatch


def counts_memory_as_free_before_the_engine_says_that_it_sleeps(patch: Patch) -> None:
    held = ledger._held

    def early(inventory: Any, replicas: Any, asleep: Any) -> Any:
        known = tuple(replicas)
        told = {each.key: GIB for each in known if each.sleep is not None}
        return held(inventory, known, {**told, **asleep})

    patch.setattr(ledger, "_held", early)


def counts_what_wakes_as_asleep_until_it_has_woken(patch: Patch) -> None:
    patch.setattr(KnownReplica, "rests", property(lambda self: self.state is ReplicaState.ASLEEP))


def wakes_whether_there_is_room_or_not(patch: Patch) -> None:
    patch.setattr(RoomMaker, "wakes", lambda *_: True)


def forgets_what_an_engine_keeps_as_it_sleeps(patch: Patch) -> None:
    held = ledger._held

    def nothing_kept(inventory: Any, replicas: Any, asleep: Any) -> Any:
        return held(inventory, [each for each in replicas if not each.rests], asleep)

    patch.setattr(ledger, "_held", nothing_kept)


def gives_room_that_is_kept_for_another(patch: Patch) -> None:
    patch.setattr(ledger, "can_wake", lambda *_: True)
    patch.setattr("sllm_actors.serving.picture.room.fitting.can_wake", lambda *_: True)


def takes_room_from_what_is_still_waking(patch: Patch) -> None:
    patch.setattr(KnownReplica, "is_waking", property(lambda _: False))


def starts_another_one_beside_each_sleeper(patch: Patch) -> None:
    patch.setattr(Planner, "_goes_elsewhere", lambda *_: True)


BUGS: list[tuple[Callable[[Patch], None], str]] = [
    (counts_memory_as_free_before_the_engine_says_that_it_sleeps, "no_room|two engines"),
    (counts_what_wakes_as_asleep_until_it_has_woken, "no_room|two engines"),
    (wakes_whether_there_is_room_or_not, "no_room|two engines|waited too long"),
    (forgets_what_an_engine_keeps_as_it_sleeps, "no_room|two engines"),
    (gives_room_that_is_kept_for_another, "no_room|two engines|waited too long"),
    (takes_room_from_what_is_still_waking, "started anew|two engines"),
    (starts_another_one_beside_each_sleeper, "started anew"),
]


def play(*seeds: int) -> None:
    """Let clients ask for more engines than fit, and check what has to hold of them."""
    for seed in seeds:
        clients = Sleepers(seed, models=3 + seed, gpus=1 + seed % 2)
        clients.run(300.0, rate=0.3, greedy=True)
        assert clients.waited <= clients.bound + 8 * TICK * len(clients.models), "one has waited too long"
        placed = Counter(each.subject for each in clients.world.journal if each.kind == "replica.placed")
        if len(clients.gpus) == 1 and all(clients.can_sleep.values()):
            assert max(placed.values()) == 1, "one was started anew that could have slept"
        assert clients.wakes > 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
def test_without_a_bug_nothing_is_found(seed: int) -> None:
    play(seed)


@pytest.mark.slow
@pytest.mark.parametrize(("plant", "found"), BUGS, ids=[plant.__name__ for plant, _ in BUGS])
def test_a_planted_bug_of_sleeping_is_found(
    plant: Callable[[Patch], None], found: str, monkeypatch: Patch
) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError, match=found):
        play(*range(SEEDS))
