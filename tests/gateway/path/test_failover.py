"""What follows the end of an attempt: the table of the module, row by row."""

from __future__ import annotations

import pytest

from sllm_actors.engines.identity import ReplicaId
from sllm_actors.engines.messages import EngineConfirmed
from sllm_actors.gateway.path.failover import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    AttemptEnd,
    Confirm,
    Decision,
    Deliver,
    Elsewhere,
    Fail,
    Failover,
    Linger,
    Rules,
)
from sllm_actors.gateway.routing.loss import Lost

BUDGET = 10.0
HOLD = 300.0
ONE, TWO, THREE, FOUR = (ReplicaId("m:vllm", 1, number, number, "uid") for number in range(1, 5))
SERVING = EngineConfirmed(serving=True)
DIED = EngineConfirmed(died=True)
NO_ANSWER = EngineConfirmed()


def failover(*, dead: tuple[ReplicaId, ...] = (), attempts: int = 3, hold: float = HOLD) -> Failover:
    rules = Rules(attempts, BUDGET, has_died=dead.__contains__)
    return Failover(rules, "m:vllm", began=0.0, hold_timeout=hold)


def broke(request: Failover, replica: ReplicaId, now: float = 1.0, *, answered: bool = False) -> Decision:
    return request.ended(replica, AttemptEnd.BROKE, "it went away", answered=answered, now=now)


def code(decision: Decision | None) -> str:
    assert isinstance(decision, Fail)
    return decision.error.code


# ---- an engine that broke


def test_a_request_whose_engine_broke_before_an_answer_goes_to_another_replica() -> None:
    assert broke(failover(), ONE) == Elsewhere(frozenset({ONE}), 1.0 + BUDGET)


def test_a_request_that_waits_after_a_failure_is_refused_with_its_last_error() -> None:
    request = failover()
    broke(request, ONE)
    assert request.error.code == "engine_broke"
    request.ended(TWO, AttemptEnd.NO_ROOM, "full", answered=False, now=2.0)
    assert request.error.code == "overloaded"


def test_a_request_whose_client_has_a_part_of_the_answer_is_not_repeated() -> None:
    assert code(broke(failover(), ONE, answered=True)) == "engine_broke"


def test_no_replica_is_tried_twice_and_no_more_than_the_attempts() -> None:
    request = failover()

    assert broke(request, ONE) == Elsewhere(frozenset({ONE}), 1.0 + BUDGET)
    assert broke(request, TWO, 2.0) == Confirm((ONE, TWO))
    assert request.confirmed({}, 3.0) == Elsewhere(frozenset({ONE, TWO}), 1.0 + BUDGET)
    assert code(broke(request, THREE, 4.0)) == "engine_broke"


@pytest.mark.parametrize("end", [AttemptEnd.SILENT, AttemptEnd.BAD])
@pytest.mark.parametrize("answered", [True, False])
def test_what_another_replica_would_not_do_better_is_not_repeated(end: AttemptEnd, *, answered: bool) -> None:
    decision = failover().ended(ONE, end, "it is too large", answered=answered, now=1.0)

    assert code(decision) == ("engine_silent" if end is AttemptEnd.SILENT else "engine_broke")


def test_where_no_death_is_known_a_request_goes_to_a_third_replica() -> None:
    request = Failover(Rules(), "m:vllm", began=0.0, hold_timeout=HOLD)
    broke(request, ONE)
    broke(request, TWO)

    assert request.refusal() is None
    assert isinstance(request.confirmed({}, 2.0), Elsewhere)


# ---- no connection


def test_a_replica_that_was_not_reached_was_not_tried_and_is_asked_again_after_a_pause() -> None:
    request = failover(attempts=1)

    decision = request.ended(ONE, AttemptEnd.UNREACHED, "no connection", answered=False, now=1.0)

    assert decision == Elsewhere(frozenset({ONE}), 1.0 + FIRST_PAUSE)
    assert request.tried == set()
    assert request.out_of_time((ONE,), 1.0 + FIRST_PAUSE) == Elsewhere(frozenset(), 1.0 + BUDGET)


