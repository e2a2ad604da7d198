"""Our own decisions in the trace simulation: the head's picture, with workers and a gateway played around it.

A start takes 10 s and a stop 1 s; a replica works at two requests at a time; an answer of n tokens takes n
seconds.
"""

from __future__ import annotations

from functools import partial

import pytest
from bench.trace_suite.clock import Clock
from bench.trace_suite.cluster import Cluster, Replica, State
from bench.trace_suite.ours import Ours
from bench.trace_suite.ours.gateway import Gateway
from bench.trace_suite.ours.workers import Workers
from bench.trace_suite.outcome import Outcome
from bench.trace_suite.profile import GB, Model, Profile
from bench.trace_suite.simulation import play
from bench.trace_suite.workload import Request, Workload

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import IDLE_PATIENCE, ReplicaOrder, ReplicaState
from sllm_actors.serving.messages import Order
from sllm_actors.serving.picture.events import DemandReported, Event, ReplicasReported

PROFILE = Profile(
    init=9.0, from_memory=GB, from_disk=GB, stop=1.0, target=2, prefill=float("inf"), decode=1.0
)
A, B = range(2)
KEY = ReplicaKey("a:vllm", 1, 0, "uid")
RUN = Order(KEY, ReplicaOrder(KEY, "a", "vllm", "", num_gpus=1))


def outcome(*requests: tuple[float, int, int], until: float = 0.0, keep_alive: float = -1.0) -> Outcome:
    asked = [Request(at, model, 0, seconds) for at, model, seconds in requests]
    models = [Model("a", GB), Model("b", GB)]
    return play(Workload("w", models, asked, until), PROFILE, 1, partial(Ours, keep_alive=keep_alive))


def cluster() -> Cluster:
    return Cluster(Clock(), PROFILE, [Model("a", GB)], 1)


def run_until(found: Cluster, when: float) -> None:
    while (due := found.clock.next) is not None and due <= when:
        found.clock.step()
    found.clock.now = when


# ---- all together


def test_a_first_request_starts_a_replica_at_once() -> None:
    assert outcome((5.0, A, 1)).wait_p99_s == pytest.approx(10.0, abs=0.1)


def test_an_idle_replica_stays_for_its_keep_alive() -> None:
    asked = [(0.0, A, 1), (40.0, A, 1)]
    gone = outcome(*asked, keep_alive=0.0)
    assert gone.gpu_seconds == pytest.approx(12.0 + 11.0, abs=0.5)
    assert gone.cold_rate == 1.0
    assert gone.wait_p99_s == pytest.approx(10.0, abs=0.1)
    kept = outcome(*asked, keep_alive=100.0)
    assert kept.gpu_seconds == pytest.approx(41.0, abs=0.5)
    assert (kept.cold_rate, kept.wait_p50_s) == (0.5, 0.0)


def test_nothing_runs_before_the_first_request() -> None:
    assert outcome((500.0, A, 1), until=600.0, keep_alive=0.0).gpu_seconds == pytest.approx(12.0, abs=0.5)


@pytest.mark.parametrize("keep_alive", [0.0, 30.0, -1.0])
def test_every_request_is_answered_where_two_models_share_one_gpu(keep_alive: float) -> None:
    asked = [(n * 1.0, n % 2, 2) for n in range(30)]
    found = outcome(*asked, keep_alive=keep_alive)
    assert found.unanswered == 0
    assert 1 <= found.switches <= 6, "they take turns, and not for every request"


# ---- the gateway


def test_the_gateway_holds_what_a_replica_does_not_take_and_tells_the_head() -> None:
    found, told = cluster(), list[Event]()
    gateway = Gateway(found, ["a:vllm"], told.append)
    gateway.arrived(Request(0.0, A, 0, 5))
    (first,) = [each for each in told if isinstance(each, DemandReported)]
    assert [(each.held, each.in_flight, each.ready) for each in first.put] == [(1, 0, 0)]
    replica = found.start(A, found.workers[0])
    run_until(found, 10.0)
    for _ in range(3):
        gateway.arrived(Request(10.0, A, 0, 5))
    gateway.add(replica)
    assert (replica.running, len(replica.queue)) == (2, 0), "the engine's queue is never used"
    run_until(found, 11.0)
    last = told[-1]
    assert isinstance(last, DemandReported)
    assert [(each.held, each.in_flight, each.ready, each.uses) for each in last.put] == [(2, 2, 1, 2)]


