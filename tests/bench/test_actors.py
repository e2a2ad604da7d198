"""The actor benchmark runs as it stands, and writes what it promises."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bench.actor_suite.measures import MEASURES
from bench.actor_suite.subjects import LOOPS

ROOT = Path(__file__).parents[2]

PROMISED = {
    "local_tell_s",
    "local_ask_s",
    "remote_ask_s",
    "remote_ask_64_s",
    "idle_p99_us",
    "bulk_p99_us",
    "actor_bytes",
    "spawn_100k_s",
}


def bench(script: str, *arguments: str, timeout: float = 280) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "bench" / script), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "results.json"
    done = bench("actors.py", "--quick", "--no-peers", "--json", str(path))
    assert done.returncode == 0, done.stderr
    assert "remote_ask_64_s" in done.stdout
    assert "bulk_p99_us ≤ 5 x idle_p99_us" in done.stdout
    return path


@pytest.mark.slow
def test_the_results_have_the_promised_figures_for_every_loop(results: Path) -> None:
    content = json.loads(results.read_text())
    assert content["machine"]["cores"] >= 1
    assert set(content["ours"]) == set(LOOPS)
    assert content["peers"] == {}
    assert content["errors"] == {}
    for figures in content["ours"].values():
        assert set(figures) >= PROMISED
        assert set(figures) <= set(MEASURES)
        assert all(value > 0 for name, value in figures.items() if name != "bulk_mb_s")


@pytest.mark.slow
def test_the_results_say_under_what_conditions_they_were_measured(results: Path) -> None:
    conditions = json.loads(results.read_text())["conditions"]
    assert conditions["command"].startswith("python bench/actors.py --quick --no-peers")
    assert len(conditions["load_before"]) == 3
    assert conditions["cpu_seconds"]["uvloop"] > 0


@pytest.mark.slow
def test_results_compared_with_themselves_have_not_changed(results: Path) -> None:
    done = bench("compare.py", str(results), str(results), "--fail-on-worse")
    assert done.returncode == 0, done.stderr
    assert "same" in done.stdout
    assert "worse" not in done.stdout


@pytest.mark.parametrize(
    "file", sorted((ROOT / "bench" / "results").glob("*.json")), ids=lambda file: file.stem
)
def test_what_is_published_can_be_shown_again(file: Path) -> None:
    done = bench("show.py", str(file), "--markdown")
    assert done.returncode == 0, done.stderr
    assert "| " in done.stdout


def test_starts_cannot_be_compared_figure_by_figure(tmp_path: Path) -> None:
    file = str(ROOT / "bench" / "results" / "cold_start_vllm.json")
    done = bench("compare.py", file, file)
    assert done.returncode == 1
    assert "cannot be compared" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_no_result_gets_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    done = bench("compare.py", str(tmp_path / "x.json"), str(tmp_path / "x.json"))
    assert done.returncode == 1
    assert done.stderr.strip().endswith("x.json is not a result file: run a benchmark with --json")
