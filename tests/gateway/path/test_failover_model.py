"""Whatever happens to a request, and in whichever order: it ends, and no replica is tried twice."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sllm_actors.engines.identity import ReplicaId
from sllm_actors.engines.messages import EngineConfirmed
from sllm_actors.gateway.path.failover import (
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

ATTEMPTS = 3
BUDGET = 10.0
REPLICAS = tuple(ReplicaId("m:vllm", 1, number, number, "uid") for number in range(6))
ANSWERS = st.builds(EngineConfirmed, serving=st.booleans(), died=st.booleans())


class Request(RuleBasedStateMachine):
    """One request and the routes around it."""

    def __init__(self) -> None:
        super().__init__()
        self.dead: set[ReplicaId] = set()
        rules = Rules(ATTEMPTS, BUDGET, has_died=self.dead.__contains__)
        self.request = Failover(rules, "m:vllm", began=0.0, hold_timeout=60.0)
        self.now = 0.0
        self.ready: set[ReplicaId] = set(REPLICAS)
        self.at: ReplicaId | None = REPLICAS[0]
        self.reached: list[ReplicaId] = []
        self.broken: set[ReplicaId] = set()
        self.answered = False
        self.asked: tuple[ReplicaId, ...] = ()
        self.wait: Elsewhere | None = None
        self.held_back: ReplicaId | None = None
        self.over = False

    def do(self, decision: Decision | None) -> None:
        self.wait = None
        match decision:
            case Elsewhere():
                assert not self.answered
                assert self.request.tried <= decision.excluded
                if not decision.stay:
                    self.at = None
                if decision.until <= self.now:  # it never turns in a circle
                    assert isinstance(self.request.out_of_time(self.ready, self.now), Fail)
                self.wait = decision
            case Confirm(replicas):
                assert replicas
                assert not self.answered
                self.at, self.asked = None, replicas
            case Deliver():
                assert self.held_back is not None
                self.over = True
            case Linger(until):
                assert self.at is not None
                assert until > self.now
            case Fail():
                self.over = True
            case None:
                pass

    @precondition(lambda self: self.at is not None and not self.over)
    @rule(end=st.sampled_from(AttemptEnd), answered=st.booleans(), connect=st.none() | st.floats(0.1, 5.0))
    def an_attempt_ends(self, end: AttemptEnd, answered: bool, connect: float | None) -> None:
        assert self.at is not None
        unsent = end in (AttemptEnd.UNREACHED, AttemptEnd.NO_ROOM)
        if unsent and self.answered:
            return  # who has answered was reached
        if unsent or self.wait is not None:
            answered = False
        self.answered = self.answered or answered
        if not unsent:
            self.reached.append(self.at)
        if end is AttemptEnd.BROKE:
            self.broken.add(self.at)
        self.held_back = self.at if end is AttemptEnd.FAULTY else None
        self.do(
            self.request.ended(
                self.at, end, "why", answered=self.answered, now=self.now, connect_timeout=connect
            )
        )

    @precondition(lambda self: self.at is not None and self.wait is None and not self.over)
    @rule(died=st.booleans(), answered=st.booleans(), reached=st.booleans())
    def its_replica_is_lost(self, died: bool, answered: bool, reached: bool) -> None:
        assert self.at is not None
        self.answered = (self.answered or answered) and reached
        if died:
            self.dead.add(self.at)
        if reached:
            self.reached.append(self.at)
        self.ready.discard(self.at)
        self.do(
            self.request.lost(
                self.at, Lost("why", died), answered=self.answered, now=self.now, reached=reached
            )
        )

    @precondition(lambda self: self.asked and not self.over)
    @rule(data=st.data())
    def the_workers_answer(self, data: st.DataObject) -> None:
        answers = data.draw(st.dictionaries(st.sampled_from(self.asked), ANSWERS))
        self.asked = ()
        self.do(self.request.confirmed(answers, self.now))

    @precondition(lambda self: self.wait is not None and not self.over)
    @rule(data=st.data())
    def another_replica_takes_it(self, data: st.DataObject) -> None:
        assert self.wait is not None
        free = sorted(self.ready - self.wait.excluded)
        if not free:
            return
        refusal = self.request.refusal()
        if refusal is not None:
            self.do(refusal)
            return
        self.at, self.wait = data.draw(st.sampled_from(free)), None
        assert self.at not in self.request.tried
        assert len(self.request.tried) < ATTEMPTS
        assert len(self.broken & self.dead) < 2

    @precondition(lambda self: self.wait is not None and not self.over)
    @rule()
    def none_takes_it_in_time(self) -> None:
        assert self.wait is not None
        self.now = max(self.now, self.wait.until)
        self.do(self.request.out_of_time(self.ready, self.now))

    @rule(replica=st.sampled_from(REPLICAS))
    def a_replica_comes_or_goes(self, replica: ReplicaId) -> None:
        self.ready ^= {replica}

    @rule(replica=st.sampled_from(REPLICAS))
    def an_engine_is_reported_dead(self, replica: ReplicaId) -> None:
        self.dead.add(replica)

    @rule(seconds=st.floats(0.0, 3.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def no_more_attempts_than_allowed(self) -> None:
        assert len(self.request.tried) <= ATTEMPTS


TestRequest = Request.TestCase
