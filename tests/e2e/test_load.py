"""``sllm bench serve`` before a whole cluster with a real model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .cluster import DEMO, Cluster, eventually
from .commands import sllm

pytestmark = pytest.mark.allow_blocking


def test_a_real_engine_is_measured_and_nothing_is_left_in_flight(cluster: Cluster, tmp_path: Path) -> None:
    result = tmp_path / "out.json"
    load = (
        "--clients",
        "2",
        "--requests",
        "6",
        "--input-tokens",
        "24",
        "--output-tokens",
        "8",
        "--ignore-eos",
    )
    ended = sllm(cluster, "bench", "serve", "--model", DEMO, *load, "--turns", "2", "--json", str(result))
    assert ended.returncode == 0, ended.stderr
    found = json.loads(result.read_text())
    assert found["requests"] == {"ended": 12, "answered": 12, "failed": 0, "hung_up": 0, "interrupted": 0}
    # The engine's own counts: it made eight tokens for each, and prompts have about as many as was asked for.
    assert found["tokens"]["output"] == 12 * 8
    assert 12 * 24 < found["tokens"]["input"] < 12 * 150
    latency = found["latency_ms"]
    assert (latency["ttft"]["count"], latency["tpot"]["count"], latency["e2e"]["count"]) == (12, 12, 12)
    assert 0 < latency["ttft"]["p50"] < latency["e2e"]["p50"]


def test_clients_that_hang_up_cancel_the_work_of_the_engine(cluster: Cluster, tmp_path: Path) -> None:
    result = tmp_path / "out.json"
    load = ("--clients", "4", "--requests", "8", "--output-tokens", "4000", "--ignore-eos", "--hang-up", "1")
    ended = sllm(cluster, "bench", "serve", "--model", DEMO, *load, "--json", str(result))
    assert ended.returncode == 0, ended.stderr
    assert json.loads(result.read_text())["requests"]["hung_up"] == 8
    eventually(lambda: cluster.described()["in_flight"] == 0, what="nothing is in flight")
