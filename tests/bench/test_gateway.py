"""The benchmark of the gateway runs as it stands, in small, and says what it promises."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from bench.gateway import draw
from bench.gateway_suite.measures import MAIN, OURS, REFERENCE, TUNNEL, Row, declare, derived, judge
from bench.gateway_suite.ours import elsewhere
from bench.gateway_suite.phases import Kind, Phase, request
from bench.gateway_suite.plan import PARTS, SYSTEMS, Plan
from bench.gateway_suite.system import SystemFailed, program, wait_for
from bench.harness.results import Results, Subject, read
from bench.harness.spread import Spread
from bench.peers.gateways import Peer, nginx_arguments, open_peer, peers

from .program import ROOT, bench

RUN = ("run", "gateway")

ROW = ("rps", "cpu_us_per_request", "cpu_us_per_chunk", "ttft_p50_ms", "ttft_p99_ms", "kib_per_stream")


@pytest.mark.slow
@pytest.mark.allow_blocking
def test_everybody_who_is_here_is_measured_in_one_run(tmp_path: Path) -> None:
    nginx = peers()["nginx"].executable is not None
    file = tmp_path / "gateway.json"
    small = (
        "--rounds",
        "1",
        "--seconds",
        "0.2",
        "--connections",
        "1,32",
        "--streams",
        "5",
        "--many",
        "20",
        "--hold",
        "2",
    )
    only = ("--burst", "10", "--only", "plain,streamed,steady,many-streams,burst")
    done = bench(*RUN, *small, *only, "--systems", "sllm,nginx,direct", "--json", str(file))
    assert done.returncode == 0, done.stderr
    results = read(file)
    rows = results.medians()
    assert set(rows) == {"sllm", "direct", *(["nginx"] if nginx else [])}
    for row in rows.values():
        assert all(row[figure] > 0 for figure in ROW if figure != "kib_per_stream")
        assert "kib_per_stream" in row  # of so few streams it says nothing
        assert row["errors"] == 0
        assert row["many_finished"] == 20
        assert row["burst_answered"] == 10
    if not nginx:
        assert results.errors["nginx"] == ["it is not installed: install the package nginx"]
    assert rows["sllm"]["worker_us_per_request"] > 0
    assert results.subjects["sllm"].version
    assert results.subjects["sllm"].cpu_s > 0
    assert results.subjects["sllm"].peak_mib > results.subjects["direct"].peak_mib
    shown = bench("show", str(file)).stdout
    for text in (*ROW, "plain_32_total_p99_ms", "kib_per_stream ≤ 40", "direct"):
        assert text in done.stdout
        assert text in shown


@pytest.mark.slow
@pytest.mark.allow_blocking
def test_a_worker_elsewhere_is_measured_through_its_tunnel(tmp_path: Path) -> None:
    try:
        elsewhere()
    except SystemFailed as failure:
        pytest.skip(str(failure))
    file = tmp_path / "gateway.json"
    small = ("--rounds", "1", "--seconds", "0.2", "--connections", "1,32", "--burst", "10")
    only = ("--only", "plain,burst", "--systems", "sllm-tunnel,direct")
    done = bench(*RUN, *small, *only, "--json", str(file))
    assert done.returncode == 0, done.stderr
    rows = read(file).medians()
    tunnel, direct = rows["sllm-tunnel"], rows["direct"]
    assert tunnel["errors"] == direct["errors"] == 0
    # Every byte passes through the worker: of a local engine it only reports.
    assert tunnel["worker_us_per_request"] > direct["cpu_us_per_request"]


@pytest.mark.slow
@pytest.mark.allow_blocking
def test_two_processes_share_the_work_and_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "gateway.json"
    done = bench(*RUN, "--rounds", "1", "--only", "processes", "--systems", "sllm", "--json", str(file))
    assert done.returncode == 0, done.stderr
    found = read(file).medians()["sllm"]
    assert found["processes_one_us"] > 0
    assert found["processes_least_share"] > 0
    assert found["processes_lost"] == 0
    assert "queued requests lost with a process: none" in done.stdout


@pytest.mark.slow
@pytest.mark.allow_blocking
def test_a_run_that_is_told_to_end_leaves_no_process_behind() -> None:
    command = [sys.executable, "-m", "bench", *RUN, "--systems", "direct", "--only", "plain"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        assert any("round 1" in line for line in running.stderr)
        family = psutil.Process(running.pid).children(recursive=True)
        running.terminate()
        assert running.wait(60) == 128 + signal.SIGTERM
    assert family
    assert psutil.wait_procs(family, timeout=20)[1] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--only", "plain,fast"), "there is no 'fast': there are plain, streamed, steady, many-streams"),
        (("--systems", "envoy"), "there is no 'envoy': there are sllm, sllm-tunnel, vllm-router, smg, nginx"),
        (("--connections", "1,none"), "'1,none' is not like 1,32,256"),
        (("--connections", "0"), "'0' is not like 1,32,256"),
    ],
)
def test_what_is_not_there_is_named(arguments: tuple[str, ...], sentence: str) -> None:
    done = bench(*RUN, *arguments)
    assert done.returncode == 2
    assert sentence in " ".join(done.stderr.replace("│", "").split())


# ---- requests, turns, verdicts


@pytest.mark.parametrize("kind", ["plain", "streamed", "steady", "many", "burst"])
def test_a_request_is_whole_and_names_what_the_engine_is_to_do(kind: Kind) -> None:
    sent = request(Phase(kind, 3, 2.0), port=1, key="k", model="m")
    head, _, body = sent.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"Authorization: Bearer k" in head
    said = json.loads(body)
    assert said["model"] == "m"
    assert said.get("stream", False) is (kind not in ("plain", "burst"))
    wanted = {"many": "2 tokens 1000 ms apart", "burst": "wait 500 ms"}
    assert wanted.get(kind, "") in said["messages"][-1]["content"]


def plan(**changes: Any) -> Plan:
    usual: dict[str, Any] = {
        "systems": SYSTEMS,
        "parts": PARTS,
        "connections": (1, 32),
        "rounds": 9,
        "seconds": 1.0,
        "streams": 200,
        "many": 5000,
        "hold": 15.0,
        "burst": 1000,
    }
    return Plan(**{**usual, **changes})


def test_a_plan_has_the_phases_of_its_parts() -> None:
    assert [phase.name for phase in plan().once()] == ["many", "burst"]
    assert [phase.name for phase in plan().each_round()] == [
        *("plain_1", "plain_32", "streamed_1", "streamed_32", "steady"),
    ]
    assert plan(parts=("processes",)).once() == plan(parts=("processes",)).each_round() == []
    started = ["sllm", "ray-serve", "litellm"]
    assert [(names, phases[0].name, rounds) for names, phases, rounds in plan().turns(started)] == [
        (["sllm"], "many", 1),
        (started, "plain_1", 9),
        (["ray-serve", "litellm"], "many", 1),
    ]
    assert [names for names, _, _ in plan(parts=("burst",)).turns(["smg"])] == [["smg"]]
    assert (plan().rounds_of("smg"), plan().rounds_of("litellm"), plan(rounds=1).rounds_of("smg")) == (
        9,
        1,
        1,
    )


def test_the_main_figures_are_those_of_their_phases() -> None:
    figures = {
        "plain_32_rps": [5.0, 7.0],
        "plain_1_rps": [1.0],
        "streamed_1_ttft_p50_ms": [2.0],
        "steady_gateway_us": [3.0],
    }
    main = {"rps": [5.0, 7.0], "ttft_p50_ms": [2.0], "cpu_us_per_chunk": [3.0], "errors": [0.0]}
    assert derived(figures) == {**main, **figures}
    assert derived({}) == {}


def test_errors_of_all_rounds_and_phases_are_added_up() -> None:
    found = derived({"plain_32_errors": [0.0, 2.0, 1.0], "steady_errors": [1.0, 1.0, 1.0]})
    assert found == {"errors": [6.0], "plain_32_errors": [3.0], "steady_errors": [3.0]}


def verdict(target: str, **rows: Row) -> tuple[float | None, bool | None]:
    names = {"ours": OURS, "tunnel": TUNNEL, "theirs": REFERENCE, "smg": "smg"}
    found = judge({names[each]: row for each, row in rows.items()})
    (one,) = (each for each in found if each.target == target)
    return one.found, one.met


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert {(each.found, each.met) for each in judge({})} == {(None, None)}


@pytest.mark.parametrize(
    ("target", "ours", "theirs", "found", "met"),
    [
        ("rps ≥ 1.25 x vllm-router", {"rps": 125.0}, {"rps": 100.0}, 1.25, True),
        ("rps ≥ 1.25 x vllm-router", {"rps": 124.0}, {"rps": 100.0}, 1.24, False),
        (
            "cpu_us_per_chunk ≤ 0.9 x vllm-router",
            {"cpu_us_per_chunk": 9.1},
            {"cpu_us_per_chunk": 10.0},
            0.91,
            False,
        ),
        ("ttft_p50_ms - vllm-router's ≤ 0.05", {"ttft_p50_ms": 0.25}, {"ttft_p50_ms": 0.125}, 0.125, False),
        ("ttft_p50_ms - vllm-router's ≤ 0.05", {"ttft_p50_ms": 0.125}, {"ttft_p50_ms": 0.25}, -0.125, True),
        ("kib_per_stream ≤ 40", {"kib_per_stream": 41.0}, {}, 41.0, False),
        ("two processes: the lesser share ≥ 0.35", {"processes_least_share": 0.4}, {}, 0.4, True),
        ("queued requests lost with a process: none", {"processes_lost": 1.0}, {}, 1.0, False),
    ],
)
def test_our_figures_are_held_against_the_targets(
    target: str, ours: Row, theirs: Row, found: float, met: bool
) -> None:
    value, is_met = verdict(target, ours=ours, theirs=theirs)
    assert value == pytest.approx(found)
    assert is_met is met


def test_the_tunnel_is_held_against_our_own_local_figure() -> None:
    target = "through a tunnel: cpu_us_per_request ≤ 2 x local"
    assert verdict(target, ours={"cpu_us_per_request": 10.0}, tunnel={"cpu_us_per_request": 21.0}) == (
        2.1,
        False,
    )


def test_less_is_better_than_smg_where_less_is_good() -> None:
    assert verdict("rps: better than smg", ours={"rps": 2.0}, smg={"rps": 1.0}) == (2.0, True)
    assert verdict("ttft_p50_ms: better than smg", ours={"ttft_p50_ms": 2.0}, smg={"ttft_p50_ms": 1.0}) == (
        0.5,
        False,
    )


def test_every_main_figure_is_declared() -> None:
    assert set(declare(MAIN)) == set(MAIN)
    assert declare(["something_else"]) == {}


@pytest.mark.slow
def test_a_result_is_drawn(tmp_path: Path) -> None:
    subjects = {
        name: Subject({"rps": Spread.of([10.0]), "cpu_us_per_chunk": Spread.of([3.0])})
        for name in ("sllm", "smg")
    }
    results = Results("gateway", {"model": "m", "cores": 2}, {}, MAIN, subjects)
    path = tmp_path / "new" / "plot.png"
    draw(results, path)
    assert path.read_bytes().startswith(b"\x89PNG")


# ---- programs of others


def test_a_peer_that_is_not_installed_is_left_out_with_a_sentence(tmp_path: Path) -> None:
    absent = Peer("nginx", None, "install the package nginx", nginx_arguments)
    with (
        pytest.raises(SystemFailed, match="it is not installed: install the package nginx"),
        open_peer(absent, 1, tmp_path),
    ):
        pass


def test_a_program_that_ends_is_told_with_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", "raise SystemExit('no such setting')"]
    with program(command, log) as process, pytest.raises(SystemFailed, match="status 1: no such setting"):
        wait_for(lambda: None, process, log, within=60, what="it serves")


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(SystemFailed, match="gone could not be started: No such file"),
        program([str(tmp_path / "gone")], tmp_path / "log"),
    ):
        pass
