"""What is asked of both systems, and how fast it is answered."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from statistics import quantiles
from typing import Any, Final

import httpx2
from attrs import define, field, frozen

SOURCE: Final = "demo:smollm2-135m"
SETTINGS: Final[dict[str, Any]] = {"n_ctx": 1024, "n_parallel": 4}


@frozen
class Work:
    """Closed-loop clients that ask models by Zipf's law, each without a pause.

    Attributes:
        models: How many models there are.
        room: How many engines run at a time.
        clients: How many clients there are.
        alpha: The exponent of Zipf's law.
        tokens: How many tokens each answer has.
        seconds: How long they ask.
    """

    models: int = 8
    room: int = 2
    clients: int = 16
    alpha: float = 1.0
    tokens: int = 16
    seconds: float = 60.0

    @property
    def weights(self) -> list[float]:
        """How often each model is asked, relative to the first."""
        return [(rank + 1) ** -self.alpha for rank in range(self.models)]


@define
class Answered:
    """What came of it.

    Attributes:
        waits: Seconds that each answered request took.
        by_model: How many were answered of each model.
        failures: What came instead of an answer.
        seconds: From the first request to the last answer.
    """

    waits: list[float] = field(factory=list)
    by_model: Counter[int] = field(factory=Counter)
    failures: list[str] = field(factory=list)
    seconds: float = 0.0

    def figures(self, switches: int) -> dict[str, float]:
        """Return the figures of the table."""
        cut = quantiles(self.waits, n=100) if len(self.waits) > 1 else [0.0] * 99
        return {
            "rps": len(self.waits) / self.seconds,
            "wait_p50_s": cut[49],
            "wait_p99_s": cut[98],
            "switches": float(switches),
            "requests_per_switch": len(self.waits) / max(1, switches),
            "errors": float(len(self.failures)),
        }


def name(model: int) -> str:
    """Return what clients call a model."""
    return f"m{model}"


async def ask(
    url: str, work: Work, seed: int, transport: httpx2.AsyncBaseTransport | None = None
) -> Answered:
    """Let all clients ask for ``work.seconds``, and wait for the last answers."""
    answered = Answered()
    began = time.monotonic()
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=work.clients)
    async with (
        httpx2.AsyncClient(
            base_url=url, timeout=600, limits=limits, transport=transport, trust_env=False
        ) as http,
        asyncio.TaskGroup() as group,
    ):
        for client in range(work.clients):
            chance = random.Random(f"{seed}.{client}")
            group.create_task(_client(http, work, chance, began + work.seconds, answered))
    answered.seconds = time.monotonic() - began
    return answered


async def _client(
    http: httpx2.AsyncClient, work: Work, chance: random.Random, until: float, answered: Answered
) -> None:
    while (began := time.monotonic()) < until:
        (model,) = chance.choices(range(work.models), work.weights)
        body = {
            "model": name(model),
            "prompt": f"Once upon a time in {chance.randrange(1000)}",
            "max_tokens": work.tokens,
            "temperature": 0,
            "ignore_eos": True,
        }
        try:
            answer = await http.post("/v1/completions", json=body)
        except httpx2.TransportError as error:
            answered.failures.append(repr(error))
            continue
        if answer.status_code == 200:
            answered.waits.append(time.monotonic() - began)
            answered.by_model[model] += 1
        else:
            answered.failures.append(f"{answer.status_code} {answer.text[:200]}")
