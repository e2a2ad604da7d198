"""Load generators of somebody else, each given the same streams to ask for; what each found, as medians."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from bench.registry import VLLM

ROOT: Final = Path(__file__).resolve().parents[2]
AIPERF: Final = ROOT / ".bench-peers/aiperf/bin/aiperf"
VLLM_BENCH: Final = ROOT / "bench/proofs/vllm_bench.py"

PATIENCE: Final = 600.0


class LoadFailed(Exception):
    """A generator ended with an error; the text is what it said."""


@frozen
class Streams:
    """What a generator is to ask for, at a constant rate.

    Attributes:
        port: Of the upstream, on loopback.
        model: Its name.
        tokens: Of each answer.
        rate: Requests per second.
        requests: How many.
    """

    port: int
    model: str
    tokens: int
    rate: int
    requests: int

    @property
    def url(self) -> str:
        """Where the upstream is."""
        return f"http://127.0.0.1:{self.port}"


@frozen
class LoadPeer:
    """A generator.

    Attributes:
        name: Its row.
        missing: Why it cannot be run here, or None.
        measure: Runs it, and returns the medians of ``ttft``, ``tpot`` and ``e2e`` in milliseconds.
    """

    name: str
    missing: str | None
    measure: Callable[[Streams], Mapping[str, float]]


def load_peers() -> list[LoadPeer]:
    """Return all of them, installed or not."""
    words = None if tokenizer() else "it needs a tokenizer: run `make test-vllm` once"
    return [
        LoadPeer("vllm bench serve", words if VLLM.exists() else "run `make vllm`", vllm_bench),
        LoadPeer("aiperf", words if AIPERF.exists() else "run `make bench-peers PEERS=aiperf`", aiperf),
    ]


def vllm_bench(streams: Streams) -> Mapping[str, float]:
    """Measure ``vllm bench serve``.

    Raises:
        LoadFailed: It ended with an error.
    """
    with tempfile.TemporaryDirectory(prefix="sllm-") as folder:
        where = {"base-url": streams.url, "endpoint": "/v1/chat/completions", "model": streams.model}
        what = {"dataset-name": "random", "random-input-len": 24, "random-output-len": streams.tokens}
        when = {"num-prompts": streams.requests, "request-rate": streams.rate, "burstiness": 1e6}
        kept = {"result-dir": folder, "result-filename": "result.json", "tokenizer": tokenizer()}
        shown = {"percentile-metrics": "ttft,tpot,itl,e2el", "backend": "openai-chat"}
        given = _options({**where, **what, **when, **kept, **shown})
        run([str(VLLM), str(VLLM_BENCH), "bench", "serve", *given, "--save-result", "--disable-tqdm"])
        found = json.loads((Path(folder) / "result.json").read_text())
    return {
        name: found[f"median_{name}{'l' if name == 'e2e' else ''}_ms"] for name in ("ttft", "tpot", "e2e")
    }


def aiperf(streams: Streams) -> Mapping[str, float]:
    """Measure ``aiperf profile``.

    Raises:
        LoadFailed: It ended with an error.
    """
    with tempfile.TemporaryDirectory(prefix="sllm-") as folder:
        where = {"url": streams.url, "endpoint-type": "chat", "model": streams.model}
        what = {"isl": 24, "osl": streams.tokens, "tokenizer": tokenizer()}
        when = {"request-count": streams.requests, "request-rate": streams.rate}
        how = {"arrival-pattern": "constant", "ui": "none", "output-artifact-dir": folder}
        given = _options({**where, **what, **when, **how})
        run([str(AIPERF), "profile", *given, "--streaming", "--no-gpu-telemetry", "--no-server-metrics"])
        found = json.loads((Path(folder) / "profile_export_aiperf.json").read_text())
    names = {"ttft": "time_to_first_token", "tpot": "inter_token_latency", "e2e": "request_latency"}
    return {ours: found[theirs]["p50"] for ours, theirs in names.items()}


def run(command: list[str]) -> None:
    """Run a generator.

    Raises:
        LoadFailed: It ended with an error.
    """
    # As a library finds out whether a tokenizer's name is that of a folder: offline, aiperf does not look.
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_OFFLINE")}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    if done.returncode:
        raise LoadFailed((done.stderr or done.stdout)[-500:])


def tokenizer() -> Path | None:
    """Return a folder with a tokenizer, which the other generators cannot do without, or None."""
    return next(iter(sorted((ROOT / ".engines/models").glob("*/files"))), None)


def _options(given: Mapping[str, Any]) -> list[str]:
    return [text for name, value in given.items() for text in (f"--{name}", str(value))]
