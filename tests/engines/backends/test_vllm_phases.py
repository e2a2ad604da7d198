"""What vLLM's own log lines say of a start. The lines are from real starts of vLLM 0.32."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engines.kit import until

from sllm_actors.engines.backends.vllm_phases import phase_of
from sllm_actors.engines.replica.startup_phase import StartupPhases, follow_phases

LOG = """\
---- attempt 1 of smol:vllm@1.0
Triton is installed, but doesn't include CPU backend. Disabling Triton.
(APIServer pid=1) INFO 11-24 08:22:22 [api_utils.py:286] non-default args: {'uds': '/x.sock'}
(EngineCore pid=2) INFO 11-24 08:22:38 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: m
(Worker pid=3) INFO 11-24 08:22:46 [cpu_model_runner.py:68] Starting to load model /m...
\rLoading safetensors checkpoint shards:   0% Completed | 0/4 [00:00<?, ?it/s]\
\rLoading safetensors checkpoint shards:  50% Completed | 2/4 [00:01<00:00,  1.29s/it]
(Worker pid=3) INFO 11-24 08:22:48 [default_loader.py:501] Loading weights took 1.30 seconds
(EngineCore pid=2) INFO 11-24 08:22:50 [backends.py:1167] Dynamo bytecode transform time: 3.11 s
(EngineCore pid=2) INFO 11-24 08:22:49 [kv_cache_utils.py:2327] CPU KV cache size: 46,592 tokens, Maximum
Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):  40%|####      | 2/5 [00:00<00:00, 10.0it/s]
(EngineCore pid=2) INFO 11-24 08:22:53 [core.py:402] init engine (profile, create kv cache, warmup model) took
"""
PHASES = [
    "importing vLLM",
    "reading the model's configuration",
    "starting the engine's processes",
    "loading the weights",
    "loading the weights: 0 % (0 of 4 files)",
    "loading the weights: 50 % (2 of 4 files)",
    "preparing the weights",
    "compiling",
    "warming up",
    "capturing CUDA graphs: 40 %",
    "opening the API",
]


def test_each_phase_is_told_in_order() -> None:
    phases = StartupPhases(phase_of)
    assert [phase for character in LOG if (phase := phases.feed(character))] == PHASES


def test_of_several_phases_at_once_the_last_counts() -> None:
    assert StartupPhases(phase_of).feed(LOG) == "opening the API"
    assert StartupPhases(phase_of).feed("nothing that it knows\n") == ""


@given(st.lists(st.integers(0, len(LOG))))
def test_the_same_log_in_any_pieces_ends_in_the_same_phase(cuts: list[int]) -> None:
    phases = StartupPhases(phase_of)
    edges = [0, *sorted(cuts), len(LOG)]
    told = [phases.feed(LOG[a:b]) for a, b in pairwise(edges)]
    assert [phase for phase in told if phase][-1] == "opening the API"


def test_a_line_that_never_ends_takes_no_memory() -> None:
    phases = StartupPhases(phase_of)
    for _ in range(100):
        phases.feed("x" * 10_000)
    assert phases.feed("\n" + LOG) == "opening the API"
    assert len(phases._rest) <= 1000


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_log_is_followed_while_it_grows_from_where_this_engine_life_begins(folder: Path) -> None:
    file = folder / f"{0:020}.log"
    old = "Starting to load model\n"
    file.write_text(old)
    said: list[str] = []
    async with anyio.create_task_group() as group:
        group.start_soon(follow_phases, folder, len(old), phase_of, said.append)
        with file.open("a") as log:
            log.write("---- attempt 2\n")
            log.flush()
            await until(lambda: said == ["importing vLLM"])
            log.write("---- attempt 2\nLoading weights took")
            log.flush()
            await anyio.sleep(0.3)
            assert said == ["importing vLLM"]
            log.write(" 1 s\n")
            log.flush()
            await until(lambda: said == ["importing vLLM", "preparing the weights"])
        group.cancel_scope.cancel()
