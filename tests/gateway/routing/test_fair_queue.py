"""The queue of one priority against its specification, written down without any thought of cost."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.gateway.kit import replica
from tests.gateway.routing.balancing import SMOL, Request

from sllm_actors.gateway.routing.asked import Asked
from sllm_actors.gateway.routing.flow import Flow
from sllm_actors.gateway.routing.lines.attained import Use
from sllm_actors.gateway.routing.lines.fair_queue import FairQueue
from sllm_actors.gateway.routing.lines.hold import Hold
from sllm_actors.gateway.routing.lines.place import Place
from sllm_actors.gateway.routing.route import Upstream

PLACES = [Place(Upstream(replica(number=number).id, "w", "", ""), SMOL) for number in range(3)]
NAMES = st.sampled_from("abc")
SHARES = st.sampled_from([0.5, 1.0, 2.0])
SECONDS = st.integers(0, 8).map(float)


@define(eq=False)
class Run:
    """A request that has a slot; ``begins`` is None if nobody waited when it began."""

    flow: Flow
    use: Use | None
    begins: float | None = None
    expected: float = 0.0


@define
class Spec:
    """What one flow has got, as the queue's documentation has it."""

    attained: float
    since: float
    runs: list[Run] = field(factory=list)

    @property
    def score(self) -> float:
        return self.attained + sum(run.expected for run in self.runs)


class Queueing(RuleBasedStateMachine):
    """All numbers are sums of few halves, so that floats are exact."""

    @initialize()
    def begin_anew(self) -> None:
        self.now = self.clock = self.level = 0.0
        self.queue: FairQueue | None = None
        self.specs: dict[str, Spec] = {}
        self.waiting: list[Hold] = []
        self.runs: list[Run] = []
        self.numbers = 0

    # ---- steps

    @rule(seconds=SECONDS)
    def let_time_pass(self, seconds: float) -> None:
        self.now += seconds
        self.clock += seconds if len(self.specs) > 1 else 0.0

    @rule(name=NAMES, share=SHARES, tried=st.sets(st.integers(0, 2), max_size=2))
    def join(self, name: str, share: float, tried: set[int]) -> None:
        if self.queue is None:
            self.queue = FairQueue(self.now)
            self.clock = self.level = 0.0
        asked = Asked(SMOL, tried=frozenset(PLACES[each].id for each in tried), flow=Flow(name, share))
        self.numbers += 1
        hold = Hold(asked, Request(asked), self.numbers, self.now, 0.0)
        spec = self.specs.setdefault(name, Spec(self.level, self.clock))
        if not self.waits(name) and spec.attained < self.level:
            spec.attained, spec.since = self.level, self.clock
        self.waiting.append(hold)
        self.queue.join(hold, self.now)

    @precondition(lambda self: self.waiting)
    @rule(which=st.integers(0, 99))
    def leave(self, which: int) -> None:
        self.remove(self.waiting[which % len(self.waiting)])

    @precondition(lambda self: self.waiting)
    @rule(places=st.sets(st.integers(0, 2), min_size=1), expected=SECONDS)
    def let_the_first_go(self, places: set[int], expected: float) -> None:
        hold = self.first([PLACES[each] for each in places])
        if hold is not None:
            self.start(hold.asked.flow, expected)
            self.remove(hold)

    @rule(name=NAMES, share=SHARES, expected=SECONDS)
    def let_one_go_that_need_not_wait(self, name: str, share: float, expected: float) -> None:
        self.start(Flow(name, share), expected)

    @precondition(lambda self: self.runs)
    @rule(which=st.integers(0, 99))
    def end(self, which: int) -> None:
        run = self.runs.pop(which % len(self.runs))
        if self.queue is None:
            return
        spec = self.specs.get(run.flow.name)
        if spec is not None:
            known = run.begins if any(run is each for each in spec.runs) else None
            spec.runs = [each for each in spec.runs if each is not run]
            spec.attained += (self.clock - max(known or 0.0, spec.since)) / run.flow.share
            self.forget(run.flow.name)
        self.queue.end(run.flow, run.use, self.now)

    # ---- the model

    def waits(self, name: str) -> bool:
        return any(hold.asked.flow.name == name for hold in self.waiting)

    def start(self, flow: Flow, expected: float) -> None:
        run = Run(flow, None)
        self.runs.append(run)
        if self.queue is None:
            return
        spec = self.specs.setdefault(flow.name, Spec(self.level, self.clock))
        run.begins, run.expected = self.clock, expected / flow.share
        spec.runs.append(run)
        self.level = max(self.level, spec.attained)
        for name in list(self.specs):
            self.forget(name)
        run.use = self.queue.begin(flow, expected, self.now)

    def remove(self, hold: Hold) -> None:
        assert self.queue is not None
        self.waiting.remove(hold)
        self.forget(hold.asked.flow.name)
        self.queue.leave(hold, self.now)
        if not self.waiting:
            assert self.queue.waiting == 0
            self.queue = None
            self.specs = {}

    def forget(self, name: str) -> None:
        spec = self.specs[name]
        if not self.waits(name) and not spec.runs and spec.attained <= self.level:
            del self.specs[name]

    def first(self, places: list[Place]) -> Hold | None:
        def turn(hold: Hold) -> tuple[Any, ...]:
            return self.specs[hold.asked.flow.name].score, hold.number

        may_go = [hold for hold in self.waiting if any(hold.asked.allows(place.id) for place in places)]
        found = min(may_go, key=turn, default=None)
        assert self.queue is not None
        assert self.queue.first(places) is found
        return found

    @invariant()
    def the_queue_is_as_the_model(self) -> None:
        if self.queue is None:
            return
        for place in PLACES:
            self.first([place])
        self.first(PLACES)
        assert self.queue.waiting == len(self.waiting)
        assert {name for name in "abc" if name in self.queue._attained._accounts} == set(self.specs)
        for name, spec in self.specs.items():
            assert self.queue._attained[Flow(name)].score == spec.score
        held = [hold for _, holds in self.queue.choices() for hold in holds]
        assert sorted(held, key=self.waiting.index) == self.waiting
        ahead = [self.queue.ahead_of(hold) for hold in self.waiting]
        assert all(0 <= each < len(self.waiting) for each in ahead)
        if len({hold.asked.flow.name for hold in self.waiting}) == 1:
            assert ahead == list(range(len(self.waiting)))


TestQueueing = Queueing.TestCase
TestQueueing.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
