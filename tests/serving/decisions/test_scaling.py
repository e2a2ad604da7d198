"""How many replicas are wanted: rules by examples, and what holds in any history."""

from __future__ import annotations

import pytest
from attrs import define, evolve, field
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.serving.decisions.pauses import Pauses
from sllm_actors.serving.decisions.saturation import Gauges
from sllm_actors.serving.decisions.scaling import Counts, Decision, Scaler, ScalingPolicy, decide, pressing

MANY = ScalingPolicy(target=8, least=0, most=10, scale_down_delay=300.0, keep_alive=60.0)


@define
class Played:
    """A deployment whose replicas serve as soon as they are wanted, but for those that are stuck."""

    policy: ScalingPolicy = MANY
    now: float = 0.0
    wanted: int = 0
    stuck: int = 0
    uses: int = 0
    scaler: Scaler = field(factory=Scaler)
    reasons: list[str] = field(factory=list)

    def has(self, requests: int, wish: float | None = None) -> Decision:
        self.uses += requests
        self.scaler.service.take(requests, self.uses, self.now)
        self.scaler.take(requests, self.uses if requests else 0, wish, self.now)
        return self.decide()

    def decide(self) -> Decision:
        stuck = min(self.stuck, self.wanted)
        counts = Counts(self.wanted - stuck, 0, stuck)
        decision = decide(self.scaler, self.wanted, counts, self.policy, self.now)
        if decision.wanted != self.wanted:
            self.reasons.append(f"{self.wanted}->{decision.wanted} {decision.reason}")
        self.wanted = decision.wanted
        return decision

    def passes(self, seconds: float) -> None:
        """Let time pass: it is asked again when it says so."""
        end, rounds = self.now + seconds, 0
        while (due := self.decide().due) is not None and due <= end:
            assert due > self.now, "it is due again at once"
            self.now = due
            rounds += 1
            assert rounds < 5000
        self.now = end


def test_the_first_request_starts_one_and_after_the_last_one_it_is_kept_for_a_while() -> None:
    played = Played()
    assert played.has(1) == Decision(1, 1, "1 request held and in flight, 8 each", 1.0)
    played.passes(1000.0)
    assert (played.wanted, played.has(0).due) == (1, played.now + 60.0)
    played.passes(59.0)
    assert (played.wanted, played.decide().needed) == (1, 0)
    played.passes(1.0)
    assert played.decide() == Decision(0, 0, "", None)
    assert played.reasons[-1] == "1->0 no request for 60 s"


def test_without_keep_alive_it_goes_with_the_last_request_and_with_minus_1_never() -> None:
    for keep_alive, left in ((0.0, 0), (-1.0, 1)):
        played = Played(evolve(MANY, keep_alive=keep_alive))
        played.has(3)
        played.passes(10.0)
        played.has(0)
        played.passes(1e6)
        assert played.wanted == left


def test_a_use_between_two_reports_is_a_use() -> None:
    played = Played()
    played.has(1)
    played.has(0)
    played.passes(50.0)
    played.scaler.take(0, 7, None, played.now)
    played.passes(59.0)
    assert played.wanted == 1


def test_a_client_may_wish_for_less_than_the_deployment_keeps_but_not_for_more() -> None:
    for wish, kept in ((10.0, 10.0), (1000.0, 60.0), (-1.0, 60.0), (None, 60.0)):
        played = Played()
        played.has(1, wish)
        assert played.has(0).due == kept, wish
    played = Played(evolve(MANY, keep_alive=-1.0))
    played.has(1, 5.0)
    assert played.has(0).due == 5.0
    played.has(1)
    assert played.has(0).due == 5.0, "a request that wishes nothing leaves the wish"


def test_a_burst_is_answered_at_once_and_others_may_have_what_it_leaves_behind() -> None:
    played = Played()
    played.has(1)
    assert played.has(24).wanted == 3
    assert played.has(1) == Decision(3, 1, "", 300.0)
    assert played.has(17).needed == 3


def timed(requests: int, seconds: float = 1.0) -> Scaler:
    """What is remembered of a deployment whose requests take so long, and which has some now."""
    scaler = Scaler()
    scaler.service.take(1, 1, 0.0)
    scaler.service.take(0, 1, seconds)
    scaler.take(requests, 1, None, seconds)
    return scaler


def test_others_lose_nothing_for_a_burst_that_would_soon_be_over() -> None:
    policy = evolve(MANY, starts_in=10.0)
    one = Counts(serving=1)
    # The last of 200 waits for 24 s: longer than a start takes, but not than three.
    assert decide(timed(200), 1, one, policy, 1.0).needed == 3
    assert pressing(timed(200), one, policy, 1.0) == 1
    assert pressing(timed(300), one, policy, 1.0) == 2
    assert pressing(timed(200), Counts(), policy, 1.0) == 1, "the first one is always worth it"
    assert pressing(timed(0), Counts(), policy, 1.0) == 0
    assert pressing(timed(0), one, evolve(policy, least=2), 1.0) == 2


def test_others_make_room_for_a_load_that_lasts() -> None:
    policy, one, scaler = evolve(MANY, starts_in=60.0), Counts(serving=1), timed(24)
    assert [pressing(scaler, one, policy, at) for at in (1.0, 10.0, 61.0)] == [1, 1, 3]
    scaler.take(9, 1, None, 61.0)
    assert pressing(scaler, one, policy, 61.0) == 2, "no more than the requests of now fill"