def test_the_pauses_before_a_replica_is_asked_again_grow_up_to_the_longest() -> None:
    request, now, pauses = failover(), 0.0, []
    for _ in range(6):
        decision = request.ended(ONE, AttemptEnd.UNREACHED, "no connection", answered=False, now=now)
        assert isinstance(decision, Elsewhere)
        pauses.append(decision.until - now)
        now = decision.until

    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, LONGEST_PAUSE, LONGEST_PAUSE])


def test_a_request_for_a_replica_that_is_never_reached_fails_when_the_failure_budget_is_over() -> None:
    request, now = failover(), 0.0
    while True:
        decision = request.ended(ONE, AttemptEnd.UNREACHED, "no connection", answered=False, now=now)
        assert isinstance(decision, Elsewhere)
        now = decision.until
        after = request.out_of_time((ONE,), now)
        if isinstance(after, Fail):
            break

    assert BUDGET <= now <= BUDGET + LONGEST_PAUSE
    assert code(after) == "engine_broke"


def test_a_request_that_reached_nothing_is_held_while_its_worker_is_away_and_goes_there_when_it_is_back() -> (
    None
):
    request = failover()
    away = Lost("the link to its worker is lost")

    decision = request.lost(ONE, away, answered=False, now=3.0, reached=False)

    assert decision == Elsewhere(frozenset({ONE}), 3.0 + FIRST_PAUSE)
    for now in (4.0, 14.0, 24.0):  # nothing is ready
        decision = request.out_of_time((), now)
        assert isinstance(decision, Elsewhere)
        assert decision.excluded == frozenset()
        assert now < decision.until <= now + BUDGET


def test_an_external_server_that_is_not_reached_is_waited_for_as_long_as_its_connect_timeout() -> None:
    request = failover()

    decision = request.ended(
        ONE, AttemptEnd.UNREACHED, "refused", answered=False, now=1.0, connect_timeout=1.05
    )

    assert decision == Elsewhere(frozenset({ONE}), 1.05)
    assert code(request.out_of_time((), 1.05)) == "server_unreachable"


def test_a_request_that_found_no_room_takes_another_replica_at_once_or_fails() -> None:
    request = failover()

    decision = request.ended(ONE, AttemptEnd.NO_ROOM, "64 streams", answered=False, now=1.0)

    assert decision == Elsewhere(frozenset({ONE}), 1.0)
    assert code(request.out_of_time((ONE, TWO), 1.0)) == "overloaded"


# ---- an answer that is held back


def test_an_error_of_an_engine_that_serves_is_an_answer() -> None:
    request = failover()

    assert request.ended(ONE, AttemptEnd.FAULTY, "status 500", answered=False, now=1.0) == Confirm((ONE,))
    assert request.confirmed({ONE: SERVING}, 1.2) == Deliver()


@pytest.mark.parametrize("answers", [{}, {ONE: DIED}, {ONE: NO_ANSWER}])
def test_an_error_of_an_engine_that_does_not_serve_is_a_failed_attempt(
    answers: dict[ReplicaId, EngineConfirmed],
) -> None:
    request = failover()
    request.ended(ONE, AttemptEnd.FAULTY, "status 500", answered=False, now=1.0)

    assert request.confirmed(answers, 2.0) == Elsewhere(frozenset({ONE}), 1.0 + BUDGET)


def test_an_error_in_the_middle_of_an_answer_is_not_held_back() -> None:
    assert code(failover().ended(ONE, AttemptEnd.FAULTY, "500", answered=True, now=1.0)) == "engine_broke"


def test_an_answer_that_is_held_back_is_dropped_when_its_replica_is_lost() -> None:
    request = failover()
    request.ended(ONE, AttemptEnd.FAULTY, "status 500", answered=False, now=1.0)

    assert request.lost(ONE, Lost("killed", died=True), answered=False, now=1.1) == Elsewhere(
        frozenset({ONE}), 1.0 + BUDGET
    )
    assert request.confirmed({ONE: SERVING}, 1.2) is None


# ---- a replica that left the routes


def test_a_request_whose_engine_died_goes_elsewhere() -> None:
    decision = failover().lost(ONE, Lost("killed", died=True), answered=False, now=1.0)

    assert decision == Elsewhere(frozenset({ONE}), 1.0 + BUDGET)


