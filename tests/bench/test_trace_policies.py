"""The cluster of the trace simulation, and each policy's rule on a case small enough to reckon by hand.

A start takes 10 s and a stop 1 s; a replica works at two requests at a time; an answer of n tokens takes n
seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from attrs import evolve
from bench.trace_suite.clock import Clock
from bench.trace_suite.cluster import Cluster, State
from bench.trace_suite.policies.llama_swap import Collating
from bench.trace_suite.policies.llama_swap_groups import SwapGroups
from bench.trace_suite.policies.ollama import Ollama
from bench.trace_suite.policies.oracle import Oracle
from bench.trace_suite.policies.ray_serve import RayServe
from bench.trace_suite.policies.serverless_llm_0_8 import ServerlessLLM08
from bench.trace_suite.policies.serverless_llm_v1 import ServerlessLLMv1
from bench.trace_suite.profile import GB, Model, Profile, Tier
from bench.trace_suite.simulation import MakePolicy, play
from bench.trace_suite.workload import Request, Workload

PROFILE = Profile(
    init=9.0, from_memory=GB, from_disk=GB, stop=1.0, target=2, prefill=float("inf"), decode=1.0
)
A, B, C = range(3)


class Told:
    """A policy whose decisions are watched: what it was told, and the requests with what became of them."""

    def __init__(self, make: MakePolicy) -> None:
        self._make = make
        self.requests: Sequence[Request] = ()
        self.cluster: Cluster | None = None

    def __call__(self, cluster: Cluster, requests: Sequence[Request]) -> object:
        self.requests, self.cluster = requests, cluster
        return self._make(cluster, requests)


def begun(
    make: MakePolicy,
    *requests: tuple[float, int, int],
    gpus: int = 1,
    models: int = 3,
    until: float = 0.0,
    profile: Profile = PROFILE,
) -> list[float]:
    """Play requests (time, model, seconds), and return when each began."""
    told = Told(make)
    workload = Workload(
        "w",
        [Model(f"m{n}", GB) for n in range(models)],
        [Request(at, m, 0, n) for at, m, n in requests],
        until,
    )
    outcome = play(workload, profile, gpus, told)  # type: ignore[arg-type]
    assert outcome.unanswered == 0
    return [each.begun if each.begun is not None else -1.0 for each in told.requests]


def cluster(gpus: int = 1, **profile: Any) -> Cluster:
    models = [Model(f"m{n}", GB) for n in range(3)]
    return Cluster(Clock(), evolve(PROFILE, **profile), models, gpus)


def run_until(found: Cluster, when: float) -> None:
    clock = found.clock
    while (due := clock.next) is not None and due <= when:
        clock.step()
    clock.now = when


# ---- the cluster


def test_a_replica_works_at_its_target_and_lets_the_rest_queue_in_order() -> None:
    found = cluster()
    replica = found.start(A, found.workers[0])
    run_until(found, 10.0)
    requests = [Request(10.0, A, 0, seconds) for seconds in (3, 5, 1)]
    for request in requests:
        found.send(replica, request)
    assert replica.load == 3
    found.stop(replica)
    assert (replica.state, found.ready[A]) == (State.ENDING, [])
    run_until(found, 100.0)
    assert [request.begun for request in requests] == [10.0, 10.0, 13.0]
    assert found.gpu_seconds == 16.0, "until its last request has ended, and a second more"


def test_a_switch_is_a_gpu_that_goes_to_another_model() -> None:
    found = cluster(2)
    worker = found.workers[0]
    for model in (A, B):
        found.stop(found.start(model, worker))
    run_until(found, 2.0)
    found.stop(found.start(B, worker))
    assert (found.switches, found.starts) == (0, 3), "it took the GPU on which the model was before"
    run_until(found, 4.0)
    found.start(C, worker)
    found.start(B, worker)
    assert found.switches == 1


def test_starts_from_one_disk_read_one_after_the_other() -> None:
    found = cluster(3, init=5.0, from_memory=10 * GB, from_disk=GB)
    worker = found.workers[0]
    assert [found.start(model, worker).ready_at for model in (A, B)] == [6.0, 7.0]
    assert found.tier(A, worker) is Tier.MEMORY
    assert found.start_time(A, worker) == 5.1


def test_the_page_cache_forgets_what_was_used_least_recently() -> None:
    found = cluster(3, host_memory=2 * GB, pulled=False)
    worker = found.workers[0]
    assert found.tier(A, worker) is Tier.HUB
    for model in (A, B, C):
        found.start(model, worker)
    assert [found.tier(model, worker) for model in (A, B, C)] == [Tier.DISK, Tier.MEMORY, Tier.MEMORY]


def test_a_start_that_is_stopped_gives_its_gpu_back_without_being_ready() -> None:
    found = cluster()
    replica = found.start(A, found.workers[0])
    found.stop(replica)
    run_until(found, 20.0)
    assert (replica.state, found.free, found.gpu_seconds) == (State.GONE, 1, 1.0)


# ---- the policies of others


def test_v1_beta_looks_each_three_seconds_and_releases_one_request_each_tenth_of_a_second() -> None:
    # At 3 s it wants 1 and starts it; at 13 s it is ready, at 15 s the reconciler sees it.
    assert begun(ServerlessLLMv1, (0.5, A, 1), (0.6, A, 1)) == pytest.approx([15.1, 15.2])


def test_v1_beta_stops_at_once_when_nothing_is_asked_and_evicts_nobody() -> None:
    # The first one ends at 16.1. At 18 s none is wanted, at 20 s it is cancelled, at 24 s its GPU is taken.
    first, second = begun(ServerlessLLMv1, (0.5, A, 1), (5.0, B, 1))
    assert (first, second) == pytest.approx((15.1, 36.1))
    # While a model is used another one does not get its GPU.
    busy = [(0.5 + n, A, 3) for n in range(60)]
    assert begun(ServerlessLLMv1, *busy, (5.0, B, 1))[-1] > 70


def test_0_8_gives_out_one_request_a_second_and_never_more_than_the_target() -> None:
    # Asked at 0.5, wanted and placed at 1 s, ready at 11 s. The balancer looks each second from 1.5 on.
    assert begun(ServerlessLLM08, (0.5, A, 9), (0.5, A, 9)) == pytest.approx([11.5, 12.5])
    one = evolve(PROFILE, max_replicas=1)
    first, second, third = begun(ServerlessLLM08, *[(0.5, A, 9)] * 3, profile=one)
    assert (first, second) == pytest.approx((11.5, 12.5))
    assert third == pytest.approx(21.5), "looked at 13.5, and each two seconds then, until one has ended"


def test_0_8_stops_what_serves_though_what_is_too_much_only_waits_for_room() -> None:
    # Three requests want two replicas. When one has ended one is enough, and the one that has a GPU goes.
    found = begun(ServerlessLLM08, *[(0.5, A, 9)] * 3)
    assert found[2] > 30


def test_0_8_stops_one_replica_a_second_when_there_are_too_many() -> None:
    # The first one ends at 12.5, is stopped at 13 s and gone at 14 s; the scheduler sees it at 15 s.
    assert begun(ServerlessLLM08, (0.5, A, 1), (1.5, B, 1))[1] == pytest.approx(25.5)


def test_ray_serve_starts_from_zero_at_once_and_keeps_its_place_for_ten_minutes() -> None:
    assert begun(RayServe, (0.5, A, 1)) == [11.0]
    _, second = begun(RayServe, (0.5, A, 1), (100.0, B, 1))
    # From 13 s on nothing is asked; the mean of 30 s is 0 from 42 s on.
    assert 600 + 40 < second - 10 < 600 + 50


def test_ray_serve_goes_up_only_after_thirty_seconds_of_more() -> None:
    # Of six at 20 s one waits, since a replica takes five. By the mean of 30 s two are wanted from 26 s on.
    found = begun(RayServe, (0.0, A, 1), *[(20.0, A, 200)] * 6, gpus=4)
    assert found[1:3] == [20.0, 20.0]
    assert found[6] == pytest.approx(26 + 31 + 10, abs=1)


def test_groups_of_llama_swap_serve_in_the_order_of_arrival() -> None:
    # A B A: the second A waits for B, though A was loaded when it came.
    a, b, again = begun(SwapGroups, (0.0, A, 5), (1.0, B, 5), (2.0, A, 5))
    assert (a, b, again) == (10.0, 26.0, 42.0)


def test_a_swap_of_a_group_lets_others_pass_only_when_its_own_request_is_answered() -> None:
    assert begun(SwapGroups, (0.0, A, 5), (1.0, A, 5)) == [10.0, 15.0]
    assert begun(SwapGroups, (0.0, A, 5), (1.0, B, 5), gpus=2) == [10.0, 11.0], "each group has a GPU"


def test_the_scheduler_of_llama_swap_serves_what_is_loaded_first() -> None:
    a, b, again = begun(Collating, (0.0, A, 5), (1.0, B, 5), (2.0, A, 5))
    assert (a, again) == (10.0, 10.0)
    assert b == 15.0 + 1.0 + 10.0


def test_the_scheduler_of_llama_swap_evicts_the_last_by_name_and_waits_until_it_is_idle() -> None:
    early = [(0.0, A, 1), (0.0, B, 30)]
    assert begun(Collating, *early, (20.0, C, 1), gpus=2)[2] == 41.0 + 1.0 + 10.0, "though the other is idle"


def test_ollama_takes_the_first_idle_one_by_name_and_lets_those_behind_wait() -> None:
    early = [(0.0, A, 30), (0.0, B, 1)]
    *_, third = begun(Ollama, *early, (20.0, C, 1), gpus=2)
    assert third == 20.0 + 1.0 + 10.0
    *_, third, fourth = begun(Ollama, (0.0, A, 30), (0.0, B, 30), (20.0, C, 1), (21.0, A, 1), gpus=2)
    assert (third, fourth) == (40.0 + 1.0 + 10.0, 21.0), "what is loaded is used at once"


def test_ollama_unloads_after_five_idle_minutes() -> None:
    assert begun(Ollama, (0.0, A, 1), (311.0, A, 1)) == [10.0, 311.0]
    assert begun(Ollama, (0.0, A, 1), (313.0, A, 1)) == [10.0, 323.0]


def test_the_oracle_starts_early_and_keeps_only_what_is_soon_used_again() -> None:
    assert begun(Oracle, (20.0, A, 1), (30.0, A, 1), (60.0, A, 1)) == [20.0, 30.0, 60.0]
    told = Told(Oracle)
    requests = [Request(at, A, 0, 1) for at in (20.0, 30.0, 60.0)]
    outcome = play(Workload("w", [Model("a", GB)], requests, 100.0), PROFILE, 1, told)  # type: ignore[arg-type]
    assert outcome.gpu_seconds == pytest.approx(22.0 + 12.0, abs=0.1)
    assert outcome.cold_rate == 0.0


def test_the_oracle_evicts_what_is_needed_again_last() -> None:
    # With room for two, C comes while A and B are idle; B is asked again before A.
    asked = [(20.0, A, 1), (22.0, B, 1), (25.0, C, 1), (28.0, B, 1), (31.0, A, 1)]
    found = begun(Oracle, *asked, gpus=2)
    assert (found[0], found[1], found[3]) == (20.0, 22.0, 28.0)
    assert found[2] <= 35.0
