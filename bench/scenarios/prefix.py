"""Prompts that begin alike, on real replicas: ``python -m bench run prefix``."""

from __future__ import annotations

import asyncio
import random
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click
import httpx2

from bench.cold_suite.cluster import Cluster, ClusterFailed, open_cluster
from bench.harness.experiment import Experiment, benchmark
from bench.harness.measures import Measure
from bench.harness.process_tree import watching
from bench.harness.targets import Judged, at_most, quotient

from .asking import MEASURES as ASKED
from .asking import Answers, Body, at_once, closed_loop, completion
from .failover import deploy_ready

PREFIX, OTHER = "prefix", "p2c"
REPLICAS = 2
MODEL = "smol"
SLOTS = 4
"""Prompts that each replica keeps: half of the groups fit, all do not."""

COMPUTED = re.compile(r"^llamacpp:prompt_tokens_total (\S+)$", re.MULTILINE)

MEASURES = {
    **ASKED,
    "computed_share": Measure(
        "computed_share",
        "tokens of prompts that engines computed, of those asked",
        "",
        higher_is_better=False,
    ),
    "hit_share": Measure(
        "hit_share", "tokens of prompts that engines found in their caches", "", higher_is_better=True
    ),
}


@benchmark("prefix", ("sllm-actors", "xllamacpp"))
@click.option("--rounds", type=click.IntRange(1, 100), default=2, show_default=True)
@click.option("--seconds", type=click.FloatRange(min=1), default=20.0, show_default=True, help="Of asking.")
@click.option("--clients", type=click.IntRange(1, 1000), default=4, show_default=True)
@click.option(
    "--groups",
    type=click.IntRange(1, 1000),
    default=REPLICAS * SLOTS,
    show_default=True,
    help="Of prompts that begin alike.",
)
@click.option("--words", type=click.IntRange(1, 2000), default=300, show_default=True, help="Of a beginning.")
@click.option("--tokens", type=click.IntRange(1, 4096), default=4, show_default=True, help="Of an answer.")
def main(
    experiment: Experiment, rounds: int, seconds: float, clients: int, groups: int, words: int, tokens: int
) -> None:
    """Ask two llama.cpp replicas with prompts that begin alike, routed by prefix and by load, in turns.

    Each group is asked once before the figures are taken.
    """
    experiment.conditions |= {
        "rounds": rounds,
        "seconds": seconds,
        "clients": clients,
        "groups": groups,
        "words": words,
        "tokens": tokens,
    }
    beginnings = [beginning(group, words) for group in range(groups)]

    def body(chance: random.Random) -> Body:
        end = f" And number {chance.randrange(10_000)} said:"
        return completion(MODEL, chance.choice(beginnings) + end, tokens)

    with tempfile.TemporaryDirectory(prefix="sllm-bench-") as folder, experiment.measuring(ClusterFailed):
        places = iter(range(10_000))

        def once(policy: str) -> dict[str, float]:
            with routed(Path(folder) / str(next(places)), policy) as (cluster, deployment):
                asyncio.run(at_once(cluster.url, [completion(MODEL, each, 1) for each in beginnings]))
                with watching(cluster.pid) as meter:
                    before = computed(cluster, deployment)
                    answers = asyncio.run(closed_loop(cluster.url, clients, seconds, body))
                    after = computed(cluster, deployment)
                experiment.collected.use(policy, meter.seconds, meter.peak_bytes)
                return {**answers.figures(), **shares(answers, after - before)}

        experiment.collect([PREFIX, OTHER], rounds, once, expected=ClusterFailed)
    results = experiment.results(MEASURES, basis=PREFIX, judge=judge)
    experiment.finish(results, needed=[PREFIX, OTHER])


@contextmanager
def routed(folder: Path, policy: str) -> Iterator[tuple[Cluster, str]]:
    """Run a cluster with two replicas that are routed to by a policy; nothing is in their caches."""
    with open_cluster(folder, "--fork-servers", "none") as cluster:
        settings = {"max_model_len": 2048, "n_parallel": SLOTS}
        yield (
            cluster,
            deploy_ready(cluster, MODEL, REPLICAS, routing_policy=policy, backend_config=settings),
        )


def beginning(group: int, words: int) -> str:
    """Return how the prompts of a group begin: about as many tokens as words, and alike in no two groups."""
    chance = random.Random(group)
    known = ("red", "house", "river", "old", "stone", "light", "tree", "road", "small", "wind")
    return f"Story {group}: " + " ".join(chance.choice(known) for _ in range(words)) + "."


def computed(cluster: Cluster, deployment: str) -> float:
    """Return how many tokens of prompts all engines have computed so far, by their own metrics."""
    total = 0.0
    for instance in cluster.describe(deployment)["instances"]:
        path = instance["address"].removeprefix("unix:")
        with httpx2.Client(transport=httpx2.HTTPTransport(uds=path), timeout=60) as http:
            said = COMPUTED.search(http.get("http://engine/metrics").text)
        if said is None:
            raise ClusterFailed("an engine does not tell how many tokens of prompts it computed")
        total += float(said[1])
    return total


def shares(answers: Answers, computed_tokens: float) -> dict[str, float]:
    """Return which share of the prompts' tokens was computed, and which was found in caches; pure."""
    asked = sum(body["usage"]["prompt_tokens"] for body in answers.bodies)
    share = quotient(computed_tokens, asked)
    return {} if share is None else {"computed_share": share, "hit_share": max(0.0, 1 - share)}


def judge(medians: Mapping[str, Mapping[str, float]]) -> list[Judged]:
    """Say what is wanted: by prefix engines compute at most half of what they compute by load."""
    ours, other = (medians.get(policy, {}).get("computed_share") for policy in (PREFIX, OTHER))
    return [at_most("tokens computed, by prefix / by load ≤ 0.5", quotient(ours, other), 0.5, compares=True)]
