"""The benchmark of the head runs as it stands, on a small cluster, and says what it promises."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from bench.control_suite.fleet import HeadFailed, open_fleet
from bench.control_suite.measures import LIMITS, MEASURES, broken, judge
from bench.control_suite.meter import Meter
from bench.control_suite.scenario import Load, measure
from bench.control_suite.size import Size
from bench.control_suite.wire import READ, Kind, Lane
from bench.harness.results import read

from sllm_actors.serving.deployment.document import read_document

from .program import bench

PROMISED = (
    *("step_p99_us", "place_p99_us", "events_s", "cpu_share", "loop_hold_max_ms", "status_ms"),
    *("scale_p99_ms", "demand_p99_us", "demand_s", "demand_cpu_share", "demand_hold_ms", "demand_status_ms"),
    *("rejoin_s", "adopt_s", "rss_mib", "growth"),
)

SMALL = (
    *("--workers", "4", "--gpus", "2", "--deployments", "10", "--replicas", "12", "--idle", "4"),
    *("--gateways", "2"),
)
SHORT = ("--rate", "20", "--seconds", "2", "--placements", "6")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": True}  # as both processes of the benchmark


@pytest.mark.slow
def test_a_small_cluster_is_measured_and_no_engine_is_touched(tmp_path: Path) -> None:
    file = tmp_path / "control.json"
    done = bench("run", "control_plane", *SMALL, *SHORT, "--json", str(file))
    assert done.returncode == 0, done.stderr
    found = read(file)
    assert found.machine["cores"] >= 1
    figures = found.medians()["head"]
    assert set(figures) == set(MEASURES)
    assert all(figures[name] > 0 for name in PROMISED)
    assert figures["placements"] >= 6
    assert figures["scaled"] == 4, "each idle deployment was started by its first request"
    untouched = (
        *("adopt_started", "adopt_stopped", "rejoin_started", "rejoin_stopped", "dead_letters"),
        "scale_missed",
    )
    assert {name: figures[name] for name in untouched} == dict.fromkeys(untouched, 0)
    shown = bench("show", str(file))
    assert "4 workers, 10 deployments, 12 replicas" in shown.stdout
    for text in (each.text for each in MEASURES.values()):
        assert text in done.stdout
        assert text in shown.stdout


@pytest.mark.slow
def test_a_check_fails_by_name_what_is_not_as_wanted(tmp_path: Path) -> None:
    done = bench("run", "control_plane", *SMALL, *SHORT, "--patience", "1", "--check")
    assert done.returncode == 1
    assert "head: the cluster did not settle within 1 s: " in done.stderr  # it has to be quiet for as long
    assert "error: not as wanted: one report of one replica, 99th percentile: ≤ 200 µs (not m" in done.stderr
    assert "not measured" in done.stdout


@pytest.mark.slow
def test_sizes_that_do_not_fit_together_are_refused() -> None:
    done = bench("run", "control_plane", "--deployments", "7", "--replicas", "4", "--idle", "2")
    assert done.returncode == 2
    assert "--replicas 4 is less than the 5 deployments that are not idle: each wants one" in done.stderr
    done = bench("run", "control_plane", "--deployments", "7", "--idle", "7")
    assert done.returncode == 2
    assert "--idle 7 is not less than --deployments 7" in done.stderr


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_head_that_cannot_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"")  # no store: a head refuses it
    async with open_fleet(Size(1, 0, 1, 1), tmp_path) as fleet:
        with pytest.raises(ExceptionGroup) as failed:
            await fleet.start_head()
        assert failed.group_contains(HeadFailed, match="the head's process has ended: .*state.db is empty")


@pytest.mark.slow
@pytest.mark.anyio
async def test_what_was_found_before_a_head_failed_is_kept(tmp_path: Path) -> None:
    figures: dict[str, float] = {}
    load = Load(rate=20, seconds=1, placements=2, patience=60)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if line.startswith("placing"):
            raise HeadFailed("it is cut off here")

    with pytest.raises(ExceptionGroup) as failed:
        await measure(Size(2, 1, 4, 4, idle=2), load, figures, say)
    assert failed.group_contains(HeadFailed, match="it is cut off here")
    assert figures["step_p99_us"] > 0
    assert "place_p99_us" not in figures
    assert said[:3:2] == ["setting up 1 workers and 2 deployments", "setting up 2 workers and 4 deployments"]


# ---- targets


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    judged = judge({}, 2000)
    assert {each.met for each in judged} == {None}
    assert len({each.target for each in judged}) == len(judged) == len(LIMITS) + 2


@pytest.mark.parametrize(
    ("measure", "found", "met"),
    [
        ("step_p99_us", 200.0, True),
        ("step_p99_us", 200.1, False),
        ("cpu_share", 0.61, False),
        ("events_s", 1980.0, True),
        ("events_s", 1979.0, False),
        ("demand_s", 1979.0, False),
        ("scale_p99_ms", 50.1, False),
        ("growth", 1.5, True),
        ("adopt_stopped", 1.0, False),
    ],
)
def test_a_figure_is_held_against_its_bound(measure: str, found: float, met: bool) -> None:
    (judged,) = (each for each in judge({measure: found}, 2000) if each.found is not None)
    assert judged.target.startswith(MEASURES[measure].text)
    assert judged.met is met


def test_engines_that_a_restarted_head_touched_are_told_whatever_is_checked() -> None:
    assert broken({"adopt_started": 0.0, "adopt_stopped": 0.0, "rejoin_stopped": 3.0}) == []
    assert broken({"adopt_stopped": 2.0}) == [
        "2 replicas stopped because the head was restarted: there must be none"
    ]


# ---- sizes


@pytest.mark.parametrize(
    "size", [Size(4, 2, 6, 12), Size(10, 8, 100, 300, idle=20), Size(3, 0, 9, 10, idle=2)]
)
def test_the_documents_are_valid_and_fit_into_the_cluster(size: Size) -> None:
    specs = [(read_document(text)[0], wanted) for text, wanted in size.documents()]
    assert len({spec.id for spec, _ in specs}) == size.deployments
    assert sum(wanted for _, wanted in specs) == size.replicas
    assert all(spec.scaling.min_instances == wanted for spec, wanted in specs)
    assert [spec.id for spec, wanted in specs if wanted] == size.serving_ids()
    assert [spec.id for spec, wanted in specs if not wanted] == size.idle_ids()
    used = sum(spec.gpus * wanted for spec, wanted in specs)
    assert used <= size.workers * size.gpus * 0.75
    assert (used > 0) == (size.gpus > 0)


def test_a_smaller_cluster_has_as_much_on_each_worker() -> None:
    assert Size(1000, 8, 10_000, 30_000, 3, 1000).with_deployments(100) == Size(10, 8, 100, 300, 3, 10)
    assert Size(4, 2, 1000, 1000).with_deployments(100) == Size(1, 2, 100, 100)


# ---- the two processes


@asynccontextmanager
async def joined(path: Path, frames: list[tuple[int, str, int, bytes]]) -> AsyncIterator[tuple[Lane, Lane]]:
    """Yield two ends of a socket; what the second one gets is added to ``frames``."""
    loop = asyncio.get_running_loop()
    second = Lane(lambda *frame: frames.append(frame), lambda: None)
    server = await loop.create_unix_server(lambda: second, str(path))
    lost = anyio.Event()
    _, first = await loop.create_unix_connection(lambda: Lane(lambda *_: None, lost.set), str(path))
    yield first, second
    second.close()
    await lost.wait()
    first.send(Kind.TELL, "nobody")  # to one that is gone: nothing happens
    server.close()


@pytest.mark.anyio
async def test_frames_of_any_length_arrive_whole_and_in_order(tmp_path: Path) -> None:
    frames: list[tuple[int, str, int, bytes]] = []
    bodies = [b"", b"a", b"b" * (READ - 20), b"c" * (5 * READ), *([b"d"] * 3000)]
    async with joined(tmp_path / "s", frames) as (first, _):
        for number, body in enumerate(bodies):
            first.send(Kind.ASK, "w1", number, body)
        with anyio.fail_after(60):
            while len(frames) < len(bodies):  # noqa: ASYNC110 - no event tells of it
                await anyio.sleep(0.001)
    assert frames == [(Kind.ASK, "w1", number, body) for number, body in enumerate(bodies)]


@pytest.mark.anyio
@pytest.mark.allow_blocking  # to be measured
async def test_a_loop_that_is_held_is_seen_and_forgotten() -> None:
    meter = Meter()
    await anyio.sleep(0.02)
    time.sleep(0.1)  # noqa: ASYNC251 - to be measured
    meter.step("report", 5_000, 4_000)
    await anyio.sleep(0.02)
    found = meter.figures()
    assert found["hold_ms"] >= 100
    assert found["hold_cpu_ms"] < found["hold_ms"]  # it slept
    assert found["steps"] == {
        "report": {"count": 1, "p50_us": 5.0, "p99_us": 5.0, "max_us": 5.0, "cpu_p99_us": 4.0}
    }
    json.dumps(found)
    meter.begin()
    assert meter.figures()["steps"] == {}
