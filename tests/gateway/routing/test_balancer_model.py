"""Whatever happens in whatever order: the balancer does what a slow and simple model of it does."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.gateway.kit import replica
from tests.gateway.routing.balancing import SMOL, Bench, Request

from sllm_actors.api_error import ApiError
from sllm_actors.engines.identity import ReplicaId
from sllm_actors.engines.messages import ReplicaReport, ReplicaState
from sllm_actors.gateway.routing.asked import Asked, Outcome
from sllm_actors.gateway.routing.flow import Flow
from sllm_actors.gateway.routing.lines.circuit import CircuitState
from sllm_actors.gateway.routing.loss import Lost
from sllm_actors.gateway.routing.route import Upstream

STATES = st.sampled_from(
    [ReplicaState.READY, ReplicaState.READY, ReplicaState.READY, ReplicaState.DRAINING, ReplicaState.STARTING]
)
TRIED = st.sets(st.integers(1, 3), max_size=2)
HOLD_LIMIT = 6
HOLD_TIMEOUT = 20.0
NOTICE = 3.0


@define(eq=False)
class Life:
    """What a request should be doing: it waits since ``turn``, is at a replica, or is over."""

    request: Request
    turn: tuple[int, int]
    began: float
    waits: bool = False
    at: ReplicaId | None = None
    said: int = 0


class Balancing(RuleBasedStateMachine):
    @initialize(policy=st.sampled_from(["p2c", "round-robin", "session", "prefix"]), flows=st.integers(1, 3))
    def begin(self, policy: str, flows: int) -> None:
        self.flows = [Flow(f"key-{number}", 2.0**number) for number in range(flows)]
        self.bench = Bench(restart_notice=NOTICE)
        self.policy = policy
        self.reports: dict[int, ReplicaReport] = {}
        self.attempt = 1
        self.lives: list[Life] = []
        self.publish()

    def publish(self) -> None:
        limits: dict[str, Any] = {
            "hold_limit": HOLD_LIMIT,
            "hold_timeout": HOLD_TIMEOUT,
            "policy": self.policy,
        }
        self.bench.route(*self.reports.values(), **limits)
        self.bench.turns()

    # ---- steps

    @rule(number=st.integers(1, 3), state=STATES, limit=st.integers(0, 3), anew=st.booleans())
    def report(self, number: int, state: ReplicaState, limit: int, *, anew: bool) -> None:
        self.attempt += anew
        attempt = self.attempt if anew or number not in self.reports else self.reports[number].id.attempt
        self.reports[number] = replica(number=number, state=state, concurrency=limit, attempt=attempt)
        self.publish()

    @rule(number=st.integers(1, 3))
    def remove(self, number: int) -> None:
        if self.reports.pop(number, None) is not None:
            self.publish()

    @rule(priority=st.integers(-1, 1), tried=TRIED, key=st.binary(max_size=1), flow=st.integers(0, 2))
    def ask(self, priority: int, tried: set[int], key: bytes, flow: int) -> None:
        known = frozenset(self.reports[number].id for number in tried if number in self.reports)
        whose = self.flows[flow % len(self.flows)]
        asked = Asked(SMOL, priority, key or None, key * 100, known, flow=whose)
        life = Life(Request(asked), (-priority, len(self.lives)), self.bench.now)
        may_go = {each for each in self.open() if each not in known}
        upstream = self.bench.balancer.take(asked, life.request)
        assert (upstream is not None) == bool(may_go)
        self.lives.append(life)
        if upstream is not None:
            assert upstream.id in may_go
            life.at = upstream.id
            return
        if len(self.waiting()) < HOLD_LIMIT:
            life.request.hold = self.bench.balancer.hold(asked, life.request)
            life.waits = True
        else:
            with pytest.raises(ApiError, match="requests wait for"):
                self.bench.balancer.hold(asked, life.request)

    @precondition(lambda self: self.under_way())
    @rule(which=st.integers(0, 99), outcome=st.sampled_from([*Outcome, Outcome.BROKE, Outcome.BROKE]))
    def end(self, which: int, outcome: Outcome) -> None:
        lives = self.under_way()
        life = lives[which % len(lives)]
        life.at = None
        self.bench.done(life.request, outcome)
        self.bench.turns()

    @precondition(lambda self: self.waiting())
    @rule(which=st.integers(0, 99))
    def leave(self, which: int) -> None:
        lives = self.waiting()
        life = lives[which % len(lives)]
        life.waits = False
        assert life.request.hold is not None
        assert self.bench.balancer.leave(life.request.hold)

    @rule(seconds=st.floats(0.1, 8))
    def wait(self, seconds: float) -> None:
        self.bench.wait(seconds)

    # ---- the model

    def waiting(self) -> list[Life]:
        return sorted((life for life in self.lives if life.waits), key=lambda life: life.turn)

    def under_way(self) -> list[Life]:
        return [life for life in self.lives if life.at is not None]

    def open(self) -> set[ReplicaId]:
        """Return the replicas that have room."""
        found = set()
        for report in self.reports.values():
            load = sum(life.at == report.id for life in self.lives)
            if report.state is ReplicaState.READY and load < (report.concurrency or 99):
                found.add(report.id)
        for place in self.bench.balancer._lines[SMOL].ready:
            if place.circuit.state is CircuitState.OPEN or place.probe is not None:
                found.discard(place.id)
        return found

    @invariant()
    def all_is_as_it_should_be(self) -> None:
        self.what_was_heard_is_what_should_have_been()
        self.nobody_waits_for_what_is_free_or_longer_than_allowed()
        self.the_counts_are_right()

    def what_was_heard_is_what_should_have_been(self) -> None:
        granted: list[Life] = []
        for life in self.lives:
            for heard in life.request.heard[life.said :]:
                if isinstance(heard, Lost):
                    assert life.at is not None
                    serving = (ReplicaState.READY, ReplicaState.DRAINING)
                    assert life.at not in {r.id for r in self.reports.values() if r.state in serving}
                    continue
                assert life.waits, "each wait ends once"
                life.waits = False
                if isinstance(heard, Upstream):
                    life.at = heard.id
                    assert heard.id not in life.request.asked.tried
                    granted.append(life)
                else:
                    assert self.is_over(life)
            life.said = len(life.request.heard)
        # Whoever was let go went before all who still wait and could have gone to the same replica; between
        # flows only the priority counts here.
        for life in granted:
            for other in self.waiting():
                same = life.request.asked.flow == other.request.asked.flow
                before = life.turn < other.turn if same else life.turn[0] <= other.turn[0]
                assert before or life.at in other.request.asked.tried

    def is_over(self, life: Life) -> bool:
        ready = {report.id for report in self.reports.values() if report.state is ReplicaState.READY}
        stuck = bool(ready) and ready <= life.request.asked.tried
        waited = self.bench.now - life.began
        return waited >= HOLD_TIMEOUT or (stuck and waited >= NOTICE)

    def nobody_waits_for_what_is_free_or_longer_than_allowed(self) -> None:
        free = self.open()
        for life in self.waiting():
            assert free <= life.request.asked.tried
            assert not self.is_over(life)

    def the_counts_are_right(self) -> None:
        balancer = self.bench.balancer
        assert self.bench.shell.errors == []
        assert balancer.held(SMOL) == len(self.waiting()) <= HOLD_LIMIT
        assert balancer.total == balancer.in_flight(SMOL) == len(self.under_way())
        for place, life in enumerate(self.waiting()):
            assert life.request.hold is not None
            ahead = balancer.ahead_of(life.request.hold)
            assert ahead is not None
            assert ahead == place if len(self.flows) == 1 else 0 <= ahead < len(self.waiting())


TestBalancing = Balancing.TestCase
TestBalancing.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
