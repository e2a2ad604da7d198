"""The benchmark of starts: where its phases come from, and that it runs with a real engine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from bench.cold_suite.bare import Bare, Program
from bench.cold_suite.cluster import Cluster, ClusterFailed
from bench.cold_suite.from_zero import FromZero, beside_bare, beside_forked
from bench.cold_suite.phases import LogWatch, Seen, phases
from bench.cold_suite.report import missed, tables
from bench.cold_suite.start import Start
from bench.cold_suite.vllm import summary, typical
from bench.harness.results import read
from bench.harness.tables import show
from tests.serving.picture.world import World
from tests.serving.views.kit import described, only_key

from sllm_actors.engines.messages import ReplicaState

ROOT = Path(__file__).parents[2]


def phase_of(line: str) -> str:
    return line.removeprefix("now ") if line.startswith("now ") else ""


def test_the_phases_of_a_start_add_up_to_the_whole() -> None:
    lines = [
        Seen(11, "now importing"),
        Seen(12, "noise"),
        Seen(14, "now loading: 10 %"),
        Seen(15, "now loading: 90 %"),
        Seen(16, "now importing"),
        Seen(19, "now answering"),
    ]
    shares = phases(lines, phase_of, began=10, ready=18, ended=18.5)
    assert shares == {
        "deciding, placing, launching": 1,
        "importing": 3 + 2,
        "loading": 2,
        "first token": 0.5,
    }
    assert sum(shares.values()) == 8.5


def test_a_start_that_logs_nothing_is_one_phase() -> None:
    assert phases([], phase_of, began=0, ready=2, ended=3) == {
        "deciding, placing, launching": 2,
        "first token": 1,
    }


def test_a_deployment_that_failed_ends_the_benchmark_with_the_reason(tmp_path: Path) -> None:
    world = World()
    world.worker("w1")
    known = world.deploy("m")
    world.say("w1", only_key(known), ReplicaState.FAILED, reason="no such weights")
    shown = described(world, known)
    answers = httpx2.MockTransport(lambda _: httpx2.Response(200, json=shown))
    with httpx2.Client(transport=answers, base_url="http://cluster") as http:
        cluster = Cluster(tmp_path, "http://cluster", http)
        with pytest.raises(ClusterFailed, match=r"m:command failed: .*no such weights"):
            cluster.wait_ready("m:command", within=5)


def test_only_lines_that_come_while_it_looks_are_seen(tmp_path: Path) -> None:
    log = tmp_path / "a"
    log.mkdir()
    part = log / "0.log"
    part.write_text("before\n")
    with LogWatch(tmp_path) as watch, part.open("a") as file:
        file.write("half a ")
        file.flush()
        file.write("line\rand another\nan unfinished one")
    assert [seen.line for seen in watch.lines] == ["half a line", "and another"]


def test_a_typical_start_has_the_median_of_each_phase() -> None:
    starts = [
        Start(0, 0, 0, {"a": a, **more}) for a, more in ((1.0, {}), (5.0, {"b": 2.0}), (2.0, {"b": 4.0}))
    ]
    assert typical(starts) == {"a": 2.0, "b": 2.0}


def start_of(seconds: float, cpu: float, tokens: float = 100.0) -> Start:
    return Start(seconds - 0.1, seconds, tokens, {"importing": seconds / 2}, cpu)


def test_the_first_start_on_a_fresh_worker_is_compared_with_a_plain_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = summary(
        {
            "plain": [start_of(20.0, 30.0), start_of(22.0, 32.0), start_of(21.0, 31.0)],
            "fresh": [start_of(8.0, 10.0), start_of(9.0, 12.0), start_of(8.4, 11.0)],
            "forked": [start_of(2.0, 3.0), start_of(2.5, 3.5, 98.0), start_of(2.0, 3.0, 97.0)],
        }
    )
    assert content["ratio"] == 10.5
    assert content["fresh_share"] == 0.4
    assert content["fresh_s"] == [8.0, 9.0, 8.4]
    assert content["cpu_s"]["fresh"] == [10.0, 12.0, 11.0]
    show(*tables(content))
    shown = capsys.readouterr().out
    for text in ("first on a fresh worker", "0.40", "10.5", "0.98", "where they go: forked", "11.0"):
        assert text in shown


def test_results_of_before_there_were_fresh_workers_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    content: dict[str, Any] = {
        "plain_s": [20.0, 22.0, 21.0],
        "forked_s": [2.0, 2.0, 2.5],
        "ratio": 10.5,
        "phases": {"plain": {"importing": 12.0}, "forked": {"importing": 0.5}},
        "tokens_s": {"plain": [100.0], "forked": [98.0]},
    }
    show(*tables(content))
    shown = capsys.readouterr().out
    assert "10.5" in shown
    assert "where they go: forked" in shown
    assert "fresh" not in shown


def zero_of(seconds: float) -> FromZero:
    return FromZero(seconds, process_s=0.03, ready_s=seconds - 0.1, cpu_s=0.5)


def test_what_an_engine_takes_by_hand_is_not_ours(capsys: pytest.CaptureFixture[str]) -> None:
    zeros = [zero_of(0.62), zero_of(0.95), zero_of(0.70)]
    bares = [Bare(0.5, 0.58), Bare(0.8, 0.90), Bare(0.5, 0.69)]
    content = {"from_zero": beside_bare(zeros, bares)}
    assert content["from_zero"]["ours_s"] == 0.04
    assert content["from_zero"]["median_s"] == 0.7
    assert content["from_zero"]["bare_first_token_s"] == [0.58, 0.90, 0.69]
    assert missed(content) == []
    show(*tables(content))
    shown = capsys.readouterr().out
    assert "the engine by hand, until first token" in shown
    assert "0.040" in shown


def test_a_request_that_waits_for_us_for_too_long_is_found() -> None:
    content = {"from_zero": beside_bare([zero_of(1.25)], [Bare(1.1, 1.15)])}
    assert missed(content) == [
        "seconds from the request to its first token: 1.25 is more than 1.2",
        "of them ours: 0.1 is more than 0.05",
    ]


def test_a_request_for_vllm_is_compared_with_the_deploy_of_its_round(
    capsys: pytest.CaptureFixture[str],
) -> None:
    zeros = [zero_of(4.1), zero_of(6.0), zero_of(4.4)]
    content = {
        "from_zero": beside_forked(zeros, [start_of(4.0, 5.0), start_of(6.0, 5.0), start_of(4.0, 5.0)])
    }
    assert content["from_zero"]["ratio"] == 1.025
    assert missed(content) == []
    show(*tables(content))
    assert "forked by a deploy, until first token" in capsys.readouterr().out
    slow = {"from_zero": beside_forked([zero_of(4.4)], [start_of(4.0, 5.0)])}
    assert missed(slow) == ["from the request / from a deploy: 1.1 is more than 1.05"]


def test_an_engine_by_hand_shares_no_file_with_the_one_of_the_cluster(tmp_path: Path) -> None:
    argv = ("python", "serve.py", '{"socket": "/run/e.sock", "model": "/models/e"}')
    env = {"TMPDIR": "/run/t/e", "SLLM_ENGINE": "e.sock"}
    moved = Program(argv, env, "/", "/run/e.sock", "/run/t/e").moved(tmp_path)
    assert moved.argv[2] == f'{{"socket": "{tmp_path}/engine.sock", "model": "/models/e"}}'
    assert moved.env["TMPDIR"] == moved.tmpdir == f"{tmp_path}/tmp"
    assert moved.socket == f"{tmp_path}/engine.sock"


@pytest.mark.slow
@pytest.mark.allow_blocking
def test_a_request_for_a_model_at_rest_is_measured_beside_the_engine_by_hand(tmp_path: Path) -> None:
    file = tmp_path / "zero.json"
    program = [sys.executable, str(ROOT / "bench" / "cold_start.py"), "--backend", "llamacpp"]
    measured = subprocess.run(
        [*program, "--from-zero", "--rounds", "1", "--json", str(file)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert measured.returncode == 0, measured.stderr
    figures = read(file)["from_zero"]
    (process,), (ready,), (first_token,) = (
        figures[name] for name in ("process_s", "ready_s", "first_token_s")
    )
    assert 0 < process < ready < first_token == pytest.approx(figures["median_s"], abs=0.001)
    assert 0 < figures["bare_ready_s"][0] < figures["bare_first_token_s"][0]
    assert "of them ours" in measured.stdout
    alone = subprocess.run([*program, "--check"], capture_output=True, text=True, timeout=60, check=False)
    assert alone.returncode == 2
    assert "--check judges what --from-zero measures: give both" in alone.stderr


@pytest.mark.slow
@pytest.mark.allow_blocking
def test_llamacpp_is_measured_through_a_real_cluster(tmp_path: Path) -> None:
    file = tmp_path / "cold.json"
    done = subprocess.run(
        [
            *(sys.executable, str(ROOT / "bench" / "cold_start.py")),
            *("--backend", "llamacpp", "--rounds", "1", "--json", str(file)),
        ],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    content = read(file)
    assert content["machine"]["cores"] >= 1
    assert set(content["machine"]["versions"]) == {"sllm-actors", "xllamacpp"}
    assert len(content["plain_s"]) == 1
    assert 0 < content["ready_s"][0] < content["plain_s"][0] == content["median_s"]
    assert "from deploy to the first token" in done.stdout
