"""What is asked of both systems, and how fast it is answered."""

from __future__ import annotations

import random
from typing import Any, Final

import httpx2
from attrs import frozen

from bench.scenarios.asking import Answers, Body, closed_loop, completion

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


def figures(answers: Answers, switches: int) -> dict[str, float]:
    """Return the figures of the table."""
    answered = len(answers.waits) / max(1, switches)
    return {**answers.figures(), "switches": float(switches), "requests_per_switch": answered}


def name(model: int) -> str:
    """Return what clients call a model."""
    return f"m{model}"


async def ask(url: str, work: Work, seed: int, transport: httpx2.AsyncBaseTransport | None = None) -> Answers:
    """Let all clients ask for ``work.seconds``, and wait for the last answers."""

    def body(chance: random.Random) -> Body:
        (model,) = chance.choices(range(work.models), work.weights)
        return completion(name(model), f"Once upon a time in {chance.randrange(1000)}", work.tokens)

    return await closed_loop(url, work.clients, work.seconds, body, seed=seed, transport=transport)
