"""The requests of a whole run, one after the other. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from zlib import crc32

from attrs import field, frozen

from sllm_actors.loadgen.traces.row import TraceRow

from .lengths import Lengths
from .popularity import Popularity
from .request import ChatMessage, LoadRequest
from .synthetic import Synthetic

MOST_BLOCKS = 8192
"""Blocks of a trace's prompts whose texts are kept; others are made anew, and come out the same."""


@frozen
class Shape:
    """What requests are like.

    Attributes:
        popularity: Which models are asked for.
        input: Tokens of prompts.
        output: Tokens that answers may have.
        hang_up: The share of the clients that leave before they have their whole answer, 0 to 1.
        prefix_tokens: Tokens of the system message that prompts share; 0 for none.
        prefixes: How many such messages there are; each prompt has one of them.
        turns: How often a client asks, with all that was said so far.
        prompts: Real conversations to ask instead of synthetic prompts: what their clients said.
    """

    popularity: Popularity
    input: Lengths
    output: Lengths
    hang_up: float = 0.0
    prefix_tokens: int = 0
    prefixes: int = 1
    turns: Lengths = field(factory=lambda: Lengths(1, 1))
    prompts: Sequence[Sequence[str]] = ()


class Offered:
    """Makes the requests of a run; the same ones for the same seed.

    Args:
        shape: What they are like.
        seed: For all that is left to chance.
    """

    def __init__(self, shape: Shape, seed: int) -> None:
        self._shape = shape
        self._seed = seed
        self._chance = random.Random(f"{seed}/requests")  # noqa: S311 - nothing is kept secret by it
        self._texts = Synthetic(random.Random(f"{seed}/texts"))  # noqa: S311
        prefixes = shape.prefixes if shape.prefix_tokens else 0
        self._prefixes = [self._texts.text(shape.prefix_tokens) for _ in range(prefixes)]
        self._blocks: dict[tuple[int, int], str] = {}

    def synthetic(self, arrivals: Iterable[float]) -> Iterator[LoadRequest]:
        """Yield a request for each arrival."""
        for at in arrivals:
            yield self._request(at, self._shape.popularity.pick(self._chance), self._conversation())

    def traced(self, rows: Iterable[TraceRow], speed: float, *, lengths: bool) -> Iterator[LoadRequest]:
        """Yield a request for each one of a trace.

        Args:
            rows: The trace.
            speed: How many times faster than in the trace they come.
            lengths: Whether answers may have as many tokens as in the trace.
        """
        for row in rows:
            output = row.output_tokens if lengths else None
            yield self._request(row.at / speed, self._model(row), [self._prompt(row)], output)

    def _request(self, at: float, model: str, said: Sequence[str], output: int | None = None) -> LoadRequest:
        shape, chance = self._shape, self._chance
        messages = [ChatMessage("user", said[0])]
        if self._prefixes:
            messages.insert(0, ChatMessage("system", chance.choice(self._prefixes)))
        return LoadRequest(
            at,
            model,
            tuple(messages),
            max(1, output) if output is not None else shape.output.draw(chance),
            hangs_up=shape.hang_up > 0 and chance.random() < shape.hang_up,
            further=tuple(said[1:]),
        )

    def _conversation(self) -> Sequence[str]:
        turns = self._shape.turns.draw(self._chance)
        if self._shape.prompts:
            return self._chance.choice(self._shape.prompts)[:turns]
        return [self._texts.text(self._shape.input.draw(self._chance)) for _ in range(turns)]

    def _model(self, row: TraceRow) -> str:
        """Return whom a request of a trace is for: all of one model or client there are for one of ours."""
        models = self._shape.popularity.models
        if row.model is None:
            return self._shape.popularity.pick(self._chance)
        return models[crc32(row.model.encode()) % len(models)]

    def _prompt(self, row: TraceRow) -> str:
        tokens = self._shape.input.draw(self._chance) if row.input_tokens is None else row.input_tokens
        whole = min(len(row.blocks), tokens // row.block_tokens if row.block_tokens else 0)
        pieces = [self._block(each, row.block_tokens) for each in row.blocks[:whole]]
        left = tokens - whole * row.block_tokens
        if left > 0 or not pieces:
            pieces.append(self._texts.text(max(1, left)))
        return " ".join(pieces)

    def _block(self, number: int, tokens: int) -> str:
        known = self._blocks.get((number, tokens))
        if known is None:
            if len(self._blocks) >= MOST_BLOCKS:
                self._blocks.clear()
            chance = random.Random(f"{self._seed}/block/{number}")  # noqa: S311
            known = self._blocks[number, tokens] = " ".join(chance.choices(self._texts.words, k=tokens))
        return known


def until(duration: float, requests: Iterable[LoadRequest]) -> Iterator[LoadRequest]:
    """Yield the requests that arrive before ``duration`` seconds are over."""
    return takewhile(lambda each: each.at < duration, requests)
