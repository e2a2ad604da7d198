"""What is sent when, as the options say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice, repeat
from pathlib import Path
from random import Random
from typing import Any

import click
from attrs import frozen

from sllm_actors.loadgen.conversations import read_conversations
from sllm_actors.loadgen.traces.reading import read_trace
from sllm_actors.loadgen.work import arrivals
from sllm_actors.loadgen.work.lengths import Lengths
from sllm_actors.loadgen.work.offered import Offered, Shape, until
from sllm_actors.loadgen.work.popularity import Popularity
from sllm_actors.loadgen.work.request import LoadRequest

DEFAULT_SECONDS = 30.0
"""How long requests are sent where nothing says how long or how many."""

DEFAULT_OUTPUT = Lengths(64, 64)
"""Tokens of answers where neither an option nor a trace says it."""

ONCE = Lengths(1, 1)


@frozen
class LoadChoice:
    """Those options that say which requests are sent, as click gives them."""

    models: tuple[str, ...]
    zipf: float | None
    weights: tuple[float, ...] | None
    rate: float | None
    arrivals: str | None
    cv: float | None
    clients: int | None
    trace: Path | None
    speed: float | None
    trace_begin: float | None
    duration: float | None
    requests: int | None
    input_tokens: Lengths
    output_tokens: Lengths | None
    prefix_tokens: int
    prefixes: int
    turns: Lengths
    prompts: Path | None
    hang_up: float
    seed: int

    def check(self) -> None:
        """Look whether the options go together.

        Raises:
            click.UsageError: They do not; the text says which.
        """
        if not self.models:
            raise click.UsageError("name with --model whom to ask")
        if sum(each is not None for each in (self.rate, self.clients, self.trace)) != 1:
            raise click.UsageError("give one of --rate (an open loop), --clients (a closed one) and --trace")
        if self.rate is None and (self.arrivals or self.cv is not None):
            raise click.UsageError("--arrivals and --cv are for --rate")
        if self.cv is not None and self.arrivals not in (None, "gamma"):
            raise click.UsageError("--cv is for --arrivals gamma")
        if self.trace is None and (self.speed is not None or self.trace_begin is not None):
            raise click.UsageError("--speed and --trace-begin are for --trace")
        if self.trace is not None and (self.prompts is not None or self.turns != ONCE):
            raise click.UsageError("--prompts and --turns do not go with --trace")
        self._check_models()

    def _check_models(self) -> None:
        if self.weights is not None:
            if self.zipf is not None:
                raise click.UsageError("give either --zipf or --weights")
            if len(self.weights) != len(self.models):
                raise click.UsageError(
                    f"--weights has {len(self.weights)} numbers for {len(self.models)} models: "
                    "give one for each"
                )
        for model in self.models:
            if self.models.count(model) > 1:
                raise click.UsageError(f"--model {model} is given twice: keep one of them")

    @property
    def seconds(self) -> float | None:
        """For how long requests are sent, or None for as long as there are some."""
        unlimited = self.requests is not None or self.trace is not None
        return DEFAULT_SECONDS if self.duration is None and not unlimited else self.duration

    @property
    def popularity(self) -> Popularity:
        """Which models are asked for."""
        if self.weights is not None:
            return Popularity.weighted(self.models, self.weights)
        return Popularity.zipf(self.models, self.zipf or 0.0)

    def offered(self, warn: Callable[[str], None]) -> Iterator[LoadRequest]:
        """Return the requests.

        Args:
            warn: Is told what is odd about a file.

        Raises:
            LoadProblem: A file cannot be read, or is not of its format.
        """
        shape = Shape(
            self.popularity,
            self.input_tokens,
            self.output_tokens or DEFAULT_OUTPUT,
            self.hang_up,
            self.prefix_tokens,
            self.prefixes,
            self.turns,
            () if self.prompts is None else self._prompts(self.prompts, warn),
        )
        offered = Offered(shape, self.seed)
        if self.trace is not None:
            found = self._traced(offered, self.trace)
        else:
            found = offered.synthetic(self._arrivals())
            if self.seconds is not None:
                found = until(self.seconds, found)
        return islice(found, self.requests)

    @staticmethod
    def _prompts(file: Path, warn: Callable[[str], None]) -> Sequence[Sequence[str]]:
        found = read_conversations(file)
        if found.cut_short:
            warn(f"{file} is cut short: its {len(found.said)} whole conversations are used")
        return found.said

    def _traced(self, offered: Offered, trace: Path) -> Iterator[LoadRequest]:
        begin, speed = self.trace_begin or 0.0, self.speed or 1.0
        end = None if self.duration is None else begin + self.duration * speed
        rows = read_trace(trace, begin=begin, end=end, seed=self.seed)
        return offered.traced(rows, speed, lengths=self.output_tokens is None)

    def _arrivals(self) -> Iterator[float]:
        if self.rate is None:
            return repeat(0.0)
        chance = Random(f"{self.seed}/arrivals")  # noqa: S311 - nothing is kept secret by it
        if self.arrivals == "constant":
            return arrivals.constant(self.rate)
        if self.arrivals == "gamma" or self.cv is not None:
            return arrivals.gamma(self.rate, 1.0 if self.cv is None else self.cv, chance)
        return arrivals.poisson(self.rate, chance)

    def described(self) -> dict[str, Any]:
        """Return what a reader of a result needs to know of it; plain JSON values."""
        poisson = self.rate is not None and self.cv is None
        return {
            "models": list(self.models),
            "zipf": self.zipf,
            "weights": None if self.weights is None else list(self.weights),
            "rate": self.rate,
            "arrivals": self.arrivals or ("poisson" if poisson else "gamma" if self.cv else None),
            "cv": self.cv,
            "clients": self.clients,
            "trace": None if self.trace is None else self.trace.name,
            "speed": self.speed,
            "trace_begin": self.trace_begin,
            "duration": self.seconds,
            "requests": self.requests,
            "input_tokens": str(self.input_tokens),
            "output_tokens": None if self.output_tokens is None else str(self.output_tokens),
            "prefix_tokens": self.prefix_tokens,
            "prefixes": self.prefixes,
            "turns": str(self.turns),
            "prompts": None if self.prompts is None else self.prompts.name,
            "hang_up": self.hang_up,
            "seed": self.seed,
        }
