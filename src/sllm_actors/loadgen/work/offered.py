"""The requests of a whole run, one after the other. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from itertools import takewhile

from attrs import frozen

from .lengths import Lengths
from .popularity import Popularity
from .request import ChatMessage, LoadRequest
from .synthetic import Synthetic


@frozen
class Shape:
    """What requests with synthetic prompts are like.

    Attributes:
        popularity: Which models are asked for.
        input: Tokens of prompts.
        output: Tokens that answers may have.
        hang_up: The share of the clients that leave before they have their whole answer, 0 to 1.
    """

    popularity: Popularity
    input: Lengths
    output: Lengths
    hang_up: float = 0.0


def synthetic(shape: Shape, arrivals: Iterable[float], seed: int) -> Iterator[LoadRequest]:
    """Yield a request for each arrival; the same ones for the same seed."""
    chance = random.Random(f"{seed}/requests")  # noqa: S311 - nothing is kept secret by it
    texts = Synthetic(random.Random(f"{seed}/texts"))  # noqa: S311
    for at in arrivals:
        prompt = texts.text(shape.input.draw(chance))
        yield LoadRequest(
            at,
            shape.popularity.pick(chance),
            (ChatMessage("user", prompt),),
            shape.output.draw(chance),
            hangs_up=shape.hang_up > 0 and chance.random() < shape.hang_up,
        )


def until(duration: float, requests: Iterable[LoadRequest]) -> Iterator[LoadRequest]:
    """Yield the requests that arrive before ``duration`` seconds are over."""
    return takewhile(lambda each: each.at < duration, requests)
