"""Whole clusters on a clock that jumps: what must hold under seeded faults, and that a seed is a run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .simulation import simulate

pytestmark = pytest.mark.allow_blocking
ROOT = Path(__file__).parent.parent.parent

NAMED = os.environ.get("SLLM_SIM_SEED", "")
SEEDS = [int(NAMED)] if NAMED else [3, 4, 5, 6, 7, 9, 10, 11, 12, 14]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cluster_keeps_its_promises_under_faults(seed: int) -> None:
    summary = simulate(seed)
    lines = "\n".join(summary.tail)
    assert summary.violations == [], f"{lines}\nSLLM_SIM_SEED={seed}"
    assert summary.counts["received"] > 20, "nothing happened"


def test_a_seed_is_the_same_run_in_any_process() -> None:
    hashes = {simulate(3).hash}
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", "from tests.sim.simulation import simulate; print(simulate(3).hash)"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        )
        hashes.add(done.stdout.strip())
    assert len(hashes) == 1
    assert simulate(4).hash not in hashes
