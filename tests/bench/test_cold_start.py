"""The benchmark of starts: where its phases come from, and that it runs with a real engine."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest
from bench.cold_suite.bare import Bare, Program
from bench.cold_suite.cluster import Cluster, ClusterFailed
from bench.cold_suite.from_zero import FromZero, beside_bare, beside_forked
from bench.cold_suite.measures import (
    BY_HAND,
    FORKED,
    FRESH,
    PLAIN,
    REQUEST,
    judge_llamacpp_from_zero,
    judge_vllm,
    judge_vllm_from_zero,
    measures,
)
from bench.cold_suite.phases import LogWatch, Seen, phases
from bench.cold_suite.start import Start
from bench.harness.results import read
from tests.serving.picture.world import World
from tests.serving.views.kit import described, only_key

from sllm_actors.engines.messages import ReplicaState

from .program import bench


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


def start_of(seconds: float, cpu: float, tokens: float = 100.0) -> Start:
    return Start(seconds - 0.1, seconds, tokens, {"importing": seconds / 2}, cpu)


def test_a_start_has_a_figure_for_each_phase() -> None:
    figures = start_of(20.0, 30.0).figures()
    assert figures == {
        "ready_s": 19.9,
        "first_token_s": 20.0,
        "cpu_s": 30.0,
        "tokens_s": 100.0,
        "phase: importing": 10.0,
    }
    assert measures(figures)["phase: importing"].text == "importing"
    assert "tokens_s" not in start_of(1.0, 1.0, tokens=0.0).figures()


def test_the_first_start_on_a_fresh_worker_is_compared_with_a_plain_one() -> None:
    plain, fresh, forked = (start_of(*each).figures() for each in ((21, 31), (8.4, 11), (2, 3, 97)))
    judged = judge_vllm({PLAIN: plain, FRESH: fresh, FORKED: forked})
    assert [(each.found, each.met) for each in judged] == [(10.5, True), (0.4, True), (0.97, True)]
    assert len(judge_vllm({PLAIN: plain, FORKED: forked})) == 2, "before there were fresh workers"


def zero_of(seconds: float) -> FromZero:
    return FromZero(seconds, process_s=0.03, ready_s=seconds - 0.1, cpu_s=0.5)


def test_what_an_engine_takes_by_hand_is_not_ours() -> None:
    figures = beside_bare(zero_of(0.62), Bare(0.5, 0.58))
    assert figures["ours_s"] == pytest.approx(0.04)
    assert figures["process_s"] == 0.03
    assert [each.met for each in judge_llamacpp_from_zero({REQUEST: figures})] == [True, True]


def test_a_request_that_waits_for_us_for_too_long_is_found() -> None:
    figures = beside_bare(zero_of(1.25), Bare(1.1, 1.15))
    assert [each.met for each in judge_llamacpp_from_zero({REQUEST: figures})] == [False, False]


def test_a_request_for_vllm_is_compared_with_the_deploy_of_its_round() -> None:
    figures = beside_forked(zero_of(4.1), start_of(4.0, 5.0))
    (judged,) = judge_vllm_from_zero({REQUEST: figures})
    assert judged.found == pytest.approx(1.025)
    assert judged.met
    (judged,) = judge_vllm_from_zero({REQUEST: beside_forked(zero_of(4.4), start_of(4.0, 5.0))})
    assert not judged.met


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
    measured = bench("run", "from_zero_llamacpp", "--rounds", "1", "--json", str(file))
    assert measured.returncode == 0, measured.stderr
    found = read(file).medians()
    request, by_hand = found[REQUEST], found[BY_HAND]
    assert 0 < request["process_s"] < request["ready_s"] < request["first_token_s"]
    assert 0 < by_hand["ready_s"] < by_hand["first_token_s"]
    assert "of them ours" in measured.stdout


@pytest.mark.slow
@pytest.mark.allow_blocking
def test_llamacpp_is_measured_through_a_real_cluster(tmp_path: Path) -> None:
    file = tmp_path / "cold.json"
    done = bench("run", "cold_start_llamacpp", "--rounds", "1", "--json", str(file))
    assert done.returncode == 0, done.stderr
    found = read(file)
    assert found.machine["cores"] >= 1
    assert set(found.machine["versions"]) == {"sllm-actors", "xllamacpp"}
    start = found.medians()[PLAIN]
    assert 0 < start["ready_s"] < start["first_token_s"]
    assert found.subjects[PLAIN].figures["ready_s"].count == 1
    assert "from `sllm deploy` to the first token" in done.stdout