def test_the_entry_of_a_deployment_at_rest_goes_with_the_next_report() -> None:
    found, told = cluster(), list[Event]()
    gateway = Gateway(found, ["a:vllm"], told.append)
    gateway.link()
    replica = found.start(A, found.workers[0])
    run_until(found, 10.5)
    gateway.add(replica)
    found.on_ended = lambda _, request: gateway.ended(request)
    gateway.arrived(Request(10.5, A, 0, 1))
    run_until(found, 11.56)
    last = told[-1]
    assert isinstance(last, DemandReported)
    assert [(each.held, each.in_flight, each.uses) for each in last.put] == [(0, 0, 1)]
    run_until(found, 12.0)
    last = told[-1]
    assert isinstance(last, DemandReported)
    assert (last.put, last.removed) == ((), ("a:vllm",))


# ---- the workers


class Watched:
    """Workers with what they say, and which replicas may get requests."""

    def __init__(self) -> None:
        self.cluster = cluster()
        self.states: list[tuple[ReplicaState, bool, int]] = []
        self.routes: list[Replica] = []
        self.workers = Workers(
            self.cluster, {"a:vllm": A}, self._tell, self.routes.append, self.routes.remove
        )
        self.cluster.on_ready, self.cluster.on_gone = self.workers.ready, self.workers.gone
        self.cluster.on_ended = lambda replica, _: self.workers.ended(replica)

    def _tell(self, event: Event) -> None:
        assert isinstance(event, ReplicasReported)
        self.states += [(each.state, each.if_idle, each.declined) for each in event.put]
        self.states += [(ReplicaState.STOPPED, False, 0) for _ in event.removed]

    def order(self, order: Order, at: float) -> None:
        self.workers.obey("worker-0", KEY, order)
        run_until(self.cluster, at)


def test_a_worker_starts_and_stops_what_is_ordered() -> None:
    watched = Watched()
    watched.order(RUN, 20.0)
    assert len(watched.routes) == 1
    watched.order(Order(KEY, None, "enough"), 30.0)
    assert [state for state, _, _ in watched.states] == ["starting", "ready", "draining", "stopped"]
    assert (watched.routes, watched.cluster.free) == ([], 1)


@pytest.mark.parametrize("seconds", [1, 10])
def test_what_is_to_stop_if_it_is_idle_declines_if_its_request_takes_longer(seconds: int) -> None:
    watched = Watched()
    watched.order(RUN, 20.0)
    (replica,) = watched.routes
    watched.cluster.send(replica, Request(20.0, A, 0, seconds))
    watched.order(Order(KEY, None, "others need it", if_idle=True), 20.0)
    assert watched.routes == []
    run_until(watched.cluster, 20.0 + IDLE_PATIENCE + 1.0)
    if seconds < IDLE_PATIENCE:
        assert replica.state is State.GONE
    else:
        assert watched.routes == [replica]
        assert watched.states[-1] == (ReplicaState.READY, False, 1)


def test_an_order_to_run_takes_back_one_to_stop_if_idle() -> None:
    watched = Watched()
    watched.order(RUN, 20.0)
    (replica,) = watched.routes
    watched.cluster.send(replica, Request(20.0, A, 0, 9))
    watched.order(Order(KEY, None, "others need it", if_idle=True), 21.0)
    watched.order(RUN, 30.0)
    assert (watched.routes, replica.state) == ([replica], State.READY)
    assert watched.states[-1] == (ReplicaState.READY, False, 0), "it has declined nothing"
