"""Clients that ask for completions, and what they were answered."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any, Final

import httpx2
from attrs import define, field

from bench.harness.measures import Measure, rate
from bench.harness.spread import percentile

PATIENCE: Final = 600.0
"""Seconds that an answer may take."""

WORDS: Final = 200
"""Characters of a refusal that are kept."""

Body = dict[str, Any]
MakeBody = Callable[[random.Random], Body]

MEASURES: Final = {
    measure.name: measure
    for measure in (
        rate("rps", "requests answered per second"),
        Measure("wait_p50_s", "median of a request's time", "s", higher_is_better=False),
        Measure("wait_p99_s", "99th percentile of a request's time", "s", higher_is_better=False),
        Measure("wait_max_s", "the longest request's time", "s", higher_is_better=False),
        Measure("errors", "requests that failed", "", higher_is_better=False),
    )
}


@define
class Answers:
    """What came of requests.

    Attributes:
        waits: Seconds that each answered request took.
        bodies: What was answered.
        failures: What came instead of an answer.
        seconds: From the first request to the last answer.
    """

    waits: list[float] = field(factory=list)
    bodies: list[Body] = field(factory=list)
    failures: list[str] = field(factory=list)
    seconds: float = 0.0

    def figures(self) -> dict[str, float]:
        """Return the figures of ``MEASURES``; without an answer there are no times."""
        found = {"rps": len(self.waits) / self.seconds, "errors": float(len(self.failures))}
        if self.waits:
            times = {"wait_p50_s": 0.5, "wait_p99_s": 0.99, "wait_max_s": 1.0}
            found |= {name: percentile(self.waits, share) for name, share in times.items()}
        return found


def completion(model: str, prompt: str, tokens: int) -> Body:
    """Return the body of a request for just so many tokens."""
    return {
        "model": model,
        "prompt": prompt,
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
    }


async def closed_loop(
    url: str,
    clients: int,
    seconds: float,
    body: MakeBody,
    *,
    seed: int = 0,
    transport: httpx2.AsyncBaseTransport | None = None,
) -> Answers:
    """Let each client ask without a pause for so long, and wait for the last answers.

    Args:
        url: The server, without ``/v1``.
        body: Makes a request by chance.
        seed: Of the chance.
        transport: How the server is reached, if not by its address.
    """

    async def ask_on(answers: Answers, http: httpx2.AsyncClient, client: int, until: float) -> None:
        chance = random.Random(f"{seed}.{client}")
        while time.monotonic() < until:
            await _ask(answers, http, body(chance))

    async with _open(url, clients, transport) as http:
        return await _all(
            lambda answers, until: [ask_on(answers, http, each, until) for each in range(clients)], seconds
        )


async def at_once(url: str, bodies: list[Body]) -> Answers:
    """Send all requests at the same instant, each on a connection of its own, and wait for the answers."""
    async with _open(url, len(bodies), None) as http:
        return await _all(lambda answers, _: [_ask(answers, http, each) for each in bodies], 0.0)


def _open(url: str, connections: int, transport: httpx2.AsyncBaseTransport | None) -> httpx2.AsyncClient:
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=connections)
    return httpx2.AsyncClient(
        base_url=url, timeout=PATIENCE, limits=limits, transport=transport, trust_env=False
    )


async def _all(asks: Callable[[Answers, float], list[Any]], seconds: float) -> Answers:
    answers, began = Answers(), time.monotonic()
    async with asyncio.TaskGroup() as group:
        for each in asks(answers, began + seconds):
            group.create_task(each)
    answers.seconds = time.monotonic() - began
    return answers


async def _ask(answers: Answers, http: httpx2.AsyncClient, body: Body) -> None:
    began = time.monotonic()
    try:
        answer = await http.post("/v1/completions", json=body)
    except httpx2.TransportError as error:
        answers.failures.append(repr(error))
        return
    if answer.status_code == httpx2.codes.OK:
        answers.waits.append(time.monotonic() - began)
        answers.bodies.append(answer.json())
    else:
        answers.failures.append(f"{answer.status_code} {answer.text[:WORDS]}")
