"""The actor benchmark runs as it stands, and writes what it promises."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.actor_suite.measures import MEASURES
from bench.actor_suite.subjects import LOOPS, Subject
from bench.harness.results import read

from .program import bench

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


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "results.json"
    done = bench("run", "actors", "--quick", "--no-peers", "--json", str(path))
    assert done.returncode == 0, done.stderr
    assert "remote_ask_64_s" in done.stdout
    assert "bulk_p99_us ≤ 5 x idle_p99_us" in done.stdout
    return path


@pytest.mark.slow
def test_the_results_have_the_promised_figures_for_every_loop(results: Path) -> None:
    found = read(results)
    assert found.machine["cores"] >= 1
    assert set(found.subjects) == set(LOOPS)
    assert found.errors == {}
    assert found.basis == "uvloop"
    for subject in found.subjects.values():
        assert subject.ours
        assert set(subject.figures) >= PROMISED
        assert set(subject.figures) <= set(MEASURES)
        assert all(value > 0 for name, value in subject.medians().items() if name != "bulk_mb_s")


@pytest.mark.slow
def test_the_results_say_under_what_conditions_they_were_measured(results: Path) -> None:
    found = read(results)
    command = found.conditions["command"]
    assert command.startswith("python -m bench run actors --quick --no-peers")
    assert len(found.conditions["load_before"]) == 3
    assert found.subjects["uvloop"].cpu_s > 0
    assert found.subjects["uvloop"].peak_mib > 10


@pytest.mark.slow
def test_results_compared_with_themselves_have_not_changed(results: Path) -> None:
    done = bench("compare", str(results), str(results), "--fail-on-worse")
    assert done.returncode == 0, done.stderr
    assert "no difference that the spread allows" in done.stdout
    assert "slower" not in done.stdout


def test_a_peer_whose_package_has_another_name_tells_its_version(tmp_path: Path) -> None:
    (tmp_path / "lib/python3.11/site-packages/torchmonarch-0.7.0.dist-info").mkdir(parents=True)
    python = tmp_path / "bin" / "python"
    peer = Subject("monarch", False, ("remote",), python, "bench.peers.on_monarch", package="torchmonarch")
    assert peer.version == "0.7.0"
    assert not peer.installed
