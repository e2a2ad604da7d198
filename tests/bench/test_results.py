"""Result files are read as what they are or refused, and two of them can be compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bench.harness.comparison import Verdict, compare, judge, other_machine
from bench.harness.measures import Measure, number
from bench.harness.results import BadResults, document, figures_of, read, write

ASKS = Measure("asks", "asks", "1/s", higher_is_better=True)
WAIT = Measure("wait", "how long", "µs", higher_is_better=False)


def content(asks: float, wait: float, *, cores: int = 2, benchmark: str = "b") -> dict[str, Any]:
    return document(
        benchmark,
        machine={"cores": cores, "model": "m", "kernel": "k", "python": "3"},
        measures=[ASKS, WAIT],
        conditions={},
        figures={"ours": {"uvloop": {"asks": asks, "wait": wait, "unheard": 1.0}}, "peers": {}},
    )


def test_a_file_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "results.json"
    write(path, content(1.0, 2.0))
    assert read(path) == content(1.0, 2.0)


def test_only_declared_measures_are_figures() -> None:
    assert list(figures_of(content(1.0, 2.0))) == [
        ("ours/uvloop", "asks", 1.0),
        ("ours/uvloop", "wait", 2.0),
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a result file"),
        ("{}", "is not a result file"),
        (json.dumps({"benchmark": "b", "version": 0}), "has version 0, this harness reads 1"),
    ],
)
def test_another_file_is_refused_with_a_reason(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(BadResults, match=reason):
        read(path)


def test_a_file_that_is_not_there_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(BadResults, match=r"gone\.json cannot be read"):
        read(tmp_path / "gone.json")


def test_less_waiting_and_more_asks_are_both_better() -> None:
    asks, wait = compare(content(100.0, 50.0), content(200.0, 25.0))
    assert (asks.gain, asks.verdict) == (2.0, Verdict.BETTER)
    assert (wait.gain, wait.verdict) == (2.0, Verdict.BETTER)


def test_more_waiting_and_fewer_asks_are_both_worse() -> None:
    assert [change.verdict for change in compare(content(100.0, 50.0), content(50.0, 100.0))] == [
        Verdict.WORSE,
        Verdict.WORSE,
    ]


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [
        (None, Verdict.SAME),
        (1.0, Verdict.SAME),
        (1.09, Verdict.SAME),
        (0.92, Verdict.SAME),
        (1.11, Verdict.BETTER),
        (0.90, Verdict.WORSE),
    ],
)
def test_noise_is_no_change(gain: float | None, verdict: Verdict) -> None:
    assert judge(gain, 0.10) is verdict


def test_a_figure_of_nothing_has_no_gain() -> None:
    asks, _ = compare(content(0.0, 1.0), content(5.0, 1.0))
    assert (asks.gain, asks.verdict) == (None, Verdict.SAME)


def test_a_figure_that_only_one_file_has_is_not_compared() -> None:
    before = content(1.0, 1.0)
    del before["ours"]["uvloop"]["asks"]
    assert [change.measure for change in compare(before, content(1.0, 1.0))] == [WAIT]


def test_different_benchmarks_are_not_compared() -> None:
    with pytest.raises(BadResults, match="'b', the other of 'c'"):
        compare(content(1.0, 1.0), content(1.0, 1.0, benchmark="c"))


def test_another_machine_is_pointed_out() -> None:
    assert other_machine(content(1.0, 1.0), content(1.0, 1.0)) is None
    assert other_machine(content(1.0, 1.0), content(1.0, 1.0, cores=64)) == (
        "not the same machine: cores 2 against 64"
    )


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (1234567.8, "1,234,568"), (2.3456, "2.35"), (0.0123, "0.0123")]
)
def test_a_number_shows_the_digits_that_mean_something(value: float | None, text: str) -> None:
    assert number(value) == text
