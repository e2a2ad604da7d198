"""Whole clusters on a clock that jumps: what must hold under seeded faults, and that a seed is a run.

``SLLM_SIM_SEEDS=n`` says how many seeds are run, ``SLLM_SIM_SEED=n`` runs that seed alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from .ledger import Summary
from .simulation import simulate
from .subjects import ACTORS, SUBJECTS
from .sweep import Sweep, keep, regressions, run_seed

pytestmark = [
    pytest.mark.allow_blocking,  # it waits for other processes
    pytest.mark.timeout(600),  # whichever batch comes first may wait for all
    pytest.mark.slow,
]
ROOT = Path(__file__).parent.parent.parent
BATCH = 25
BATCHES = -(-int(os.environ.get("SLLM_SIM_SEEDS", "50")) // BATCH)
NAMED = os.environ.get("SLLM_SIM_SEED", "")
REGRESSIONS = regressions(SUBJECTS[ACTORS].regressions)

Runs = dict[int, Future[Summary]]


@pytest.fixture(scope="module")
def runs() -> Iterator[Runs]:
    """All seeds, under way in as many processes as there are cores."""
    seeds = range(1, BATCHES * BATCH + 1)
    with Sweep() as sweep:
        yield {seed: sweep.submit(seed) for seed in [*REGRESSIONS, *seeds]}


@pytest.mark.skipif(NAMED != "", reason="SLLM_SIM_SEED names one seed")
@pytest.mark.parametrize("batch", range(BATCHES))
def test_clusters_keep_their_promises_under_faults(batch: int, runs: Runs) -> None:
    for seed in range(batch * BATCH + 1, (batch + 1) * BATCH + 1):
        judge(runs[seed].result())


@pytest.mark.skipif(NAMED != "", reason="SLLM_SIM_SEED names one seed")
@pytest.mark.parametrize("seed", REGRESSIONS)
def test_what_once_failed_is_kept(seed: int, runs: Runs) -> None:
    judge(runs[seed].result())


def test_a_seed_that_fails_is_kept_once(tmp_path: Path) -> None:
    kept = tmp_path / "regressions.txt"
    kept.write_text("# seeds\n7      an earlier one\n")
    for seed in (7, 12, 12):
        keep(Summary(seed, "", [f"I1 at 0.5: message {seed} came twice", "more"]), kept)
    assert regressions(kept) == [7, 12]
    assert kept.read_text().endswith("12     I1 at 0.5: message 12 came twice\n")


@pytest.mark.skipif(NAMED == "", reason="SLLM_SIM_SEED names no seed")
def test_the_named_seed() -> None:
    judge(run_seed(int(NAMED)))


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


def judge(summary: Summary) -> None:
    lines = "\n".join([*summary.tail, *summary.violations])
    assert summary.violations == [], f"{lines}\nagain: SLLM_SIM_SEED={summary.seed} pytest tests/sim"
    assert summary.counts["received"] > 20, f"nothing happened in seed {summary.seed}"
