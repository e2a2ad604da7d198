"""Which inventory the head is told of."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from sllm_actors.engines.messages import ForkServerReport, ForkServerState
from sllm_actors.models.eviction import CachedModel
from sllm_actors.serving.messages import Gpu, Inventory
from sllm_actors.serving.worker.stock import has_more_engines, is_news

GPU = Gpu("gpu-1", "H100", memory_total=1000, memory_free=500)
SERVER = ForkServerReport("vllm", ForkServerState.READY, memory=100)
STOCK = Inventory(name="w", gpus=(GPU,), cpus=8, memory_total=1000, memory_free=500, fork_servers=(SERVER,))


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"memory_free": 550},
        {"memory_free": 450},
        {"gpus": (evolve(GPU, memory_free=450),)},
        {"fork_servers": (evolve(SERVER, memory=900),)},
    ],
)
def test_a_little_more_or_less_memory_is_no_news(change: dict[str, Any]) -> None:
    assert not is_news(STOCK, evolve(STOCK, **change))


@pytest.mark.parametrize(
    "change",
    [
        {"memory_free": 551},
        {"memory_free": 449},
        {"gpus": (evolve(GPU, memory_free=449),)},
        {"gpus": (evolve(GPU, stuck=True),)},
        {"gpus": ()},
        {"fork_servers": (evolve(SERVER, state=ForkServerState.FAILED),)},
        {"models": (CachedModel("hf:a/b", 3),)},
        {"cpus": 4},
        {"labels": {"zone": "b"}},
    ],
)
def test_everything_else_is(change: dict[str, Any]) -> None:
    assert is_news(STOCK, evolve(STOCK, **change))


def test_an_engine_that_is_installed_or_installed_anew_is_more_and_one_that_is_gone_is_not() -> None:
    assert not has_more_engines({}, {})
    assert not has_more_engines({}, {"vllm": None})
    assert has_more_engines({"vllm": None}, {"vllm": 1})
    assert has_more_engines({"vllm": 1}, {"vllm": 2})
    assert not has_more_engines({"vllm": 1}, {"vllm": 1})
    assert not has_more_engines({"vllm": 1}, {"vllm": None})
    assert not has_more_engines({"vllm": 1}, {})
