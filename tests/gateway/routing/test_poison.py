"""Requests that engines die of are found out, and no other; what is remembered has bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.engines.identity import ReplicaId
from sllm_actors.gateway.routing.memory.poison import (
    COMPARED,
    MOST_BROKEN,
    MOST_DEAD,
    MOST_DEATHS,
    REFUSED,
    SUSPECTED,
    Poison,
    digest,
)
from sllm_actors.serving.messages import DIGEST_BYTES, MOST_DIGESTS, DeathKey, EngineDeath

ALICE, BOB, EVE = (digest(b"/v1/chat/completions", name) for name in (b"alice", b"bob", b"eve"))


def life(number: int, deployment: str = "m:vllm") -> ReplicaId:
    return ReplicaId(deployment, 1, number, number, "uid")


def refuses(poison: Poison, made: bytes, now: float, deployment: str = "m:vllm") -> bool:
    return poison.refuses(deployment, "uid", made, now)


class Gateway(Poison):
    """What a gateway knows, and what it has told the head."""

    def __init__(self, name: str) -> None:
        self.told: list[EngineDeath] = []
        super().__init__(name, self.told.append)


def crash(poison: Poison, number: int, *digests: bytes | None, now: float = 0.0) -> None:
    """An engine dies with these requests under way."""
    for made in digests:
        poison.broke(life(number), made, now)
    poison.died(life(number), now)


def test_path_and_body_make_the_digest() -> None:
    assert len(ALICE) == DIGEST_BYTES
    assert digest(b"/v1/chat/completions", b"alice") == ALICE
    assert len({ALICE, digest(b"/v1/completions", b"alice"), digest(b"/v1/chat/completionsa", b"lice")}) == 3


def test_the_only_request_that_was_at_both_engines_is_refused_for_a_while() -> None:
    poison = Gateway("g1")
    crash(poison, 1, ALICE, EVE)
    assert not poison.watches("m:vllm", "uid")
    crash(poison, 2, EVE, BOB, now=100.0)

    assert poison.watches("m:vllm", "uid")
    assert refuses(poison, EVE, 100.0 + REFUSED - 1)
    assert not refuses(poison, ALICE, 101.0)
    assert not refuses(poison, EVE, 100.0 + REFUSED)
    assert not poison.watches("m:vllm", "uid")
    assert not refuses(poison, EVE, 101.0)


def test_other_deployments_have_their_own_requests() -> None:
    poison = Gateway("g1")
    crash(poison, 1, EVE)
    poison.broke(life(2, "other:vllm"), EVE, 1.0)
    poison.died(life(2, "other:vllm"), 1.0)
    assert not refuses(poison, EVE, 1.0)
    assert not refuses(poison, EVE, 1.0, "other:vllm")


def test_where_two_requests_were_at_both_engines_none_is_refused_until_a_third_death_tells() -> None:
    poison = Gateway("g1")
    crash(poison, 1, ALICE, EVE)
    crash(poison, 2, ALICE, EVE)
    assert not refuses(poison, EVE, 1.0)

    crash(poison, 3, EVE, BOB)
    assert refuses(poison, EVE, 1.0)
    assert not refuses(poison, ALICE, 1.0)


def test_a_request_that_breaks_without_a_death_is_not_refused() -> None:
    poison = Gateway("g1")
    poison.broke(life(1), EVE, 0.0)
    poison.broke(life(2), EVE, 0.0)

    assert not refuses(poison, EVE, 1.0)
    assert not poison.has_died(life(1))


def test_a_death_long_after_an_attempt_broke_has_nothing_to_do_with_it() -> None:
    poison = Gateway("g1")
    poison.broke(life(1), EVE, 0.0)

    poison.died(life(1), SUSPECTED)
    assert poison.has_died(life(1))
    assert poison.told == []


def test_attempts_that_break_later_begin_anew() -> None:
    poison = Gateway("g1")
    poison.broke(life(1), ALICE, 0.0)
    poison.broke(life(1), EVE, SUSPECTED)

    poison.died(life(1), SUSPECTED)
    assert poison.told == [EngineDeath(DeathKey(life(1), "g1"), (EVE,))]


def test_deaths_that_lie_far_apart_are_not_compared() -> None:
    poison = Gateway("g1")
    crash(poison, 1, EVE)
    crash(poison, 2, EVE, now=REFUSED + 1)

    assert not refuses(poison, EVE, REFUSED + 2)


def test_requests_that_are_not_all_known_prove_nothing() -> None:
    poison = Gateway("g1")
    crash(poison, 1, EVE, None)
    crash(poison, 2, EVE)
    assert not refuses(poison, EVE, 1.0)

    crash(poison, 3, EVE)
    assert refuses(poison, EVE, 1.0)  # by the second and the third


def test_the_head_is_told_of_a_death_once_and_again_of_each_request_that_breaks_after_it() -> None:
    poison = Gateway("g1")
    poison.died(life(1), 0.0)
    assert poison.told == []
    for made in (EVE, BOB):
        poison.broke(life(1), made, 0.1)
        poison.died(life(1), 0.2)
    assert poison.told == [EngineDeath(DeathKey(life(1), "g1"), digests) for digests in ((EVE,), (EVE, BOB))]
    assert poison.own(1.0) == (poison.told[-1],)
    assert poison.own(2 * REFUSED + 1) == ()


def test_no_more_digests_than_allowed_are_told_of_a_death() -> None:
    poison = Gateway("g1")
    many = [number.to_bytes(DIGEST_BYTES) for number in range(MOST_DIGESTS)]
    crash(poison, 1, *many, many[0])
    poison.broke(life(1), EVE, 0.1)

    assert [(len(told.digests), told.complete) for told in poison.told] == [
        (MOST_DIGESTS, True),
        (MOST_DIGESTS, False),
    ]


# ---- several gateways


def test_the_second_try_may_come_through_another_gateway() -> None:
    first, second = Gateway("g1"), Gateway("g2")
    crash(first, 1, EVE, ALICE)
    second.heard(first.told, (), 1.0)
    assert not refuses(second, EVE, 1.0)
    crash(second, 2, EVE, now=2.0)

    assert refuses(second, EVE, 3.0)


def test_requests_of_other_gateways_at_the_same_engine_count_as_suspects() -> None:
    poison = Gateway("g1")
    crash(poison, 1, ALICE)
    crash(poison, 2, ALICE)
    assert refuses(poison, ALICE, 1.0)

    others = [EngineDeath(DeathKey(life(number), "g2"), (EVE,)) for number in (1, 2)]
    poison.heard(others, (), 1.0)
    assert not refuses(poison, ALICE, 1.0)

    poison.heard((), [others[0].key, DeathKey(life(9), "g2")], 2.0)
    assert refuses(poison, ALICE, 2.0)


def test_a_gateway_that_was_restarted_learns_from_the_head_what_it_had_found_out() -> None:
    before, after = Gateway("g1"), Gateway("g1")
    crash(before, 1, EVE)
    crash(before, 2, EVE)
    after.heard(before.told, (), 10.0)

    assert refuses(after, EVE, 11.0)


def test_what_a_gateway_found_out_itself_does_not_depend_on_the_head() -> None:
    poison = Gateway("g1")
    crash(poison, 1, EVE)
    crash(poison, 2, EVE)
    first, second = poison.told
    poison.heard([EngineDeath(first.key, (BOB,))], [second.key], 1.0)

    assert refuses(poison, EVE, 2.0)


# ---- bounds


@pytest.mark.slow
def test_all_that_is_remembered_has_bounds() -> None:
    poison = Gateway("g1")
    for number in range(MOST_DEATHS + 1):
        crash(poison, number, EVE)
    assert len(poison.own(0.0)) == MOST_DEATHS

    for number in range(MOST_DEATHS + 1, MOST_DEAD + 1):
        poison.died(life(number), 0.0)
    assert not poison.has_died(life(0))
    assert poison.has_died(life(MOST_DEAD))

    for number in range(10_000, 10_000 + MOST_BROKEN + 1):
        poison.broke(life(number), EVE, 0.0)
    poison.told.clear()
    for number in (10_000, 10_001):
        poison.died(life(number), 0.0)
    assert [told.key.id for told in poison.told] == [life(10_001)]


def test_of_many_deaths_of_one_deployment_the_latest_are_compared() -> None:
    poison = Gateway("g1")
    crash(poison, 0, EVE)
    for number in range(1, COMPARED + 1):
        crash(poison, number, number.to_bytes(DIGEST_BYTES))
    crash(poison, COMPARED + 1, EVE)

    assert not refuses(poison, EVE, 1.0)


@given(
    innocents=st.lists(
        st.lists(st.binary(min_size=DIGEST_BYTES, max_size=DIGEST_BYTES), unique=True, max_size=5),
        min_size=2,
        max_size=6,
    )
)
def test_a_request_is_refused_only_if_engines_died_of_it(innocents: list[list[bytes]]) -> None:
    poison = Gateway("g1")
    for number, others in enumerate(innocents):
        crash(poison, number, *others, EVE)
    everywhere = [set(others) | {EVE} for others in innocents]
    for made in {made for group in everywhere for made in group}:
        if refuses(poison, made, 1.0):
            assert sum(made in group for group in everywhere) >= 2
    alone = any(a & b == {EVE} for i, a in enumerate(everywhere) for b in everywhere[:i])
    assert refuses(poison, EVE, 1.0) == alone
