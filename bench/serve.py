"""The load generator, measured: ``python -m bench run serve``.

What it can do is measured before an upstream that does nothing, and its figures are held against those of
``vllm bench serve`` on the same work: streams of 16 tokens, 20 ms apart.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from bench.harness.experiment import ROOT, Experiment, benchmark
from bench.harness.measures import Measure
from bench.harness.targets import Judged, at_least, at_most, quotient
from bench.registry import VLLM

PACKAGES = ("sllm-actors", "uvloop", "httptools", "hdrhistogram")
OURS = "sllm bench serve"
THEIRS = "vllm bench serve"

MODEL = "bench"
TOKENS = 16
APART_MS = 20
STREAM = f"{TOKENS} tokens {APART_MS} ms apart"
SLOW_STREAM = "10 tokens 1000 ms apart"
"""Names of models by which the upstream is told what to answer."""

MANY = 2000
RATE = 1000
CLIENTS = 64

AGREEMENT = 0.05
"""How far the figures of the two may be apart."""

AGREED = {
    "ttft_p50_ms": "first token, median",
    "tpot_p50_ms": "per token, median",
    "e2e_p50_ms": "end to end, median",
}

MEASURES = {
    each.name: each
    for each in (
        Measure("rps", "requests per second, 64 clients", "1/s", higher_is_better=True),
        Measure("lag_p99_ms", "sent late at 1,000/s, p99", "ms", higher_is_better=False),
        Measure("added_p99_ms", "latency at 1,000/s before an upstream that does nothing, p99", "ms", False),
        Measure("streams", "streams open together, all whole", "", higher_is_better=True),
        *(Measure(name, f"{text} (16 tokens, 20 ms apart)", "ms", False) for name, text in AGREED.items()),
    )
}


class LoadFailed(Exception):
    """A generator ended with an error; the text is what it said."""


@benchmark("serve", PACKAGES)
@click.option("--seconds", type=click.FloatRange(min=1), default=8.0, show_default=True, help="Of each load.")
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True)
@click.option("--check", is_flag=True, help="Exit with status 1 when a figure is not what is wanted.")
def main(experiment: Experiment, seconds: float, rounds: int, check: bool) -> None:
    """Measure sllm bench serve itself, and whether vllm bench serve, where it is here, finds the same."""
    subjects: dict[str, Callable[[int, float], dict[str, float]]] = {OURS: ours}
    if VLLM.exists() and tokenizer() is not None:
        subjects[THEIRS] = theirs
    else:
        experiment.say(f"{THEIRS} is left out: run `make test-vllm` once")
    experiment.conditions |= {"seconds": seconds, "rounds": rounds}
    with upstream() as port, experiment.measuring():
        experiment.collect(subjects, rounds, lambda name: subjects[name](port, seconds), expected=LoadFailed)
    results = experiment.results(MEASURES, basis=THEIRS, ours=[OURS], judge=judge)
    experiment.finish(results, needed=[OURS], check=check)


def ours(port: int, seconds: float) -> dict[str, float]:
    """Measure ``sllm bench serve``."""
    length = ("--duration", f"{seconds:g}")
    closed = sllm(port, "--clients", str(CLIENTS), "--no-stream", *length)
    flat = ("--rate", str(RATE), "--arrivals", "constant")
    opened = sllm(port, *flat, "--no-stream", *length)
    many = sllm(port, "--clients", str(MANY), "--requests", str(MANY), model=SLOW_STREAM)
    same = sllm(port, "--rate", "20", "--arrivals", "constant", *length, model=STREAM)
    latency = same["latency_ms"]
    return {
        "rps": closed["per_second"]["requests"],
        "lag_p99_ms": opened["generator"]["lag_ms"]["p99"],
        "added_p99_ms": opened["latency_ms"]["e2e"]["p99"],
        "streams": many["requests"]["answered"],
        "ttft_p50_ms": latency["ttft"]["p50"],
        "tpot_p50_ms": latency["tpot"]["p50"],
        "e2e_p50_ms": latency["e2e"]["p50"],
    }


def theirs(port: int, seconds: float) -> dict[str, float]:
    """Measure ``vllm bench serve`` on the work that both are given."""
    with tempfile.TemporaryDirectory(prefix="sllm-") as folder:
        command = [str(VLLM), str(ROOT / "bench/proofs/vllm_bench.py"), "bench", "serve"]
        where = {"base-url": f"http://127.0.0.1:{port}", "endpoint": "/v1/chat/completions", "model": STREAM}
        what = {"dataset-name": "random", "random-input-len": 24, "random-output-len": TOKENS}
        when = {"num-prompts": int(20 * seconds), "request-rate": 20, "burstiness": 1e6}
        kept = {"result-dir": folder, "result-filename": "result.json", "tokenizer": tokenizer()}
        shown = {"percentile-metrics": "ttft,tpot,itl,e2el", "backend": "openai-chat"}
        for name, value in {**where, **what, **when, **kept, **shown}.items():
            command += [f"--{name}", str(value)]
        run([*command, "--save-result", "--disable-tqdm"])
        found = json.loads((Path(folder) / "result.json").read_text())
    return {
        "ttft_p50_ms": found["median_ttft_ms"],
        "tpot_p50_ms": found["median_tpot_ms"],
        "e2e_p50_ms": found["median_e2el_ms"],
    }


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


def run(command: list[str]) -> None:
    """Run a generator.

    Raises:
        LoadFailed: It ended with an error.
    """
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise LoadFailed((done.stderr or done.stdout)[-500:])


def tokenizer() -> Path | None:
    """Return a folder with a tokenizer, which the other generator cannot do without, or None."""
    return next(iter(sorted((ROOT / ".engines/models").glob("*/files"))), None)


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
    found, other = medians.get(OURS, {}), medians.get(THEIRS, {})
    apart = [
        _within(
            f"{AGREED[name]}: as {THEIRS} finds it, within 5 %", quotient(found.get(name), other.get(name))
        )
        for name in ("tpot_p50_ms", "e2e_p50_ms")
    ]
    return [
        at_least("requests per second of one process ≥ 5,000", found.get("rps"), 5000),
        at_most("sent late at 1,000/s, p99 ≤ 1 ms", found.get("lag_p99_ms"), 1.0),
        at_least(f"streams open together ≥ {MANY}", found.get("streams"), MANY),
        *(apart if other else []),
    ]


def _within(target: str, ratio: float | None) -> Judged:
    met = None if ratio is None else abs(ratio - 1) <= AGREEMENT
    return Judged(target, ratio, met, compares=True)
