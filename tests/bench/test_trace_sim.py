"""The trace simulation runs as it stands, and says who has won."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from attrs import evolve
from bench.harness.results import Results, Subject, read
from bench.harness.spread import Spread
from bench.trace_sim import QUICK, in_order
from bench.trace_suite.contenders import OURS, Contender, contenders
from bench.trace_suite.outcome import Outcome, medians
from bench.trace_suite.policies import OTHERS, REFERENCE
from bench.trace_suite.profile import Profile
from bench.trace_suite.report import from_json, label, left_over, page_tables, tables, to_json
from bench.trace_suite.sweep import Found, Row, sweep
from bench.trace_suite.sweep import rows as sweep_rows
from bench.trace_suite.wins import beats, verdicts

from .program import ROOT, bench

FIGURES = ("gpu_seconds", "wait_p50_s", "wait_p99_s", "cold_rate", "switches")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_quick_run_has_a_row_for_each_workload_policy_and_setting(tmp_path: Path) -> None:
    file = tmp_path / "traces.json"
    done = bench("run", "traces", "--quick", "--room", "50", "--room", "100", "--json", str(file))
    assert done.returncode == 0, done.stderr
    results = read(file)
    content = results.more
    rows = content["rows"]
    keys = {(row["workload"], row["policy"], row["setting"]) for row in rows}
    assert len(keys) == len(rows)
    assert {row["policy"] for row in rows} >= {*OTHERS, "oracle"}
    assert len({row["workload"] for row in rows}) == 2
    assert {frozenset(row) for row in rows} == {frozenset(("workload", "policy", "setting", *FIGURES))}
    assert all(row[figure] >= 0 for row in rows for figure in FIGURES)
    assert content["unanswered"] == []
    assert sum(from_json(row).contender.default for row in rows if row["policy"] == OURS) == 2
    assert len({row["setting"] for row in rows if row["policy"] == OURS}) == 5
    assert (content["room"], list(content["rooms"])) == (50, ["100"])
    assert results.conditions["profile"]["gpus_per_worker"] >= 1
    assert "workloads won" in done.stdout
    again = bench("show", str(file))
    assert again.stdout == done.stdout
    same: Found = {}
    sweep(QUICK, seeds=1, shares=[0.5], profile=Profile(), jobs=1, say=lambda _: None, into=same)
    played = [to_json(row) for row in in_order(sweep_rows(same, 0.5), QUICK)]
    assert played == rows, "nothing in it is left to chance or to the machine"


@pytest.mark.slow
def test_a_trace_is_played_instead(tmp_path: Path) -> None:
    trace = tmp_path / "short.csv"
    lines = (ROOT / "bench" / "traces" / "azure_llm_2023_code.csv").read_text().splitlines()[:60]
    trace.write_text("\n".join(lines))
    file = tmp_path / "traces.json"
    done = bench("run", "traces", "--trace", str(trace), "--rate", "1", "--seeds", "1", "--json", str(file))
    assert done.returncode == 0, done.stderr
    assert {row["workload"] for row in read(file).more["rows"]} == {"short"}
    trace.write_text("no trace")
    done = bench("run", "traces", "--trace", str(trace))
    assert (done.returncode, done.stdout) == (1, "")
    last = done.stderr.splitlines()[-1]
    assert last == "Error: short, line 1: it should be TIMESTAMP,ContextTokens,GeneratedTokens"


def outcome(gpu_seconds: float, p99: float) -> Outcome:
    return Outcome(gpu_seconds=gpu_seconds, wait_p99_s=p99)


def test_a_point_is_beaten_by_one_that_takes_no_more_and_waits_no_longer() -> None:
    assert beats([outcome(102.0, 5.0)], outcome(100.0, 5.0))
    assert not beats([outcome(103.0, 1.0), outcome(10.0, 5.1)], outcome(100.0, 5.0))
    assert beats([outcome(90.0, 9.0), outcome(100.0, 2.5)], outcome(100.0, 5.0), 0.5)
    assert not beats([outcome(100.0, 2.6)], outcome(100.0, 5.0), 0.5)


def test_a_workload_is_won_when_each_other_policy_is_beaten_by_some_point() -> None:
    fast, thrifty = outcome(200.0, 1.0), outcome(50.0, 20.0)
    ours = [Row("w", Contender(OURS, "a"), fast), Row("w", Contender(OURS, "b"), thrifty)]
    others = {name: outcome(210.0, 1.5) for name in OTHERS} | {REFERENCE[0]: outcome(60.0, 50.0)}
    rows = [*ours, *(Row("w", Contender(name), found) for name, found in others.items())]
    rows.append(Row("w", Contender("oracle"), outcome(1.0, 0.0)))
    (verdict,) = verdicts(rows)
    assert verdict.won, "an oracle need not be beaten"
    assert verdict.halved == (REFERENCE[0],)
    worse = [row for row in rows if row.contender.policy != "ollama"]
    (verdict,) = verdicts([*worse, Row("w", Contender("ollama"), outcome(100.0, 1.5))])
    assert (verdict.won, verdict.unbeaten) == (False, ("ollama",))


def test_figures_of_several_seeds_are_their_medians() -> None:
    assert medians([outcome(1.0, 9.0), outcome(3.0, 7.0), outcome(2.0, 8.0)]) == outcome(2.0, 8.0)


@pytest.mark.parametrize("contender", contenders(), ids=str)
def test_a_row_is_read_as_it_was_written(contender: Contender) -> None:
    row = Row("w", contender, Outcome(1.0, 2.0, 3.0, 0.5, 4, 0))
    assert from_json(json.loads(json.dumps(to_json(row)))) == row


def test_requests_that_were_not_answered_are_told_beside_the_rows() -> None:
    row = Row("w", Contender(OURS, "keep_alive=5"), Outcome(unanswered=3))
    figures = {name: Spread.of([1.0]) for name in FIGURES}
    results = Results(
        "traces",
        {},
        {"workloads": 1},
        {},
        {label(row.contender): Subject(figures, ours=True)},
        more={"room": 50, "rows": [to_json(row)], "rooms": {}, "unanswered": []},
    )
    assert len(tables(results)) == 3
    assert str(page_tables(results)[0].title) == "room for 50 % of the peak", (
        "few workloads are told one by one"
    )
    many = [to_json(Row(f"w{each}", row.contender, row.outcome)) for each in range(4)]
    (first, *_) = page_tables(evolve(results, more={**results.more, "rows": many}))
    assert str(first.title) == "medians over 1 workloads"
    told = tables(evolve(results, more={**results.more, "unanswered": [{"room": 50, **left_over(row)}]}))[-1]
    assert [list(column.cells) for column in told.columns] == [["50"], ["w"], [OURS], ["keep_alive=5"], ["3"]]
