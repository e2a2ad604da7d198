"""How a replica is chosen."""

from __future__ import annotations

from random import Random

import pytest
from attrs import define
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.kit import replica

from sllm_actors.engines.identity import ReplicaId
from sllm_actors.gateway.routing.asked import Asked, Stored
from sllm_actors.gateway.routing.lines.policies.choice import policy_named
from sllm_actors.gateway.routing.lines.policies.p2c import PowerOfTwo
from sllm_actors.gateway.routing.lines.policies.prefix import (
    BLOCK,
    MOST_BLOCKS,
    REMEMBERED,
    PrefixAffinity,
)
from sllm_actors.gateway.routing.lines.policies.round_robin import RoundRobin
from sllm_actors.gateway.routing.lines.policies.session import ALWAYS, SessionAffinity

NAMES = ["p2c", "round-robin", "session", "prefix", "power_of_two", "of_a_later_version"]


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
    st.lists(
        st.tuples(st.binary(max_size=3), st.sets(st.integers(0, 4)), st.none() | st.integers(0, 5)),
        min_size=1,
        max_size=5,
    ),
    st.integers(0, 1000),
)
def test_a_choice_has_room_and_was_not_tried_and_there_is_one_if_there_can_be(
    name: str, ready: list[tuple[int, int]], requests: list[tuple[bytes, set[int], int | None]], seed: int
) -> None:
    policy = policy_named(name, Random(seed))
    candidates = [Replica(replica(number=number).id, *each) for number, each in enumerate(ready)]
    for number, (key, tried, holder) in enumerate(requests):
        tried_ids = frozenset(replica(number=number).id for number in tried)
        stored = None if holder is None else Stored("resp_1", replica(number=holder).id)
        asked = Asked(
            "smol:llamacpp", affinity=key or None, prompt=key * 300 or None, tried=tried_ids, stored=stored
        )
        chosen = policy.choose(candidates, asked)
        free = [each for each in candidates if each.room > 0 and each.id not in tried_ids]
        free = [each for each in free if stored is None or each.id == stored.replica]
        assert chosen in free if free else chosen is None
        if number % 2:
            policy.keep(frozenset(each.id for each in candidates[1:]))
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


# ---- sessions


def session_at(policy: SessionAffinity, ready: list[Replica], key: int) -> ReplicaId:
    chosen = policy.choose(ready, Asked("d", affinity=b"%d" % key))
    assert chosen is not None
    return chosen.id


def test_a_session_stays_at_its_replica_whichever_gateway_it_asks() -> None:
    ready = replicas(5)
    homes = [session_at(SessionAffinity(Random(1)), ready, key) for key in range(200)]
    assert homes == [session_at(SessionAffinity(Random(2)), ready[::-1], key) for key in range(200)]
    assert all(20 <= homes.count(each.id) <= 60 for each in ready), "sessions are spread"


def test_a_replica_that_goes_moves_only_its_own_sessions_and_has_them_again_when_it_is_back() -> None:
    ready, policy = replicas(4), SessionAffinity(Random(1))
    before = [session_at(policy, ready, key) for key in range(100)]
    policy.keep(frozenset(each.id for each in ready[1:]))
    without = [session_at(policy, ready[1:], key) for key in range(100)]
    moved = [key for key in range(100) if before[key] != without[key]]
    assert {before[key] for key in moved} == {ready[0].id}
    restarted = [Replica(replica(number=0, attempt=7).id), *ready[1:]]
    after = [session_at(policy, restarted, key).number for key in range(100)]
    assert after == [each.number for each in before]


def test_a_session_whose_replica_is_overloaded_or_full_goes_elsewhere() -> None:
    ready, policy = replicas(4), SessionAffinity(Random(1))
    (home,) = [each for each in ready if each.id == session_at(policy, ready, 1)]
    home.load = ALWAYS - 1
    assert session_at(policy, ready, 1) == home.id, "so few requests are no overload"
    home.load = 100
    elsewhere = session_at(policy, ready, 1)
    assert elsewhere != home.id
    for each in ready:
        each.load = 100
    assert session_at(policy, ready, 1) == home.id, "the others have as much to do"
    home.room = 0
    assert session_at(policy, ready, 1) == elsewhere, "the order of its replicas is its own"


# ---- prefixes


def prefix_at(policy: PrefixAffinity, ready: list[Replica], prompt: bytes) -> Replica:
    chosen = policy.choose(ready, Asked("d", prompt=prompt))
    assert chosen is not None
    return chosen


def test_a_prompt_goes_where_its_beginning_was_before() -> None:
    ready, policy = replicas(4), PrefixAffinity(Random(3))
    start = bytes(range(256)) * 8
    home = prefix_at(policy, ready, start + b"one")
    for number in range(20):
        assert prefix_at(policy, ready, start + b"%d" % number) is home
    chosen = {prefix_at(policy, ready, b"%d" % number + start).id for number in range(40)}
    assert len(chosen) == 4, "another beginning is another prompt"


def test_a_replica_with_much_to_do_loses_prompts_that_are_new_elsewhere() -> None:
    ready, policy = replicas(2), PrefixAffinity(Random(3))
    prompt = b"p" * 40 * BLOCK
    home = prefix_at(policy, ready, prompt)
    (other,) = [each for each in ready if each is not home]
    home.load = 3
    assert prefix_at(policy, ready, prompt) is home
    home.load, other.load = 40 * BLOCK // 4 + 2, 0
    assert prefix_at(policy, ready, prompt) is other


def test_what_is_remembered_of_a_replica_is_bounded_and_forgotten_with_it() -> None:
    (only,), policy = replicas(1), PrefixAffinity(Random(3))
    for number in range(REMEMBERED // MOST_BLOCKS + 3):
        prefix_at(policy, [only], b"%8d" % number * (MOST_BLOCKS * BLOCK // 4))
    assert len(policy._seen[only.id]) == REMEMBERED
    policy.keep(frozenset())
    assert policy._seen == {}


@pytest.mark.parametrize("policy", [SessionAffinity(Random(4)), PrefixAffinity(Random(4))])
def test_what_has_no_session_or_prompt_is_spread(policy: SessionAffinity | PrefixAffinity) -> None:
    idle, busy = replicas(2)
    busy.load = 5
    assert policy.choose([idle, busy], Asked("d")) is idle
