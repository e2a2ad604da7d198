"""Two API keys that want the same replica, one of them very much: ``python -m bench run fairness``."""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import click
import httpx2
from attrs import define, field, frozen

from bench.cold_suite.cluster import ClusterFailed, open_cluster
from bench.harness.experiment import Experiment, benchmark
from bench.harness.measures import Measure, rate
from bench.harness.process_tree import watching
from bench.harness.spread import percentile
from bench.harness.targets import Judged, at_least, at_most, quotient

from .asking import PATIENCE, WORDS, completion
from .failover import deploy_ready

NO_KEYS, EVEN, LONG, THREE = "no keys", "1:1", "1:1, long", "3:1"
SUBJECTS: Final = (NO_KEYS, EVEN, THREE, LONG)
FAIR: Final = {EVEN: 1 / 2, THREE: 3 / 4, LONG: 1 / 2}
"""The share of the slots' time that the key with few clients is to get."""

MODEL: Final = "smol"
MANY, FEW, FAVOURED = "many", "few", "favoured"
KEYS: Final = {MANY: 1.0, FEW: 1.0, FAVOURED: 3.0}
"""The shares of the keys."""

WARM_UP: Final = 3.0
"""Seconds of asking before the measuring begins: until then those who came first are served."""

HELD = re.compile(r"hold;dur=([\d.]+)")

MEASURES: Final = {
    measure.name: measure
    for measure in (
        Measure("few_share", "of the slots' time, the few clients' part", "", higher_is_better=True),
        rate("few_rps", "requests of the few clients answered per second"),
        rate("many_rps", "requests of the many clients answered per second"),
        rate("tokens_s", "tokens per second, of all"),
        Measure("few_hold_p50_s", "few clients: median of the wait for a slot", "s", higher_is_better=False),
        Measure("few_hold_p99_s", "few clients: 99th percentile of it", "s", higher_is_better=False),
        Measure("few_first_p50_s", "few clients: median until the first token", "s", higher_is_better=False),
        Measure("few_first_p99_s", "few clients: 99th percentile of it", "s", higher_is_better=False),
        Measure("many_hold_p50_s", "many clients: median of the wait", "s", higher_is_better=False),
        Measure("errors", "requests that failed", "", higher_is_better=False),
    )
}


@frozen
class Answered:
    """A request that was answered.

    Attributes:
        began: When it was sent.
        held: For how long it waited for a slot, as the gateway says.
        first: When its first token came.
        ended: When its answer was complete.
        tokens: Of the answer.
    """

    began: float
    held: float
    first: float
    ended: float
    tokens: int

    def used(self, begins: float, ends: float) -> float:
        """Return for how many seconds of a time it had a slot."""
        return max(0.0, min(self.ended, ends) - max(self.began + self.held, begins))


@define
class Side:
    """Clients that ask with the same key.

    Attributes:
        clients: How many there are.
        tokens: Of an answer.
        key: Their key; empty for none.
        answers: What they got.
        failures: What came instead of answers.
    """

    clients: int
    tokens: int
    key: str
    answers: list[Answered] = field(factory=list)
    failures: list[str] = field(factory=list)

    async def ask_on(self, url: str, until: float) -> None:
        """Let each client ask without a pause until then, and wait for the last answers."""
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=self.clients)
        async with (
            httpx2.AsyncClient(
                base_url=url, headers=headers, timeout=PATIENCE, limits=limits, trust_env=False
            ) as http,
            asyncio.TaskGroup() as group,
        ):
            for number in range(self.clients):
                group.create_task(self._client(http, number, until))

    async def _client(self, http: httpx2.AsyncClient, number: int, until: float) -> None:
        asked = 0
        while time.monotonic() < until:
            asked += 1
            try:
                await self._ask(http, f"Story {asked} of client {number}: once upon a time")
            except httpx2.TransportError as error:
                self.failures.append(repr(error))

    async def _ask(self, http: httpx2.AsyncClient, prompt: str) -> None:
        body = {**completion(MODEL, prompt, self.tokens), "stream": True}
        began, first, held = time.monotonic(), 0.0, 0.0
        async with http.stream("POST", "/v1/completions", json=body) as response:
            if response.is_error:
                text = (await response.aread()).decode()
                self.failures.append(f"{response.status_code} {text[:WORDS]}")
                return
            held = held_for(response.headers.get("server-timing", ""))
            async for line in response.aiter_lines():
                if line.startswith(":"):
                    held = held_for(line) or held
                elif line.startswith("data: {") and not first:
                    first = time.monotonic()
        self.answers.append(Answered(began, held, first, time.monotonic(), self.tokens))


def held_for(text: str) -> float:
    """Return the seconds that a request was held, by a header or a comment; 0 if it says nothing."""
    found = HELD.search(text)
    return float(found[1]) / 1000 if found else 0.0


