"""What follows from orders, checks and ends."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaOrder, ReplicaState
from sllm_actors.serving.messages import Order
from sllm_actors.serving.worker.orders.assignment import Phase, question_of
from sllm_actors.serving.worker.orders.assignments import RETRY_INTERVAL, Assignments
from sllm_actors.serving.worker.orders.effects import (
    ChangeTier,
    Check,
    Effect,
    Forget,
    PassOn,
    Refuse,
    Retire,
    Say,
    SayGone,
    Start,
    Welcome,
)

from .ordering import ORDER, A, B, C, kinds, refused, resting, run, running, sleep, stop, stop_if_idle


def test_what_is_ordered_is_reported_and_checked_before_it_starts() -> None:
    assignments = Assignments()
    said, check = assignments.take(run())
    assert isinstance(said, Say)
    assert (said.report.state, said.report.gpus, said.report.fingerprint) == (ReplicaState.PENDING, 2, "f")
    assert check == Check(A, 1, question_of(ORDER))
    assert assignments.take(run()) == []
    assert assignments.checked(A, 1, "", now=1.0) == [Start(ORDER)]
    assert assignments.take(run()) == []
    assert assignments.document(A) == "{}"


def test_what_cannot_run_is_refused_and_not_tried_until_it_is_ordered_anew() -> None:
    assignments = Assignments()
    assignments.take(run())
    said, refuse = assignments.checked(A, 1, "there is no vllm", now=1.0)
    assert isinstance(said, Say)
    report = said.report
    assert (report.state, report.unfit, report.reason) == (ReplicaState.FAILED, True, "there is no vllm")
    assert refuse == Refuse(question_of(ORDER), "there is no vllm")
    assert assignments.take(run()) == []
    assert assignments.due() is None
    assert kinds(assignments.take(run(num_gpus=1))) == [Say, Check]
    assert kinds(assignments.checked(A, 2, "", now=2.0)) == [Start]


def crowded() -> Assignments:
    """Return the state in which A has the only slot, and B was refused."""
    assignments = Assignments(slots=1)
    for place, number in ((A, 1), (B, 2)):
        assignments.take(run(place))
        effects = assignments.checked(place, number, "", now=100.0)
    (said,) = effects
    assert isinstance(said, Say)
    assert (said.report.state, said.report.unfit) == (ReplicaState.FAILED, True)
    assert said.report.reason == "all its slots, 1, have engines (no_room)"
    return assignments


def test_no_more_engines_run_than_there_are_slots_and_it_is_told_when_one_is_free_again() -> None:
    assignments = crowded()
    assert kinds(assignments.take(stop())) == [Retire]
    assert kinds(assignments.ended(A, "", now=101.0, chance=0.0)) == [SayGone, Welcome]
    assert kinds(assignments.take(stop(B))) == [SayGone, Welcome], "the head may not have heard of it in time"
    assignments.take(run(C))
    assert kinds(assignments.checked(C, 3, "", now=102.0)) == [Start]
    assert kinds(assignments.take(stop_if_idle(C))) == [Retire]
    assert kinds(assignments.ended(C, "", now=103.0, chance=0.0)) == [SayGone]


def test_an_engine_that_rests_keeps_its_slot_and_what_was_refused_keeps_none() -> None:
    assignments = crowded()
    assignments.ended(A, "KeyError: 1", now=101.0, chance=0.0)
    assignments.take(run(C))
    assert kinds(assignments.checked(C, 3, "", now=102.0)) == [Say]
    assert kinds(assignments.take(stop(C))) == [SayGone]
    assert kinds(assignments.take(stop())) == [SayGone, Welcome]
    assert kinds(assignments.take(run(B, startup_timeout=1.0))) == [Say, Check]
    assert kinds(assignments.checked(B, 4, "", now=103.0)) == [Start]


def test_a_server_of_somebody_else_takes_no_slot() -> None:
    assignments = crowded()
    assignments.take(run(C, backend="external"))
    assert kinds(assignments.checked(C, 3, "", now=101.0)) == [Start]
    assert kinds(assignments.take(stop(C))) == [Retire]
    assert kinds(assignments.ended(C, "", now=102.0, chance=0.0)) == [SayGone]


def test_what_is_refused_or_rests_is_gone_as_soon_as_it_is_to_stop() -> None:
    for assignments in (refused(), resting()):
        assert assignments.take(stop()) == [SayGone(A)]
        assert assignments.phase(A) is None
        assert assignments.due() is None
        assert assignments.take(stop()) == []


def test_what_could_run_since_it_was_refused_is_welcome_if_it_is_stopped_all_the_same() -> None:
    assignments = refused()
    assignments.take(run(B, source="/other.gguf"))
    assignments.checked(B, 2, "no such file", now=1.0)
    assignments.lifted(question_of(ORDER))
    assert assignments.take(stop(B)) == [SayGone(B)]
    assert assignments.take(stop(A)) == [SayGone(A), Welcome()]


def test_a_stop_ends_a_check_and_its_late_result_starts_nothing() -> None:
    assignments = Assignments()
    assignments.take(run())
    assert assignments.take(stop()) == [SayGone(A)]
    assert assignments.checked(A, 1, "", now=1.0) == []
    assignments.take(run())
    assignments.take(stop())
    assert kinds(assignments.take(run())) == [Say, Check]
    assert assignments.checked(A, 2, "", now=1.0) == []  # of the order that was taken back
    assert assignments.checked(A, 3, "", now=1.0) == [Start(ORDER)]


def test_an_order_that_changes_while_it_is_checked_is_checked_again() -> None:
    assignments = Assignments()
    assignments.take(run())
    changed = run(source="/other.gguf")
    _, again = assignments.take(changed)
    assert isinstance(again, Check)
    assert again.question.source == "/other.gguf"
    assert assignments.checked(A, 1, "no such file", now=1.0) == []
    assert changed.run is not None
    assert assignments.checked(A, again.number, "", now=1.0) == [Start(changed.run)]


def test_a_bounded_number_is_checked_at_a_time_in_the_order_of_the_orders() -> None:
    assignments = Assignments(max_checks=1)
    assert kinds(assignments.take(run(A))) == [Say, Check]
    assert kinds(assignments.take(run(B))) == [Say]
    assert kinds(assignments.take(run(C))) == [Say]
    assert assignments.phase(B) is Phase.QUEUED
    assert assignments.take(run(C, num_gpus=1)) == []
    assert assignments.take(stop(B)) == [SayGone(B)]
    assert assignments.take(stop(A)) == [SayGone(A)]  # its check goes on
    (check,) = assignments.checked(A, 1, "", now=1.0)
    assert isinstance(check, Check)
    assert (check.key, check.question.num_gpus) == (C, 1)


def test_a_changed_order_is_passed_on_to_what_runs() -> None:
    assignments = running()
    changed = run(drain_timeout=5.0)
    assert changed.run is not None
    assert assignments.take(changed) == [PassOn(changed.run)]
    assert assignments.take(changed) == []


def test_what_is_to_stop_is_stopped_once_and_forgotten_when_it_has_ended() -> None:
    assignments = running()
    assert assignments.take(stop()) == [Retire(A, "it is not wanted")]
    assert assignments.take(stop()) == []
    assert assignments.ended(A, "even if it failed", now=101.0, chance=0.0) == [SayGone(A)]
    assert assignments.ended(A, "", now=101.0, chance=0.0) == []
    assert assignments.document(A) == ""


def test_what_never_came_here_is_said_to_be_gone_for_as_long_as_it_is_to_stop() -> None:
    assignments = Assignments()
    assert assignments.take(stop()) == [SayGone(A)]
    assert list(assignments.stops) == [A]
    assert assignments.take(stop()) == []
    assert assignments.withdrawn(A) == [Forget(A)]
    assert not assignments.stops


def test_an_order_that_is_withdrawn_stops_nothing() -> None:
    assignments = running()
    assert assignments.withdrawn(A) == []
    assert assignments.phase(A) is Phase.RUNNING


def test_a_stop_that_is_withdrawn_goes_on_and_nobody_is_told_of_its_end() -> None:
    assignments = running()
    assignments.take(stop())
    assert assignments.withdrawn(A) == []
    assert assignments.ended(A, "", now=101.0, chance=0.0) == [Forget(A)]


def test_what_is_ordered_again_while_it_ends_starts_after_that_as_it_was_ordered_last() -> None:
    assignments = running()
    assignments.take(stop())
    assert assignments.take(run()) == []
    assert assignments.take(run(num_gpus=1)) == []
    (said,) = assignments.ended(A, "", now=101.0, chance=0.0)
    assert isinstance(said, Say)  # nobody takes its place meanwhile
    assert (said.report.state, said.report.gpus) == (ReplicaState.PENDING, 1)
    assert assignments.due() == 101.0 + RETRY_INTERVAL
    assert assignments.wake(101.5) == []
    _, check = assignments.wake(102.0)
    assert isinstance(check, Check)
    assert check.question.num_gpus == 1


def test_what_is_to_stop_after_all_does_not_start_again() -> None:
    assignments = running()
    for order in (stop(), run(), stop()):
        assignments.take(order)
    assert assignments.ended(A, "", now=101.0, chance=0.0) == [SayGone(A)]
    assert assignments.due() is None


def test_an_actor_that_fails_is_started_again_after_growing_pauses_and_says_how_often() -> None:
    assignments = running()
    for failures, pause in ((1, 1.0), (2, 2.0), (3, 4.0)):
        (said,) = assignments.ended(A, "KeyError: 1", now=101.0, chance=0.0)
        assert isinstance(said, Say)
        assert (said.report.state, said.report.failures) == (ReplicaState.FAILED, failures)
        assert said.report.retry_in == pause
        assert not said.report.unfit
        waiting, check = assignments.wake(101.0 + pause)
        assert isinstance(waiting, Say)
        assert (waiting.report.failures, waiting.report.reason) == (failures, said.report.reason)
        assert isinstance(check, Check)
        assert kinds(assignments.checked(A, check.number, "", now=101.0)) == [Start]


def test_an_order_is_no_way_round_the_pause() -> None:
    assignments = resting()
    assert assignments.take(run()) == []
    assert assignments.take(run(num_gpus=1)) == []
    assert assignments.due() == 102.0
    _, check = assignments.wake(102.0)
    assert isinstance(check, Check)
    assert check.question.num_gpus == 1


def test_what_ended_by_itself_is_started_again() -> None:
    assignments = resting(failure="")
    assert kinds(assignments.wake(102.0)) == [Say, Check]


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["run", "rerun", "stop", "idle", "sleep", "fit", "unfit", "end", "fail", "wake"]),
        st.sampled_from([A, B, C]),
    ),
    max_size=60,
)


@given(EVENTS)
def test_whatever_happens_the_last_orders_are_carried_out(events: list[tuple[str, ReplicaKey]]) -> None:
    world = _Shell()
    for what, place in events:
        world.happen(what, place)
    world.come_to_rest()
    for place, last in world.last.items():
        phase = world.assignments.phase(place)
        if last.run is None or (last.sleep is not None and phase is None):
            assert phase is None
            assert place not in world.said
        else:
            assert phase is Phase.RUNNING
            assert world.running[place] == last.run


class _Shell:
    """Carries out what follows, one at a time, as the worker's actor does."""

    def __init__(self) -> None:
        self.assignments = Assignments(max_checks=2)
        self.now = 0.0
        self.last: dict[ReplicaKey, Order] = {}
        self.running: dict[ReplicaKey, ReplicaOrder] = {}
        self.stopping: set[ReplicaKey] = set()
        self.yielding: set[ReplicaKey] = set()  # of those, the ones that may be taken back
        self.checks: list[Check] = []
        self.said: set[ReplicaKey] = set()

    def happen(self, what: str, place: ReplicaKey) -> None:
        self.now += 1.0
        match what:
            case "run" | "rerun" | "stop" | "idle" | "sleep":
                order = {
                    "run": run(place),
                    "rerun": run(place, num_gpus=1),
                    "stop": stop(place),
                    "idle": stop_if_idle(place),
                    "sleep": sleep(1, place),
                }[what]
                self.last[place] = order
                self.carry_out(self.assignments.take(order))
            case "fit" | "unfit" if self.checks:
                check = self.checks.pop(0)
                problem = "no" if what == "unfit" else ""
                self.carry_out(self.assignments.checked(check.key, check.number, problem, self.now))
            case "end" | "fail" if place in self.running:
                self.end(place, "KeyError" if what == "fail" else "")
            case "wake":
                self.carry_out(self.assignments.wake(self.now))

    def end(self, place: ReplicaKey, failure: str) -> None:
        del self.running[place]
        self.stopping.discard(place)
        self.yielding.discard(place)
        self.carry_out(self.assignments.ended(place, failure, now=self.now, chance=0.5))

    def carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Check():
                    self.checks.append(effect)
                    assert len(self.checks) <= 2
                case Start(order):
                    assert order.key not in self.running
                    self.running[order.key] = order
                    self.said.add(order.key)
                case PassOn(order):
                    assert order.key in self.running
                    assert order.key not in self.stopping or order.key in self.yielding
                    self.running[order.key] = order
                case Retire(place, reason):
                    assert reason
                    assert place in self.running
                    assert place not in self.stopping or place in self.yielding
                    self.stopping.add(place)
                    (self.yielding.add if effect.if_idle else self.yielding.discard)(place)
                case ChangeTier(place, level):
                    assert place in self.running
                    if place in self.yielding and level is None:
                        self.yielding.discard(place)
                        self.stopping.discard(place)
                case Say(report):
                    assert report.id.key not in self.running
                    self.said.add(report.id.key)
                case SayGone(place) | Forget(place):
                    self.said.discard(place)

    def come_to_rest(self) -> None:
        """Let everything go well from now on; what is refused is ordered with other settings, and back."""
        for _ in range(3):
            while self.checks or self.stopping or self.assignments.due() is not None:
                for place in list(self.stopping):
                    self.end(place, "")
                self.happen("fit", A)
                self.now += 100.0
                self.happen("wake", A)
            for place, order in self.last.items():
                if self.assignments.phase(place) is Phase.REFUSED:
                    assert order.run is not None
                    self.carry_out(self.assignments.take(run(place, num_gpus=7)))
                    self.carry_out(self.assignments.take(order))
