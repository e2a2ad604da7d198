"""What is measured of starts of engines, and what is wanted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from bench.harness.measures import Measure
from bench.harness.targets import Judged, at_least, at_most, quotient

PLAIN: Final = "plain"
FRESH: Final = "first on a fresh worker"
FORKED: Final = "forked"
"""Kinds of starts by a deploy."""

REQUEST: Final = "request"
BY_HAND: Final = "by hand"
"""A request for a model at rest, and the same engine that somebody starts without sllm."""

PHASE: Final = "phase: "
"""Begins the names of the figures of phases."""

Medians = Mapping[str, Mapping[str, float]]


def seconds(name: str, text: str) -> Measure:
    """Return a measure of seconds, of which fewer are better."""
    return Measure(name, text, "s", higher_is_better=False)


STARTS: Final = {
    measure.name: measure
    for measure in (
        seconds("process_s", "until the engine's process begins"),
        seconds("ready_s", "until it is ready"),
        seconds("first_token_s", "until the first token"),
        seconds("ours_s", "of them ours: all beyond the engine by hand in the same round"),
        Measure("times_a_deploy", "of a start by a deploy in the same round", "x", higher_is_better=False),
        seconds("cpu_s", "processor of the whole cluster until then"),
        Measure("tokens_s", "tokens of 8 requests at once", "1/s", higher_is_better=True),
    )
}


def measures(figures: Iterable[str]) -> dict[str, Measure]:
    """Return the measures of starts, and those of the phases among the names of figures, in their order."""
    phases = {name: seconds(name, name.removeprefix(PHASE)) for name in figures if name.startswith(PHASE)}
    return {**STARTS, **phases}


def judge_vllm(medians: Medians) -> list[Judged]:
    """Hold the three kinds of start of vLLM against what is wanted."""
    plain, fresh, forked = (medians.get(kind, {}) for kind in (PLAIN, FRESH, FORKED))
    name = "first_token_s"
    judged = [
        at_least("plain / forked ≥ 7", quotient(plain.get(name), forked.get(name)), 7.0, compares=True),
        at_most(
            "first on a fresh worker / plain ≤ 0.5",
            quotient(fresh.get(name), plain.get(name)),
            0.5,
            compares=True,
        ),
        at_least(
            "tokens per second, forked / plain ≥ 0.9",
            quotient(forked.get("tokens_s"), plain.get("tokens_s")),
            0.9,
            compares=True,
        ),
    ]
    return [each for each in judged if fresh or "fresh" not in each.target]


def judge_llamacpp(medians: Medians) -> list[Judged]:
    """Hold starts of llama.cpp against what is wanted."""
    found = medians.get(PLAIN, {}).get("first_token_s")
    return [at_most("from `sllm deploy` to the first token ≤ 1.5 s", found, 1.5)]


def judge_llamacpp_from_zero(medians: Medians) -> list[Judged]:
    """Hold requests for a model at rest on llama.cpp against what is wanted."""
    found = medians.get(REQUEST, {})
    return [
        at_most("from the request to its first token ≤ 1.2 s", found.get("first_token_s"), 1.2),
        at_most("of them ours ≤ 0.05 s", found.get("ours_s"), 0.05),
    ]


def judge_vllm_from_zero(medians: Medians) -> list[Judged]:
    """Hold requests for a model at rest on vLLM against what is wanted."""
    found = medians.get(REQUEST, {}).get("times_a_deploy")
    return [at_most("from the request / from a deploy ≤ 1.05", found, 1.05, compares=True)]
