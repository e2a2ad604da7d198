"""How a replica is chosen."""

from __future__ import annotations

from random import Random

import pytest
from attrs import define
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.kit import replica

from sllm_actors.engines.identity import ReplicaId
from sllm_actors.gateway.routing.asked import Asked
from sllm_actors.gateway.routing.lines.policies.choice import policy_named
from sllm_actors.gateway.routing.lines.policies.p2c import PowerOfTwo
from sllm_actors.gateway.routing.lines.policies.round_robin import RoundRobin

NAMES = ["p2c", "round-robin", "power_of_two", "of_a_later_version"]


@define
class Replica:
    id: ReplicaId
    load: int = 0
    room: int = 99


def replicas(count: int, **more: int) -> list[Replica]:
    return [Replica(replica(number=number).id, **more) for number in range(count)]


@pytest.mark.parametrize("name", NAMES)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(-1, 2)), max_size=5),
    st.lists(st.tuples(st.binary(max_size=3), st.sets(st.integers(0, 4))), min_size=1, max_size=5),
    st.integers(0, 1000),
)
def test_a_choice_has_room_and_was_not_tried_and_there_is_one_if_there_can_be(
    name: str, ready: list[tuple[int, int]], requests: list[tuple[bytes, set[int]]], seed: int
) -> None:
    policy = policy_named(name, Random(seed))
    candidates = [Replica(replica(number=number).id, *each) for number, each in enumerate(ready)]
    for key, tried in requests:
        tried_ids = frozenset(replica(number=number).id for number in tried)
        asked = Asked("smol:llamacpp", affinity=key, prompt=key, tried=tried_ids)
        chosen = policy.choose(candidates, asked)
        free = [each for each in candidates if each.room > 0 and each.id not in tried_ids]
        assert chosen in free if free else chosen is None
    policy.keep(frozenset())


@pytest.mark.parametrize("name", ["p2c", "power_of_two", "of_a_later_version"])
def test_what_is_not_known_is_the_power_of_two_choices(name: str) -> None:
    assert isinstance(policy_named(name, Random()), PowerOfTwo)


def test_of_two_replicas_the_less_loaded_is_chosen() -> None:
    idle, busy = replicas(2)
    busy.load = 1
    for seed in range(20):
        assert PowerOfTwo(Random(seed)).choose([idle, busy], Asked("d")) is idle


def test_two_choices_spread_requests_almost_evenly() -> None:
    ready, policy = replicas(10), PowerOfTwo(Random(1))
    for _ in range(1000):
        chosen = policy.choose(ready, Asked("d"))
        assert chosen is not None
        chosen.load += 1
    loads = [each.load for each in ready]
    assert max(loads) - min(loads) <= 10


def test_round_robin_gives_each_replica_its_turn() -> None:
    ready, policy = replicas(3), RoundRobin()

    def turns(count: int, tried: frozenset[ReplicaId] = frozenset()) -> list[int]:
        chosen = [policy.choose(ready, Asked("d", tried=tried)) for _ in range(count)]
        return [ready.index(each) for each in chosen if each is not None]

    assert turns(7) == [0, 1, 2, 0, 1, 2, 0]
    assert turns(2, frozenset([ready[1].id])) == [2, 0]
    ready[1].room = 0
    assert turns(4) == [2, 0, 2, 0]
