"""Targets are judged on what was measured, and on nothing else."""

from __future__ import annotations

from bench.actor_suite.measures import MEASURES, TARGETS, judge
from bench.harness.comparison import targets_of
from bench.harness.report import targets_table
from bench.harness.results import Results, Subject
from bench.harness.spread import Spread
from bench.harness.targets import Judged


def found(ours: dict[str, float], peers: dict[str, dict[str, float]], target: str) -> Judged:
    (one,) = (each for each in judge({"uvloop": ours, **peers}) if each.target == target)
    return one


def test_every_target_is_about_something_that_is_measured() -> None:
    for target in TARGETS:
        assert target.measure in MEASURES
        assert target.of is None or target.of in MEASURES


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert {(each.found, each.met) for each in judge({})} == {(None, None)}
    assert found({"local_tell_s": 9.0}, {"pykka": {}}, "local_tell_s ≥ 4 x pykka").met is None


def test_a_target_against_a_peer_is_a_ratio() -> None:
    peers = {"pykka": {"local_tell_s": 100.0}}
    assert found({"local_tell_s": 400.0}, peers, "local_tell_s ≥ 4 x pykka").met is True
    missed = found({"local_tell_s": 399.0}, peers, "local_tell_s ≥ 4 x pykka")
    assert (missed.found, missed.met) == (3.99, False)


def test_latency_under_bulk_is_judged_by_our_own_idle_latency() -> None:
    text = "bulk_p99_us ≤ 5 x idle_p99_us"
    assert found({"bulk_p99_us": 500.0, "idle_p99_us": 100.0}, {}, text).met is True
    assert found({"bulk_p99_us": 501.0, "idle_p99_us": 100.0}, {}, text).met is False
    assert found({"bulk_p99_us": 501.0}, {}, text).met is None


def test_a_bound_is_a_bound() -> None:
    assert found({"actor_bytes": 4096.0}, {}, "actor_bytes ≤ 4,096").met is True
    assert found({"actor_bytes": 4097.0}, {}, "actor_bytes ≤ 4,096").met is False


# ---- ratios, and what the halves of a run say of them


def tells(ours: list[float], theirs: list[float]) -> Judged:
    subjects = {
        "uvloop": Subject({"local_tell_s": Spread.of(ours)}, ours=True),
        "pykka": Subject({"local_tell_s": Spread.of(theirs)}),
    }
    return next(each for each in targets_of(judge, subjects) if each.target == "local_tell_s ≥ 4 x pykka")


def test_a_ratio_on_which_both_halves_of_a_run_agree_is_judged() -> None:
    assert tells([500.0, 510.0], [100.0, 100.0]).word == "met"
    assert tells([300.0, 310.0], [100.0, 100.0]).word == "missed"


def test_a_noisy_ratio_names_no_winner_and_says_why() -> None:
    noisy = tells([500.0, 700.0, 500.0, 700.0], [100.0] * 4)
    assert (noisy.found, noisy.met, noisy.halves) == (6.0, None, (5.0, 7.0))
    assert noisy.word == "no winner: 5 and 7 by the halves of the run"
    shown = targets_table(Results("actors", {}, {}, {}, {}, targets=[noisy]))
    assert [list(column.cells) for column in shown.columns][2] == [noisy.word]
    assert Judged(**noisy.to_json()) == noisy


def test_a_ratio_of_one_round_says_so() -> None:
    assert tells([500.0], [100.0]).word == "met, by one round alone"


def test_what_is_no_ratio_is_judged_by_all_rounds() -> None:
    subjects = {"uvloop": Subject({"actor_bytes": Spread.of([1000.0, 6000.0])}, ours=True)}
    (one,) = (each for each in targets_of(judge, subjects) if each.found is not None)
    assert (one.target, one.word) == ("actor_bytes ≤ 4,096", "met")
