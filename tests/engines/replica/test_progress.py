"""An engine that says it is healthy and gets nothing done is found out, and a slow one is not."""

from __future__ import annotations

from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from attrs import evolve
from tests.engines.kit import FakeBackend, altered, post, report_of, start

from sllm_actors.engines.backends.backend import Launch
from sllm_actors.engines.backends.command import WORK as ANY
from sllm_actors.engines.backends.llamacpp import WORK as LLAMACPP
from sllm_actors.engines.backends.vllm import WORK
from sllm_actors.engines.backends.work_metrics import Sample, WorkMetrics
from sllm_actors.engines.health_policy import HealthPolicy
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaOrder, ReplicaState
from sllm_actors.engines.replica import engine_life
from sllm_actors.engines.replica.progress import Watch
from sllm_actors.testing import TestSystem

VLLM = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 2.0
vllm:num_requests_running{engine="1",model_name="m"} 1.0
vllm:num_requests_running_by_label{engine="0"} 99.0
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{engine="0",model_name="a b} c"} 1.5e+03
vllm:generation_tokens_created{engine="0"} 1.7e+09
vllm:iteration_tokens_total_count{engine="0"} 40.0
vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
vllm:num_requests_waiting{engine="1",model_name="m"} 4.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 6.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.75
"""

LLAMA = """\
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 10
llamacpp:tokens_predicted_total 20
llamacpp:n_decode_total 30
llamacpp:requests_processing 1
llamacpp:requests_deferred 7
"""


@pytest.mark.parametrize(
    ("metrics", "text", "sample"),
    [
        (WORK, VLLM, Sample(running=3, worked=1540, waiting=6, kv=0.75)),
        (LLAMACPP, LLAMA, Sample(running=1, worked=60, waiting=7)),
        (WORK, LLAMA, None),
        (WORK, "", None),
        (WORK, "vllm:num_requests_running nonsense\n", None),
        (WORK, "vllm:num_requests_running NaN\n", None),
        (WORK, "vllm:num_requests_running 4 1700000000000\n", Sample(running=4, worked=0, counts=False)),
        (ANY, VLLM, Sample(running=3, worked=1540, waiting=6, kv=0.75)),
        (ANY, LLAMA, Sample(running=1, worked=60, waiting=7)),
        (ANY, "http_requests_total 7\n", None),
    ],
)
def test_work_is_read_from_metrics(metrics: WorkMetrics, text: str, sample: Sample | None) -> None:
    assert metrics.read(text) == sample


def test_an_engine_stands_still_from_when_its_counters_moved_last() -> None:
    watch = Watch().see(Sample(1, 10), 100.0)
    assert watch.standing(130.0) == 30.0
    assert watch.see(Sample(1, 10), 130.0).standing(131.0) == 31.0
    assert watch.see(Sample(1, 11), 130.0).standing(131.0) == 1.0
    assert watch.see(Sample(1, 3), 130.0).standing(131.0) == 1.0, "its counters began anew"


def test_an_engine_that_counts_nothing_never_hangs() -> None:
    watch = Watch().see(Sample(1, 10), 100.0).see(Sample(1, 0, counts=False), 200.0)
    assert watch.standing(1000.0) == 0.0


def test_an_idle_engine_never_hangs() -> None:
    watch = Watch()
    for now in range(0, 1000, 10):
        watch = watch.see(Sample(0, 10), float(now))
        assert watch.standing(now) == 0.0
    assert watch.see(Sample(1, 10), 1000.0).standing(1000.0) == 10.0


def test_before_the_first_sample_nothing_is_known() -> None:
    assert Watch().standing(1e9) == 0.0


class Working(FakeBackend):
    """A fake engine whose metrics are looked at."""

    def launch(self, *given: object) -> Launch:
        return evolve(super().launch(*given), work=WORK)  # type: ignore[arg-type]


@pytest.fixture
def quick(host: EngineHost, monkeypatch: pytest.MonkeyPatch) -> EngineHost:
    monkeypatch.setattr(engine_life, "backend_named", lambda _: Working())
    return altered(host, health=HealthPolicy(interval=0.1, work_interval=0.05, hung=0.5))


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_hung_engine_is_replaced_although_its_health_is_good(quick: EngineHost, folder: Path) -> None:
    stall = folder / "stall"
    order = ReplicaOrder(ReplicaKey("m:fake", 1, 1), "m", "fake", f"--stall-file {stall}")
    async with TestSystem() as system:
        _, probe = await start(system, order, quick)
        first = await report_of(probe, ReplicaState.READY)
        stall.touch()
        with post(first.address, {"prompt": "a b c"}):
            down = await report_of(probe, ReplicaState.STARTING)
            assert down.reason.startswith("it hangs: it works on 1 requests and got on with none for ")
        stall.unlink()
        second = await report_of(probe, ReplicaState.READY)
        assert second.pid != first.pid


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_slow_engine_is_left_in_peace(quick: EngineHost) -> None:
    order = ReplicaOrder(ReplicaKey("m:fake", 1, 1), "m", "fake", "--rate 5")
    async with TestSystem() as system:
        _, probe = await start(system, order, quick)
        first = await report_of(probe, ReplicaState.READY)
        with post(first.address, {"prompt": "a b c d e f"}) as asking:
            while asking.poll() is None:
                await probe.expect_nothing()
                await anyio.sleep(0.05)
            assert asking.stdout is not None
            assert "a b c d e f" in await anyio.to_thread.run_sync(asking.stdout.read)
        await probe.expect_nothing()
