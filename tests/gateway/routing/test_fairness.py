"""Flows that want the same slots get them by their shares."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from math import inf
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gateway.routing.balancing import SMOL, Bench
from tests.gateway.routing.contest import Contest, about

from sllm_actors.gateway.routing.flow import ANONYMOUS, Flow
from sllm_actors.gateway.routing.lines.attained import Attained

A, B, C = Flow("a"), Flow("b"), Flow("c")


def test_one_client_beside_a_hundred_gets_every_other_turn_of_a_slot() -> None:
    contest = Contest(1)
    contest.clients(100, B)
    contest.clients(2, A)
    got = contest.during(10, 510)
    assert got["a"] == pytest.approx(got["b"], abs=2)


def test_a_few_clients_beside_a_flood_get_half_of_the_slots() -> None:
    contest = Contest(2, 2)
    contest.clients(100, B, about(1.0, Random(1)))
    contest.clients(8, A, about(1.0, Random(2)))
    got = contest.during(10, 510)
    assert got["a"] == pytest.approx(got["b"], rel=0.02)


def test_a_flow_with_three_times_the_share_gets_three_times_the_slots() -> None:
    contest = Contest(4)
    contest.clients(20, Flow("a", 3.0))
    contest.clients(100, Flow("b", 1.0), about(1.0, Random(1)))
    got = contest.during(10, 510)
    assert got["a"] == pytest.approx(3 * got["b"], rel=0.03)


@pytest.mark.parametrize("long", [3.0, 30.0])
def test_a_flow_of_long_requests_gets_no_more_than_one_of_short_requests(long: float) -> None:
    contest = Contest(4)
    contest.clients(50, A, long)
    contest.clients(50, B, 0.5)
    got = contest.during(2 * long, 62 * long)
    assert got["a"] == pytest.approx(got["b"], rel=0.05)


def test_a_flow_that_comes_back_has_no_credit_for_the_time_it_was_away() -> None:
    contest = Contest(2)
    contest.clients(10, B)
    contest.clients(10, A, until=100)
    contest.clients(10, A, comes=1100)
    contest.run(1100)
    got = contest.during(1100, 1200)
    assert got["a"] == pytest.approx(got["b"], abs=4)


def test_a_flow_that_was_alone_owes_nothing_to_one_that_comes() -> None:
    contest = Contest(2)
    contest.clients(10, B, 10.0)
    contest.clients(10, A, 10.0, comes=1001)
    contest.run(1001)
    got = contest.during(1001, 1401)
    assert got["a"] == pytest.approx(got["b"], abs=40), "what is under way, and one more"
    after = contest.during(1401, 3401)
    assert after["a"] == pytest.approx(after["b"], abs=20)


def test_what_began_before_anybody_waited_is_charged_for_while_others_wait() -> None:
    contest = Contest(2)
    contest.clients(1, A, 1000.0, until=1)
    contest.clients(5, A, 1.0, comes=900)
    contest.clients(5, B, 1.0, comes=900)
    got = contest.during(900, 1000)
    assert (got["a"], got["b"]) == pytest.approx((150, 50), abs=3), "nobody knows how long it will take"
    after = contest.during(1000, 1050)
    assert (after.get("a", 0), after["b"]) == pytest.approx((0, 100), abs=6)
    later = contest.during(1060, 1560)
    assert later["a"] == pytest.approx(later["b"], abs=3)


def test_a_long_request_counts_when_its_only_client_asks_again() -> None:
    contest = Contest(1)
    contest.clients(1, A, 100.0, pause=0.5)
    contest.clients(5, B, 1.0)
    got = contest.during(200, 4200)
    assert got["a"] == pytest.approx(got["b"], rel=0.05)


def test_a_flow_that_begins_to_wait_while_it_has_a_slot_is_even_with_others_from_then_on() -> None:
    contest = Contest(2)
    contest.clients(20, B, 1.0)
    contest.clients(1, A, 100.0, until=1)
    contest.clients(10, A, 1.0, comes=50)
    got = contest.during(50, 450)
    assert got["a"] == pytest.approx(got["b"], abs=6), "the other half of the long request counts, too"


def test_a_client_that_asks_seldom_waits_for_no_more_than_what_is_under_way() -> None:
    contest = Contest(2)
    contest.clients(100, B, 1.0)
    contest.clients(1, A, 1.0, pause=7.3)
    contest.run(1000)
    # In each round A pauses, waits for at most a second for a slot, and has it for one.
    assert contest.order.count("a") >= 1000 / (7.3 + 1 + 1) - 1


def test_priority_goes_before_fairness_and_counts_by_itself() -> None:
    contest = Contest(1)
    contest.clients(3, A, priority=1, until=100)
    contest.clients(3, A)
    contest.clients(3, B)
    contest.run(99)
    assert contest.got.get("b", 0.0) <= 1
    got = contest.during(103, 1103)
    assert got["a"] == pytest.approx(got["b"], abs=3)


def test_a_new_share_of_a_flow_holds_for_its_next_requests() -> None:
    contest = Contest(2)
    contest.clients(10, Flow("a", 1.0), until=500)
    contest.clients(10, Flow("b", 1.0))
    contest.run(499.5)
    contest.clients(10, Flow("a", 3.0), comes=499.5)
    got = contest.during(510, 910)
    assert got["a"] == pytest.approx(3 * got["b"], rel=0.03)


def test_requests_that_leave_take_nothing_with_them() -> None:
    bench = Bench()
    bench.replicas(1)
    busy = bench.taken(flow=B)
    others = [bench.held(flow=B) for _ in range(4)]
    leaving, staying = bench.held(flow=A), bench.held(flow=C)
    assert leaving.hold is not None
    assert bench.balancer.leave(leaving.hold)
    bench.now = 1.0
    bench.done(busy)
    assert staying.heard != [], "B has got a second since C waits"
    assert others[0].heard == leaving.heard == []
    assert bench.balancer.held(SMOL) == 4


def test_a_client_is_told_about_how_many_go_before_it() -> None:
    bench = Bench()
    bench.replicas(1)
    bench.taken(flow=B)
    flood = [bench.held(flow=B) for _ in range(10)]
    few = [bench.held(flow=A) for _ in range(2)]
    ahead = [bench.balancer.ahead_of(each.hold) for each in (*few, flood[0], flood[1], flood[9]) if each.hold]
    assert ahead == [1, 3, 0, 2, 11]


def test_a_higher_share_has_fewer_before_it() -> None:
    bench = Bench()
    bench.replicas(1)
    bench.taken(flow=B)
    many = [bench.held(flow=B) for _ in range(10)]
    favoured = [bench.held(flow=Flow("a", 4.0)) for _ in range(10)]
    urgent = bench.held(flow=B, priority=1)
    holds = (urgent, favoured[8], many[2], many[9])
    assert [bench.balancer.ahead_of(each.hold) for each in holds if each.hold] == [
        0,
        1 + 8 + 1 + 2,
        1 + 2 + 8,
        20,
    ]


def test_requests_of_one_flow_go_by_age() -> None:
    for flow in (ANONYMOUS, A):
        bench = Bench()
        bench.replicas(1)
        current = bench.taken(flow=flow)
        waiting = [bench.held(flow=flow) for _ in range(20)]
        for each in waiting:
            bench.now += 1
            bench.done(current)
            assert each.heard != []
            current = each


def test_nothing_is_remembered_of_flows_once_nobody_waits() -> None:
    bench = Bench()
    bench.replicas(1)
    busy = bench.taken(flow=A)
    waiting = bench.held(flow=B)
    bench.done(busy)
    assert not bench.balancer._lines[SMOL].holds._queues
    bench.done(waiting)


def test_flows_that_have_gone_are_forgotten_while_others_wait() -> None:
    contest = Contest(2)
    contest.clients(10, B)
    for number in range(100):
        contest.clients(3, Flow(f"key-{number}"), comes=float(number), until=number + 2.0)
    contest.run(220)
    (queue,) = contest.bench.balancer._lines[SMOL].holds._queues.values()
    assert len(queue._attained) <= 3
    assert len(queue._attained._idle) <= 3


def test_a_flow_that_is_only_remembered_is_charged_for_what_began_before_anybody_waited() -> None:
    attained = Attained(0.0)
    account = attained.join(A, 0.0)
    attained.join(B, 0.0)
    use = attained.begin(A, 1.0, 0.0)
    attained.leave(account, 0.0)
    assert attained.end(A, use, 10.0) is account
    assert attained.end(A, None, 15.0) is account
    assert attained[A].score == 10 + 15
    assert attained.join(A, 15.0) is account
    assert attained.end(C, None, 20.0) is None


def test_a_flow_with_a_slot_is_lifted_when_it_begins_to_wait_and_charged_from_then_on() -> None:
    attained = Attained(0.0)
    account = attained.join(A, 0.0)
    attained.join(B, 0.0)
    use = attained.begin(A, 1.0, 0.0)
    attained.leave(account, 0.0)
    attained.end(B, attained.begin(B, 1.0, 0.0), 10.0)
    attained.begin(B, 1.0, 10.0)
    assert attained.join(A, 10.0).attained == 10.0
    attained.end(A, use, 15.0)
    assert attained[A].score == 15.0


FLOWS = st.lists(
    st.tuples(
        st.sampled_from([0.25, 0.5, 1.0, 2.0, 8.0]),  # share
        st.floats(0.5, 20.0),  # the longest request
        st.integers(0, 10),  # clients beyond those that keep it waiting
        st.floats(0.0, 50.0),  # when it comes
    ),
    min_size=2,
    max_size=5,
)


@given(slots=st.integers(1, 5), flows=FLOWS, seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_flows_that_all_wait_are_never_further_apart_than_the_bound(
    slots: int, flows: list[tuple[float, float, int, float]], seed: int
) -> None:
    contest = Contest(slots)
    chance = Random(seed)
    made = []
    for number, (share, longest, more, comes) in enumerate(flows):
        flow = Flow(f"key-{number}", share)
        made.append(flow)
        contest.clients(2 * slots + more, flow, partial(chance.uniform, 0.2, longest), comes=comes)
    # A request may be expected to take as long as one of any flow.
    most = max(longest for _, longest, _, _ in flows)
    contest.run(60.0)
    before = contest.got
    for end in range(80, 240, 40):
        contest.run(float(end))
        got = {flow: (contest.got[flow.name] - before.get(flow.name, 0.0)) / flow.share for flow in made}
        for one, other in pairwise(sorted(made, key=got.__getitem__)):
            bound = 2 * (slots + 1) * most * (1 / one.share + 1 / other.share)
            assert got[other] - got[one] <= bound


def test_a_contest_without_an_end_leaves_nothing_free() -> None:
    contest = Contest(3)
    contest.clients(5, A, until=inf)
    contest.clients(1, B, pause=2.0)
    contest.run(50)
    assert sum(contest.got.values()) == pytest.approx(150)
