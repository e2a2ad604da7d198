"""Result files are read as what they are or refused, and two of them can be compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from bench.__main__ import main
from bench.harness.comparison import (
    Verdict,
    compare,
    compare_ratios,
    other_machine,
    other_software,
    ratio,
)
from bench.harness.measures import Measure, number
from bench.harness.report import comparison_table, disagreement, figures_table, with_ratio
from bench.harness.results import BadResults, Results, Subject, read, write
from bench.harness.spread import Spread, agree
from bench.harness.targets import Judged
from bench.registry import BENCHMARKS, RESULTS
from click.testing import CliRunner

from .program import bench

ASKS = Measure("asks", "asks", "1/s", higher_is_better=True)
WAIT = Measure("wait", "how long", "µs", higher_is_better=False)
SIZE = Measure("size", "how large", "bytes", higher_is_better=False)
MACHINE = {"cores": 2, "model": "m", "memory_gib": 8, "system": "Linux", "kernel": "k", "python": "3"}


def results(asks: list[float], wait: list[float], peer: list[float] | None = None, **changes: Any) -> Results:
    found = Results(
        "actors",
        MACHINE,
        {"rounds": len(asks)},
        {"asks": ASKS, "wait": WAIT},
        {
            "us": Subject({"asks": Spread.of(asks), "wait": Spread.of(wait)}, ours=True, cpu_s=1.5),
            "peer": Subject({"asks": Spread.of(peer or asks)}, version="1.2"),
        },
        basis="us",
        targets=[Judged("asks ≥ 1", 5.0, True)],
        errors={"other": ["it is not installed"]},
        more={"first": [1.0]},
    )
    return evolve(found, **changes)


def write_to(path: Path, found: Results) -> str:
    write(path, found)
    return str(path)


# ---- files


def test_a_file_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "results.json"
    found = results([1.0, 2.0, 4.0], [2.0], [3.0])
    write(path, found)
    assert read(path) == found
    assert read(path).subjects["us"].figures["asks"].values == (1.0, 2.0, 4.0)
    assert "[1.0, 2.0, 4.0]" in path.read_text(), "the rounds of a figure stand on one line"


def test_a_figure_of_which_only_the_summary_was_kept_comes_back_as_that() -> None:
    kept = {"median": 2.0, "low": 1.0, "high": 3.0, "count": 3}
    assert Spread.from_json(kept) == Spread.of([1.0, 2.0, 3.0])
    assert Spread.from_json(kept).to_json() == kept


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a result file"),
        ("{}", "is not a result file: run a benchmark with --json"),
        (
            json.dumps({"benchmark": "b", "version": 1}),
            "has the layout of version 1, and this harness reads 2",
        ),
        (json.dumps({"benchmark": "b", "version": 2}), "is a damaged result file"),
        (
            json.dumps({**results([1.0], [1.0]).to_json(), "subjects": {"us": {"figures": {"asks": []}}}}),
            "is a damaged result file",
        ),
    ],
)
def test_another_file_is_refused_with_one_sentence(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(BadResults, match=reason):
        read(path)


def test_a_file_that_is_not_there_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(BadResults, match=r"gone\.json cannot be read: No such file"):
        read(tmp_path / "gone.json")


@pytest.mark.parametrize("file", sorted(RESULTS.glob("*.json")), ids=lambda file: file.stem)
def test_what_is_published_can_be_read_and_shown(file: Path) -> None:
    found = read(file)
    assert found.conditions["command"].startswith(f"python -m bench run {found.benchmark}")
    assert all(each.columns for each in BENCHMARKS[found.benchmark].tables()(found))


# ---- before and after


def test_less_waiting_and_more_asks_are_both_faster() -> None:
    asks, wait, _ = compare(results([100.0] * 2, [50.0] * 2), results([200.0] * 2, [25.0] * 2))
    assert (asks.gain, asks.verdict, asks.word) == (2.0, Verdict.BETTER, "faster")
    assert (wait.gain, wait.verdict, wait.word) == (2.0, Verdict.BETTER, "faster")


def test_more_waiting_and_fewer_asks_are_both_slower() -> None:
    changes = compare(results([100.0] * 2, [50.0] * 2), results([50.0] * 2, [100.0] * 2))
    assert {change.word for change in changes} == {"slower"}
    assert SIZE.word(Verdict.WORSE.value) == "worse", "bytes are not slow"


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [
        (1.0, Verdict.SAME),
        (1.09, Verdict.SAME),
        (0.92, Verdict.SAME),
        (1.11, Verdict.BETTER),
        (0.90, Verdict.WORSE),
    ],
)
def test_noise_is_no_change(ours: float, verdict: Verdict) -> None:
    assert ratio(ASKS, Spread.of([ours] * 2), Spread.of([1.0] * 2)).verdict is verdict


def test_rounds_that_lie_among_each_other_are_no_change_however_far_the_medians_are_apart() -> None:
    before = results([100.0, 100.0, 100.0, 100.0, 190.0, 190.0], [1.0])
    (change, *_) = compare(before, results([180.0, 200.0, 200.0, 180.0, 200.0, 200.0], [1.0]))
    assert change.gain == 2.0
    assert change.word == "no difference that the spread allows"


def test_two_files_name_no_winner_where_their_odd_and_even_rounds_disagree(tmp_path: Path) -> None:
    old = write_to(tmp_path / "old.json", results([200.0] * 4, [1.0]))
    new = write_to(tmp_path / "new.json", results([100.0, 150.0, 100.0, 150.0], [1.0]))
    shown = CliRunner().invoke(main, ["compare", old, new, "--fail-on-worse"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, "what is not known to be worse fails nothing"
    assert "0.62   no winner: the two halves of the run disagree" in shown.stdout
    assert "slower" not in shown.stdout


def test_two_files_of_one_round_name_no_winner() -> None:
    (change, *_) = compare(results([200.0], [1.0]), results([100.0], [1.0]))
    assert change.word == "no winner: one round alone, or rounds that were not kept"


def test_a_figure_of_nothing_has_no_gain_and_yet_is_better_or_worse_than_something() -> None:
    asks, wait, _ = compare(results([0.0] * 2, [0.0] * 2), results([5.0] * 2, [5.0] * 2))
    assert (asks.gain, asks.verdict) == (None, Verdict.BETTER)
    assert (wait.gain, wait.verdict) == (None, Verdict.WORSE)
    nothing, *_ = compare(results([0.0] * 2, [1.0] * 2), results([0.0] * 2, [1.0] * 2))
    assert (nothing.gain, nothing.verdict) == (None, Verdict.SAME)


def test_a_figure_that_only_one_file_has_is_not_compared() -> None:
    before = evolve(results([1.0], [1.0]), subjects={"us": Subject({"wait": Spread.of([1.0])})})
    assert [change.measure for change in compare(before, results([1.0], [1.0]))] == [WAIT]
    with pytest.raises(BadResults, match="have no figure in common"):
        compare(evolve(before, subjects={}), results([1.0], [1.0]))


def test_different_benchmarks_are_not_compared() -> None:
    with pytest.raises(BadResults, match="'actors', the other of 'gateway'"):
        compare(results([1.0], [1.0]), results([1.0], [1.0], benchmark="gateway"))


# ---- ratios


def test_a_ratio_names_a_winner_where_both_halves_of_the_run_say_the_same() -> None:
    found = ratio(ASKS, Spread.of([20.0, 21.0, 20.0, 21.0]), Spread.of([10.0, 10.5, 10.0, 10.5]))
    assert (found.gain, found.verdict) == (2.0, Verdict.BETTER)
    assert with_ratio(found) == " (2)"


def test_two_halves_that_disagree_name_no_winner() -> None:
    found = ratio(ASKS, Spread.of([20.0, 30.0, 20.0, 30.0]), Spread.of([10.0, 10.0, 10.0, 10.0]))
    assert (found.halves, found.verdict) == ((2.0, 3.0), Verdict.UNSTEADY)
    assert with_ratio(found) == " (2 to 3 ?)"
    assert with_ratio(ratio(ASKS, Spread.of([1.0, 3.0]), Spread.of([2.0, 2.0]))) == " (0.5 to 1.5 ?)"


def test_a_ratio_of_one_round_or_of_rounds_that_were_not_kept_names_no_winner() -> None:
    assert with_ratio(ratio(ASKS, Spread.of([20.0]), Spread.of([10.0, 10.0]))) == " (2 ?)"
    kept = Spread(median=20.0, low=19.0, high=21.0, count=9)
    assert ratio(ASKS, kept, Spread.of([10.0, 10.0])).verdict is Verdict.UNCONFIRMED
    assert ratio(ASKS, Spread.of([20.0]), Spread.of([20.0])).verdict is Verdict.SAME


def test_two_runs_whose_ratios_disagree_name_no_winner() -> None:
    first, second = results([20.0], [1.0], [10.0]), results([20.0], [1.0], [15.0])
    (change,) = compare_ratios(first, second)
    assert (change.subject, change.before, change.agree) == ("peer", 2.0, False)
    head, line = disagreement([change], "us")
    assert head.startswith(
        "of 1 ratios of us to others, 1 differ by more than 10 % between the two runs, so no"
    )
    assert line.strip() == "peer, asks: 2.00 against 1.33"
    assert disagreement(compare_ratios(first, first), "us") == [
        "all 1 ratios of us to others agree within 10 %"
    ]
    assert compare_ratios(evolve(first, basis=""), evolve(second, basis="")) == []


@pytest.mark.parametrize(
    ("one", "other", "same"), [(1.0, 1.09, True), (1.09, 1.0, True), (1.0, 1.11, False), (0.0, 0.0, True)]
)
def test_ratios_agree_within_a_tenth(one: float, other: float, same: bool) -> None:
    assert agree(one, other) is same


# ---- machines


def test_another_machine_is_pointed_out() -> None:
    one = results([1.0], [1.0])
    assert other_machine(one, one) is None
    assert other_machine(one, evolve(one, machine={**MACHINE, "cores": 64})) == "cores 2 against 64"
    assert other_machine(one, evolve(one, machine={**MACHINE, "kernel": "l"})) is None
    assert other_software(one, evolve(one, machine={**MACHINE, "kernel": "l"})) == "kernel k against l"


@pytest.mark.slow
def test_files_of_two_machines_are_compared_only_by_who_says_so(tmp_path: Path) -> None:
    one = results([1.0], [1.0])
    old = write_to(tmp_path / "old.json", one)
    new = write_to(tmp_path / "new.json", evolve(one, machine={**MACHINE, "cores": 64}))
    refused = bench("compare", old, new)
    assert refused.returncode == 1
    assert "the files are of different machines (cores 2 against 64)" in refused.stderr
    assert refused.stdout == ""
    done = bench("compare", old, new, "--other-machine")
    assert done.returncode == 0, done.stderr
    assert "warning: not the same machine: cores 2 against 64" in done.stderr


# ---- tables


def test_a_table_has_the_spread_and_how_many_times_better_ours_is() -> None:
    shown = figures_table(results([100.0, 200.0, 200.0, 300.0, 200.0], [1.0], [20.0] * 5))
    cells = [list(column.cells) for column in shown.columns]
    assert cells == [["asks", "wait"], ["1/s", "µs"], ["200 ±50%", "1"], ["20 (10 to 12 ?)", "-"]]
    assert "how many times better us is" in str(shown.title)


def test_a_comparison_shows_every_common_figure() -> None:
    shown = comparison_table(compare(results([1.0], [1.0]), results([2.0], [1.0])))
    assert [list(column.cells) for column in shown.columns][5] == ["2.00", "1.00", "2.00"]


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (1234567.8, "1,234,568"), (2.3456, "2.35"), (0.0123, "0.0123")]
)
def test_a_number_shows_the_digits_that_mean_something(value: float | None, text: str) -> None:
    assert number(value) == text
