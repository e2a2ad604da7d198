"""The load generator, measured: ``python -m bench run serve``.

What it can do is measured before an upstream that does nothing. Its figures are held against those of other
generators on the same work, and all of them against the upstream's own clock: streams of 16 tokens, the first
one after 100 ms and the others 20 ms apart.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from bench.harness.experiment import ROOT, Experiment, benchmark
from bench.harness.measures import Measure
from bench.harness.targets import Judged, at_least, at_most, quotient
from bench.peers.generators import LoadFailed, Streams, load_peers, run

PACKAGES = ("sllm-actors", "uvloop", "httptools", "hdrhistogram")
OURS = "sllm bench serve"

MODEL = "bench"
TOKENS = 16
APART_MS = 20
STREAM = f"wait 100 ms then {TOKENS} tokens {APART_MS} ms apart"
STREAM_RATE = 20
SLOW_STREAM = "10 tokens 1000 ms apart"
"""Names of models by which the upstream is told what to answer."""

MANY = 2000
RATE = 1000
CLIENTS = 64

AGREEMENT = 0.05
"""How far the figures of the two may be apart."""

AGREED = {"ttft": "first token, median", "tpot": "per token, median", "e2e": "end to end, median"}

MEASURES = {
    each.name: each
    for each in (
        Measure("rps", "requests per second, 64 clients", "1/s", higher_is_better=True),
        Measure("lag_p99_ms", "sent late at 1,000/s, p99", "ms", higher_is_better=False),
        Measure("added_p99_ms", "latency at 1,000/s before an upstream that does nothing, p99", "ms", False),
        Measure("streams", "streams open together, all whole", "", higher_is_better=True),
        *(
            Measure(f"{name}_p50_ms", f"{text} of the same streams", "ms", False)
            for name, text in AGREED.items()
        ),
        *(
            Measure(f"{name}_over_ms", f"{text}, over the upstream's own clock", "ms", False)
            for name, text in AGREED.items()
        ),
    )
}


@benchmark("serve", PACKAGES)
@click.option("--seconds", type=click.FloatRange(min=1), default=8.0, show_default=True, help="Of each load.")
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True)
@click.option("--check", is_flag=True, help="Exit with status 1 when a figure is not what is wanted.")
def main(experiment: Experiment, seconds: float, rounds: int, check: bool) -> None:
    """Measure sllm bench serve itself, and whether other generators, where they are here, find the same."""
    peers = {each.name: each.measure for each in load_peers() if each.missing is None}
    for each in load_peers():
        if each.missing is not None:
            experiment.say(f"{each.name} is left out: {each.missing}")
    experiment.conditions |= {"seconds": seconds, "rounds": rounds}
    with upstream() as port, experiment.measuring():

        def measure(name: str) -> dict[str, float]:
            return ours(port, seconds) if name == OURS else same_work(port, seconds, peers[name])

        experiment.collect((OURS, *peers), rounds, measure, expected=LoadFailed)
    results = experiment.results(MEASURES, basis=next(iter(peers), ""), ours=[OURS], judge=judge)
    experiment.finish(results, needed=[OURS], check=check)


def ours(port: int, seconds: float) -> dict[str, float]:
    """Measure ``sllm bench serve``."""
    length = ("--duration", f"{seconds:g}")
    closed = sllm(port, "--clients", str(CLIENTS), "--no-stream", *length)
    flat = ("--rate", str(RATE), "--arrivals", "constant")
    opened = sllm(port, *flat, "--no-stream", *length)
    many = sllm(port, "--clients", str(MANY), "--requests", str(MANY), model=SLOW_STREAM)
    return {
        "rps": closed["per_second"]["requests"],
        "lag_p99_ms": opened["generator"]["lag_ms"]["p99"],
        "added_p99_ms": opened["latency_ms"]["e2e"]["p99"],
        "streams": many["requests"]["answered"],
        **same_work(port, seconds, our_streams),
    }


def same_work(port: int, seconds: float, ask: Callable[[Streams], Mapping[str, float]]) -> dict[str, float]:
    """Have a generator ask the upstream for streams, and hold what it finds against its clock."""
    measured_upstream(port)
    found = ask(Streams(port, STREAM, TOKENS, STREAM_RATE, int(STREAM_RATE * seconds)))
    truth = measured_upstream(port)
    figures = {f"{name}_p50_ms": found[name] for name in AGREED}
    return figures | {f"{name}_over_ms": found[name] - truth[name] for name in AGREED}


def measured_upstream(port: int) -> dict[str, float]:
    """Return what the upstream measured since it was asked last: medians in milliseconds."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/latencies", timeout=30) as answer:
        found: dict[str, float] = json.load(answer)
    return found


def our_streams(streams: Streams) -> Mapping[str, float]:
    """Measure ``sllm bench serve`` on those streams."""
    count = ("--rate", str(streams.rate), "--arrivals", "constant", "--requests", str(streams.requests))
    found = sllm(streams.port, *count, model=streams.model)["latency_ms"]
    return {name: found[name]["p50"] for name in AGREED}


def sllm(port: int, *arguments: str, model: str = MODEL) -> dict[str, Any]:
    """Run ``sllm bench serve``, and return its document."""
    with tempfile.TemporaryDirectory(prefix="sllm-") as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, "-m", "sllm_actors", "bench", "serve", "--input-tokens", "24"]
        to = ("--url", f"http://127.0.0.1:{port}", "--model", model, "--json", str(result))
        run([*command, *to, *arguments])
        found: dict[str, Any] = json.loads(result.read_text())
    failed = found["requests"]["failed"]
    if failed:
        raise LoadFailed(f"{failed} requests failed: {', '.join(found['errors'])}")
    return found


@contextmanager
def upstream() -> Iterator[int]:
    """Run the upstream that does nothing, and yield its port."""
    command = [sys.executable, str(ROOT / "bench/gateway_suite/upstream.py"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline().split()[1])
        finally:
            process.kill()


def judge(medians: Mapping[str, Mapping[str, float]]) -> list[Judged]:
    """Hold our figures against what is wanted."""
    found = medians.get(OURS, {})
    return [
        at_least("requests per second of one process ≥ 5,000", found.get("rps"), 5000),
        at_most("sent late at 1,000/s, p99 ≤ 1 ms", found.get("lag_p99_ms"), 1.0),
        at_least(f"streams open together ≥ {MANY}", found.get("streams"), MANY),
        at_most("first token, over the upstream's clock ≤ 1 ms", found.get("ttft_over_ms"), 1.0),
        *(
            _agrees(name, found, other, medians[other])
            for other in medians
            if other != OURS
            for name in AGREED
        ),
    ]


def _agrees(name: str, ours: Mapping[str, float], other: str, theirs: Mapping[str, float]) -> Judged:
    target = f"{AGREED[name]}: within 5 % of {other}, or nearer to the upstream's clock"
    ratio = quotient(ours.get(f"{name}_p50_ms"), theirs.get(f"{name}_p50_ms"))
    if ratio is None:
        return Judged(target, None, None, compares=True)
    nearer = abs(ours[f"{name}_over_ms"]) <= abs(theirs[f"{name}_over_ms"])
    return Judged(target, ratio, abs(ratio - 1) <= AGREEMENT or nearer, compares=True)
