"""Workloads for the trace simulation: made by chance, or read from traces."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from random import Random
from statistics import mean, pstdev

import pytest
from bench.trace_suite import azure, servegen
from bench.trace_suite.generator import GROUPS, Shape, arrivals, awake, generate, lengths, plane
from bench.trace_suite.lines import BadTrace, UnreadableTrace
from bench.trace_suite.profile import GB, Model, Profile, Tier
from bench.trace_suite.workload import Request, Workload, peak, room

TRACES = Path(__file__).parents[2] / "bench" / "traces"


def of_model(workload: Workload, model: int) -> list[tuple[float, int, int]]:
    return [(each.at, each.prompt, each.answer) for each in workload.requests if each.model == model]


# ---- the generator


def test_a_workload_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    shape = Shape(cv=4.0, share=0.3)
    one, same, other = generate(shape, 1), generate(shape, 1), generate(shape, 2)
    assert [of_model(one, model) for model in range(24)] == [of_model(same, model) for model in range(24)]
    assert one.models == same.models
    assert of_model(one, 0) != of_model(other, 0)
    assert [each.at for each in one.requests] == sorted(each.at for each in one.requests)


@pytest.mark.parametrize("cv", [1.0, 13.0])
def test_one_model_more_changes_nothing_about_the_others(cv: float) -> None:
    few, more = generate(Shape(cv, 0.3, models=9), 3), generate(Shape(cv, 0.3, models=10), 3)
    assert more.models[:9] == few.models
    for model in range(9):
        assert of_model(more, model) == of_model(few, model)


def test_there_are_36_workloads_and_each_has_a_name_of_its_own() -> None:
    assert len({shape.name for shape in plane()}) == 36


@pytest.mark.parametrize("cv", [1.0, 4.0])
def test_gaps_have_the_mean_and_the_spread_that_were_asked_for(cv: float) -> None:
    shape = Shape(cv, swing=0.0)
    times = list(arrivals(Random(5), shape, 2.0, [(0.0, 40_000.0)]))
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert mean(gaps) == pytest.approx(0.5, rel=0.1)
    assert pstdev(gaps) / mean(gaps) == pytest.approx(cv, rel=0.1)


@pytest.mark.slow
def test_a_bursty_workload_does_not_begin_with_a_burst_of_every_model() -> None:
    first = [
        sum(request.at < 60.0 for request in generate(Shape(13.0, models=24), seed).requests)
        for seed in range(20)
    ]
    assert mean(first) == pytest.approx(0.8 * 60, rel=0.6)


def test_models_of_a_group_are_awake_together_and_ask_only_then() -> None:
    workload = generate(Shape(1.0, 0.1, 0.5, models=2 * GROUPS + 1), 4)
    for group in range(GROUPS):
        times = list(awake(Random(f"4/group/{group}"), 0.1, 3600.0))
        members = range(group, 2 * GROUPS + 1, GROUPS)
        for at, _, _ in (each for model in members for each in of_model(workload, model)):
            assert any(begin <= at < end for begin, end in times)


@pytest.mark.parametrize("share", [0.1, 0.3, 1.0])
def test_groups_are_awake_for_the_share_that_was_asked_for(share: float) -> None:
    spans = [span for seed in range(300) for span in awake(Random(seed), share, 36_000.0)]
    assert sum(end - begin for begin, end in spans) / (300 * 36_000.0) == pytest.approx(share, rel=0.15)


@pytest.mark.slow
def test_popularity_falls_with_the_rank_as_alpha_says() -> None:
    counts = Counter(each.model for each in generate(Shape(1.0, 1.0, 1.0, rate=20.0), 0).requests)
    assert counts[0] / counts[9] == pytest.approx(10, rel=0.3)


def test_lengths_have_a_tail_and_a_bound() -> None:
    chance = Random(0)
    prompts, answers = zip(*(lengths(chance) for _ in range(20_000)), strict=True)
    assert mean(answers) == pytest.approx(180, rel=0.05)
    assert sorted(prompts)[10_000] == pytest.approx(530, rel=0.15)
    assert max(prompts) == 16_000
    assert min(*prompts, *answers) >= 1


# ---- what a workload takes


def test_the_peak_is_what_it_would_take_for_nobody_to_wait() -> None:
    profile = Profile(target=2, max_replicas=2, prefill=1.0, decode=1.0)
    burst = [Request(1.0, 0, 1, 9) for _ in range(7)]  # would take 4 replicas, and may have 2
    late = [Request(11.0, 0, 1, 1), Request(11.5, 1, 1, 1)]
    workload = Workload("w", [Model("a", GB), Model("b", GB)], [*burst, *late], 20.0)
    assert peak(workload, profile) == 2
    early = Workload("w", workload.models, [*burst, Request(10.9, 1, 1, 1)], 20.0)
    assert peak(early, profile) == 3
    assert [room(early, profile, share) for share in (0.1, 0.5, 1.0)] == [1, 2, 3]
    assert room(Workload("none", [], [], 1.0), profile, 0.5) == 1


def test_a_start_costs_by_the_tier_that_the_weights_are_in() -> None:
    profile = Profile(init=5.0, from_memory=10 * GB, from_disk=2 * GB, from_hub=GB)
    tiers = (Tier.AWAKE, Tier.MEMORY, Tier.DISK, Tier.HUB)
    assert [profile.start(Model("m", 20 * GB), tier) for tier in tiers] == [0.0, 7.0, 15.0, 25.0]
    assert Profile(gpus_per_worker=4).workers(10) == [4, 4, 2]


# ---- traces of others

AZURE = [azure.HEADER, "2023-11-16 18:17:03.9799600,4808,10", "2023-11-16 18:17:04.5000000,3180,8"]


def test_a_trace_of_azures_is_read() -> None:
    workload = azure.load(TRACES / "azure_llm_2023_code.csv", models=5)
    assert len(workload.requests) == 8819
    assert workload.requests[0].at == 0.0
    assert (workload.requests[0].prompt, workload.requests[0].answer) == (4808, 10)
    assert {each.model for each in workload.requests} == set(range(5))
    slower = azure.load(TRACES / "azure_llm_2023_code.csv", rate=1.0)
    assert slower.duration == pytest.approx(8819)
    assert [request.at for request in azure.parse("a", AZURE, 1).requests] == [0.0, pytest.approx(0.52004)]


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (["t,a,b"], "a, line 1: it should be TIMESTAMP,ContextTokens,GeneratedTokens"),
        ([], "a, line 1: it should be TIMESTAMP,ContextTokens,GeneratedTokens"),
        (AZURE[:1], "a, line 1: no request follows"),
        ([*AZURE, "yesterday,1,1"], "a, line 4: it should have a time and two whole numbers"),
        ([*AZURE, "2023-11-16 18:17:04.5,1"], "a, line 4: it should have a time and two whole numbers"),
        ([*AZURE, "", "2023-11-16 18:17:04.5,1,-1"], "a, line 5: a number of tokens is below 0"),
    ],
)
def test_what_is_no_trace_of_azures_is_said_with_its_line(lines: list[str], sentence: str) -> None:
    with pytest.raises(BadTrace) as raised:
        azure.parse("a", lines, 1)
    assert str(raised.value) == sentence


def test_each_client_of_servegens_is_one_model() -> None:
    workload = servegen.load(TRACES / "servegen_small", rate=1.0, duration=7200.0)
    assert len(workload.models) == 43
    assert workload.models[2].name == "client-2"
    assert len(workload.requests) == pytest.approx(7200, rel=0.1)
    assert workload.requests == sorted(workload.requests, key=lambda each: each.at)
    assert 0 <= workload.requests[0].at < workload.requests[-1].at < 7200.0


def test_gaps_are_of_the_distribution_that_a_window_names() -> None:
    rate, scale = 2.0, 0.25  # of a Gamma distribution with shape 2: a mean of 0.5 s and a CV of 0.71
    windows = [servegen.Window(600.0 * n, rate, "Gamma", 2.0, scale) for n in range(50)]
    times = list(servegen.arrivals(Random(1), windows, 30_000.0))
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert mean(gaps) == pytest.approx(0.5, rel=0.05)
    assert pstdev(gaps) / mean(gaps) == pytest.approx(0.71, rel=0.1)
    quiet = [servegen.Window(0.0, 0.0, "", 0.0, 0.0), servegen.Window(600.0, 1.0, "", 0.0, 0.0)]
    assert min(servegen.arrivals(Random(1), quiet, 1200.0)) >= 600.0


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("600,1,1,Gamma,1", "c, line 2: it should have 6 fields, not 5"),
        ("600,1,1,Gamma,1,fast", "c, line 2: all fields but the fourth should be numbers"),
        ("600,1,1,Pareto,1,1", "c, line 2: its distribution is 'Pareto', not Gamma or Weibull"),
        ("600,nan,1,Gamma,1,1", "c, line 2: a number is below 0, or none"),
        ("600,1,1,Gamma,-1,1", "c, line 2: a number is below 0, or none"),
    ],
)
def test_what_is_no_client_of_servegens_is_said_with_its_line(line: str, sentence: str) -> None:
    with pytest.raises(BadTrace) as raised:
        list(servegen.parse("c", ["0,0,0,,0,0", line]))
    assert str(raised.value) == sentence


def test_what_cannot_be_read_is_said_with_its_name(tmp_path: Path) -> None:
    binary = tmp_path / "client-0.csv"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UnreadableTrace, match=r"client-0\.csv cannot be read: it is no text"):
        servegen.load(tmp_path)
    with pytest.raises(UnreadableTrace, match="cannot be read: No such file"):
        azure.load(tmp_path / "none.csv")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UnreadableTrace, match=r"it has no file client-N\.csv"):
        servegen.load(empty)