def test_an_attempt_whose_worker_is_away_goes_on_while_no_other_replica_takes_it() -> None:
    request = failover()

    decision = request.lost(ONE, Lost("the link is lost"), answered=False, now=1.0)

    assert decision == Elsewhere(frozenset({ONE}), 1.0 + BUDGET, stay=True)
    assert request.out_of_time((), 11.0) == Elsewhere(frozenset({ONE}), 11.0 + BUDGET)
    assert code(request.out_of_time((ONE,), 12.0)) == "engine_broke"


def test_a_last_attempt_whose_worker_is_away_goes_on_for_the_failure_budget() -> None:
    request = failover(attempts=1)

    assert request.lost(ONE, Lost("the link is lost"), answered=False, now=1.0) == Linger(1.0 + BUDGET)
    assert code(broke(request, ONE, 11.0)) == "engine_broke"


@pytest.mark.parametrize("died", [True, False])
def test_an_answer_under_way_at_a_lost_replica_may_go_on_for_the_failure_budget(*, died: bool) -> None:
    decision = failover().lost(ONE, Lost("it is away", died), answered=True, now=1.0)

    assert decision == Linger(1.0 + BUDGET)


# ---- a request that breaks engines


def test_a_request_that_two_engines_died_of_is_not_tried_a_third_time() -> None:
    request = failover()
    broke(request, ONE)

    assert broke(request, TWO, 2.0) == Confirm((ONE, TWO))
    refused = request.confirmed({ONE: DIED, TWO: DIED}, 2.1)

    assert code(refused) == "request_breaks_engines"
    assert isinstance(refused, Fail)
    assert (b"x-should-retry", b"false") in refused.error.headers


def test_deaths_that_are_known_already_are_not_asked_for() -> None:
    request = failover(dead=(ONE, TWO))
    broke(request, ONE)

    assert code(broke(request, TWO)) == "request_breaks_engines"


def test_a_death_that_was_reported_with_the_loss_counts() -> None:
    request = failover(dead=(ONE,))
    broke(request, ONE)

    decision = request.lost(TWO, Lost("killed", died=True), answered=False, now=2.0)

    assert code(decision) == "request_breaks_engines"


def test_one_death_and_one_engine_that_goes_on_are_no_reason_to_refuse() -> None:
    request = failover()
    broke(request, ONE)
    broke(request, TWO)

    assert request.confirmed({ONE: DIED, TWO: SERVING}, 2.0) == Elsewhere(frozenset({ONE, TWO}), 1.0 + BUDGET)
    assert request.refusal() is None


def test_a_death_that_becomes_known_only_while_the_request_waits_is_seen_before_the_third_attempt() -> None:
    dead: set[ReplicaId] = set()
    request = Failover(Rules(3, BUDGET, has_died=dead.__contains__), "m:vllm", began=0.0, hold_timeout=HOLD)
    broke(request, ONE)
    broke(request, TWO)
    assert isinstance(request.confirmed({}, 2.0), Elsewhere)
    assert request.refusal() is None

    dead.update((ONE, TWO))

    assert code(request.refusal()) == "request_breaks_engines"
    assert code(request.out_of_time((), 5.0)) == "request_breaks_engines"


def test_a_held_back_error_of_a_dead_engine_counts_as_its_death() -> None:
    request = failover(dead=(ONE,))
    broke(request, ONE)
    request.ended(TWO, AttemptEnd.FAULTY, "status 500", answered=False, now=2.0)

    assert code(request.confirmed({TWO: DIED}, 2.1)) == "request_breaks_engines"


# ---- waiting


def test_a_request_that_failed_late_is_held_for_at_least_the_failure_budget() -> None:
    request = failover(hold=5.0)

    assert broke(request, ONE, 400.0) == Elsewhere(frozenset({ONE}), 400.0 + BUDGET)
    assert code(request.out_of_time((), 400.0 + BUDGET)) == "engine_broke"


def test_a_request_waits_on_while_a_replica_that_has_not_failed_is_ready_but_full() -> None:
    request = failover()
    broke(request, ONE)

    assert isinstance(request.out_of_time((ONE, FOUR), 200.0), Elsewhere)


def test_a_request_that_never_failed_and_found_nothing_was_held_too_long() -> None:
    assert code(failover().out_of_time((), HOLD)) == "cold_start_timeout"
    assert failover().out_of_time((), 1.0) == Elsewhere(frozenset(), 1.0 + BUDGET)