@benchmark("fairness", ("sllm-actors", "xllamacpp"))
@click.option("--rounds", type=click.IntRange(1, 100), default=4, show_default=True)
@click.option("--seconds", type=click.FloatRange(min=1), default=14.0, show_default=True, help="That count.")
@click.option("--few", type=click.IntRange(1, 1000), default=4, show_default=True, help="Clients of one key.")
@click.option("--many", type=click.IntRange(1, 1000), default=20, show_default=True, help="Of the other.")
@click.option("--slots", type=click.IntRange(1, 64), default=2, show_default=True, help="Of the replica.")
@click.option("--tokens", type=click.IntRange(1, 4096), default=4, show_default=True, help="Of an answer.")
def main(
    experiment: Experiment, rounds: int, seconds: float, few: int, many: int, slots: int, tokens: int
) -> None:
    """Let few clients and many ask one llama.cpp replica: without keys, with a key for each, in turns.

    The keys have even shares; then that of the few has three times the other's; then the shares are even, and
    the answers to the many are four times as long.
    """
    experiment.conditions |= {
        "rounds": rounds,
        "seconds": seconds,
        "few": few,
        "many": many,
        "slots": slots,
        "tokens": tokens,
    }
    with (
        experiment.measuring(ClusterFailed),
        tempfile.TemporaryDirectory(prefix="sllm-bench-") as folder,
        open_cluster(Path(folder), "--fork-servers", "none") as cluster,
    ):
        keys = {name: cluster.create_key(name, share) for name, share in KEYS.items()}
        deploy_ready(cluster, MODEL, 1, backend_config={"max_model_len": 1024, "n_parallel": slots})

        def once(subject: str) -> dict[str, float]:
            mine, others = keys[FAVOURED if subject == THREE else FEW], keys[MANY]
            sides = [
                Side(few, tokens, "" if subject == NO_KEYS else mine),
                Side(many, 4 * tokens if subject == LONG else tokens, "" if subject == NO_KEYS else others),
            ]
            with watching(cluster.pid) as meter:
                begins, ends = asyncio.run(ask(cluster.url, sides, seconds))
            experiment.collected.use(subject, meter.seconds, meter.peak_bytes)
            for failure in [*sides[0].failures, *sides[1].failures][:3]:
                experiment.say(f"{subject}: {failure}")
            return figures(sides, begins, ends)

        experiment.collect(SUBJECTS, rounds, once, expected=ClusterFailed)
    results = experiment.results(MEASURES, basis=NO_KEYS, ours=SUBJECTS, judge=judge)
    experiment.finish(results, needed=SUBJECTS)


async def ask(url: str, sides: Sequence[Side], seconds: float) -> tuple[float, float]:
    """Let all sides ask at the same time; return from when until when it counts."""
    begins = time.monotonic() + WARM_UP
    async with asyncio.TaskGroup() as group:
        for side in sides:
            group.create_task(side.ask_on(url, begins + seconds))
    return begins, begins + seconds


def figures(sides: Sequence[Side], begins: float, ends: float) -> dict[str, float]:
    """Return the figures of the few clients and the many, of what was answered in a time; pure."""
    few, many = sides
    used = [sum(each.used(begins, ends) for each in side.answers) for side in sides]
    counted = [[each for each in side.answers if begins <= each.ended < ends] for side in sides]
    found = {"errors": float(sum(len(side.failures) for side in sides))}
    share = quotient(used[0], sum(used))
    if share is not None:
        found["few_share"] = share
    for name, answers in zip(("few", "many"), counted, strict=True):
        found[f"{name}_rps"] = len(answers) / (ends - begins)
        if answers:
            held, firsts = [each.held for each in answers], [each.first - each.began for each in answers]
            found |= {
                f"{name}_hold_p50_s": percentile(held, 0.5),
                f"{name}_hold_p99_s": percentile(held, 0.99),
                f"{name}_first_p50_s": percentile(firsts, 0.5),
                f"{name}_first_p99_s": percentile(firsts, 0.99),
            }
    tokens = (
        each.tokens * each.used(begins, ends) / (each.ended - each.began - each.held)
        for side in (few, many)
        for each in side.answers
    )
    return {**found, "tokens_s": sum(tokens) / (ends - begins)}


def judge(medians: Mapping[str, Mapping[str, float]]) -> list[Judged]:
    """Say what is wanted: each key gets its share, and nothing is lost by that."""

    def of(subject: str, measure: str) -> float | None:
        return medians.get(subject, {}).get(measure)

    def apart(subject: str) -> float | None:
        ratio = quotient(of(subject, "few_share"), FAIR[subject])
        return None if ratio is None else abs(ratio - 1)

    def beside(subject: str, measure: str) -> float | None:
        return quotient(of(subject, measure), of(NO_KEYS, measure))

    return [
        *(at_most(f"{each}: from the fair share of the few ≤ 10 %", apart(each), 0.1) for each in FAIR),
        *(
            at_least(
                f"{each}: tokens/s, of those without keys ≥ 0.97",
                beside(each, "tokens_s"),
                0.97,
                compares=True,
            )
            for each in (EVEN, THREE)
        ),
        at_most(
            f"{EVEN}: median wait of the few, of that without keys ≤ 0.5",
            beside(EVEN, "few_hold_p50_s"),
            0.5,
            compares=True,
        ),
    ]