def test_others_make_room_beside_what_is_stuck_or_full_and_while_nothing_is_measured() -> None:
    policy = evolve(MANY, starts_in=10.0)
    assert pressing(timed(1), Counts(stuck=3), policy, 1.0) == 2
    assert pressing(timed(1), Counts(serving=1, stuck=3), policy, 1.0) == 4
    assert pressing(timed(1), Counts(serving=1, gauges=(Gauges(kv=100),)), policy, 1.0) == 2
    unknown = Scaler()
    unknown.take(24, 1, None, 0.0)
    assert pressing(unknown, Counts(serving=1), policy, 1.0) == 3


def test_a_burst_that_is_over_before_a_start_starts_nothing_but_a_load_that_lasts_does() -> None:
    played = Played(evolve(MANY, starts_in=60.0))
    played.scaler.service.take(1, 1, 0.0)
    played.scaler.service.take(0, 1, 1.0)  # a request takes a second
    played.has(24)
    assert played.wanted == 1, "the last one begins in 2 s"
    played.passes(61.0)
    assert played.wanted == 3


def test_a_small_excess_is_no_reason_to_start_another_one() -> None:
    played = Played()
    assert played.has(32).wanted == 4
    played.passes(200.0)
    assert played.has(35).wanted == 4
    played.passes(400.0)
    assert played.wanted == 4, "within 10 %"
    assert played.has(40).wanted == 5


def test_fewer_are_wanted_when_they_have_been_enough_for_the_delay_and_half_at_a_time() -> None:
    played = Played()
    played.has(80)
    played.passes(100.0)
    assert played.wanted == 10
    played.has(1)
    played.passes(299.0)
    assert played.wanted == 10
    played.passes(2000.0)
    steps = [each.partition(" ")[0] for each in played.reasons if "enough for 300 s" in each]
    assert (steps[0][:4], steps[-3][-3:], steps[-2:]) == ("10->", "->5", ["5->2", "2->1"])


def test_bounds_that_a_person_changes_hold_at_once() -> None:
    played = Played(evolve(MANY, least=3))
    assert played.decide().wanted == 3
    assert played.reasons == ["0->3 at least 3 should run"]
    played.policy = MANY
    played.scaler.hurried = True
    assert played.decide().wanted == 1
    played.has(80)
    played.passes(100.0)
    played.policy = evolve(MANY, most=2)
    assert played.decide().wanted == 2
    assert played.reasons[-1] == "10->2 at most 2 may run"


@pytest.mark.parametrize("requests", [1, 8])
def test_one_that_never_becomes_ready_holds_up_neither_growth_nor_shrinking(requests: int) -> None:
    played = Played(stuck=1)
    played.has(requests)
    played.passes(10.0)
    assert played.wanted == 2, "another one is started beside it, and no more than that"
    played.passes(1000.0)
    assert played.wanted == 2
    played.has(0)
    played.passes(60.0)
    assert played.decide().wanted == 0


def test_it_comes_back_before_the_next_request_is_expected() -> None:
    played = Played(evolve(MANY, keep_alive=-1.0, learns=True, starts_in=30.0))
    played.scaler.pauses = Pauses()
    for _ in range(12):
        played.has(1)
        played.has(0)
        played.passes(3600.0)
    played.has(1)
    played.has(0)
    played.passes(61.0)
    assert played.wanted == 0
    played.passes(3600.0 * 0.9 - 61.0)
    assert (played.wanted, played.decide().needed) == (1, 0)
    assert played.reasons[-1] == "0->1 its next request is expected soon"
    played.passes(1000.0)
    assert played.wanted == 0, "it did not come"


HISTORIES = st.lists(st.tuples(st.integers(0, 60) | st.just(0), st.floats(0.0, 400.0)), max_size=20)
POLICIES = st.builds(
    ScalingPolicy,
    target=st.integers(1, 9),
    least=st.integers(0, 2),
    most=st.integers(1, 6),
    scale_down_delay=st.sampled_from([0.0, 10.0, 300.0]),
    keep_alive=st.sampled_from([-1.0, 0.0, 60.0]),
    starts_in=st.sampled_from([0.0, 20.0]),
)


@given(HISTORIES, POLICIES, st.integers(0, 2))
def test_in_any_history_bounds_hold_and_requests_have_a_replica(
    history: list[tuple[int, float]], policy: ScalingPolicy, stuck: int
) -> None:
    played = Played(policy, stuck=stuck)
    for requests, pause in history:
        decision = played.has(requests)
        assert policy.least <= decision.wanted <= max(policy.most, policy.least)
        assert decision.needed <= decision.wanted
        assert decision.wanted >= 1 or not requests
        count = pressing(played.scaler, Counts(played.wanted - stuck, 0, stuck), policy, played.now)
        assert policy.least <= count
        assert count >= 1 or not requests
        if not stuck:
            assert evolve(played.decide(), reason="", due=None) == evolve(decision, reason="", due=None)
        played.passes(pause)
    played.has(0)
    played.passes(10_000.0)
    stays = policy.keep_alive < 0 and any(requests for requests, _ in history)
    assert played.wanted == max(policy.least, int(stays))
