"""What is sent when, as the options say."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, repeat
from random import Random
from typing import Any

import click
from attrs import frozen

from sllm_actors.loadgen.work import arrivals
from sllm_actors.loadgen.work.lengths import Lengths
from sllm_actors.loadgen.work.offered import Shape, synthetic, until
from sllm_actors.loadgen.work.popularity import Popularity
from sllm_actors.loadgen.work.request import LoadRequest

DEFAULT_SECONDS = 30.0
"""How long requests are sent where nothing says how long or how many."""


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
    duration: float | None
    requests: int | None
    input_tokens: Lengths
    output_tokens: Lengths
    hang_up: float
    seed: int

    def check(self) -> None:
        """Look whether the options go together.

        Raises:
            click.UsageError: They do not; the text says which.
        """
        if not self.models:
            raise click.UsageError("name with --model whom to ask")
        if (self.rate is None) == (self.clients is None):
            raise click.UsageError("give either --rate (an open loop) or --clients (a closed one)")
        if self.rate is None and (self.arrivals or self.cv is not None):
            raise click.UsageError(
                "--arrivals and --cv are for --rate: clients of --clients ask when they have an answer"
            )
        if self.cv is not None and self.arrivals not in (None, "gamma"):
            raise click.UsageError("--cv is for --arrivals gamma")
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
        return DEFAULT_SECONDS if self.duration is None and self.requests is None else self.duration

    @property
    def popularity(self) -> Popularity:
        """Which models are asked for."""
        if self.weights is not None:
            return Popularity.weighted(self.models, self.weights)
        return Popularity.zipf(self.models, self.zipf or 0.0)

    def offered(self) -> Iterator[LoadRequest]:
        """Return the requests."""
        shape = Shape(self.popularity, self.input_tokens, self.output_tokens, self.hang_up)
        found = synthetic(shape, self._arrivals(), self.seed)
        if self.seconds is not None:
            found = until(self.seconds, found)
        return islice(found, self.requests)

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
        return {
            "models": list(self.models),
            "zipf": self.zipf,
            "weights": None if self.weights is None else list(self.weights),
            "rate": self.rate,
            "arrivals": self.arrivals or ("poisson" if self.rate is not None and self.cv is None else None),
            "cv": self.cv,
            "clients": self.clients,
            "duration": self.seconds,
            "requests": self.requests,
            "input_tokens": str(self.input_tokens),
            "output_tokens": str(self.output_tokens),
            "hang_up": self.hang_up,
            "seed": self.seed,
        }
