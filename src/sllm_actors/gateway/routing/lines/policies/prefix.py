"""Prefix affinity: prompts go where their beginning was before, unless too much is under way there. Pure."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from sllm_actors.engines.identity import ReplicaId
from sllm_actors.gateway.routing.asked import Asked

from .p2c import PowerOfTwo
from .policy import C, takes

BLOCK: Final = 256
"""Bytes of a prompt that are remembered as one."""

BYTES_OF_TOKEN: Final = 4
"""Bytes that count as one token."""

MOST_BLOCKS: Final = 256
"""Blocks of one prompt that are looked at; what comes after them counts as not seen."""

REMEMBERED: Final = 16_384
"""Blocks that are remembered of each replica: those that were used last."""


class PrefixAffinity:
    """Chooses the replica with the least product of new tokens and requests, each plus one.

    New tokens are those of the prompt that the replica has not seen; requests are those under way there.
    Of equals, one with the fewest requests is drawn. What a replica has seen is remembered by this gateway
    alone, in hashes of blocks, of which each depends on all before it; what engines keep of it is not known.
    A request without a prompt is spread by the power of two choices.

    Args:
        rng: The source of draws.
    """

    def __init__(self, rng: random.Random) -> None:
        self._others = PowerOfTwo(rng)
        self._random = rng.random
        self._seen: dict[ReplicaId, OrderedDict[int, None]] = {}

    def choose(self, candidates: Sequence[C], asked: Asked) -> C | None:
        """See ``Policy``."""
        if asked.prompt is None:
            return self._others.choose(candidates, asked)
        blocks = _blocks(asked.prompt)
        length = len(asked.prompt)
        found: C | None = None
        best: tuple[int, int, float] | None = None
        for each in candidates:
            if takes(each, asked):
                unseen = (length - BLOCK * self._known(each.id, blocks)) // BYTES_OF_TOKEN
                rank = ((unseen + 1) * (each.load + 1), each.load, self._random())
                if best is None or rank < best:
                    found, best = each, rank
        if found is not None:
            self._remember(found.id, blocks)
        return found

    def keep(self, replicas: frozenset[ReplicaId]) -> None:
        """See ``Policy``."""
        self._seen = {each: seen for each, seen in self._seen.items() if each in replicas}

    def _known(self, replica: ReplicaId, blocks: list[int]) -> int:
        """Return how many blocks from the beginning a replica has seen."""
        seen = self._seen.get(replica)
        if seen is None:
            return 0
        for known, block in enumerate(blocks):
            if block not in seen:
                return known
        return len(blocks)

    def _remember(self, replica: ReplicaId, blocks: list[int]) -> None:
        seen = self._seen.setdefault(replica, OrderedDict())
        # The first blocks last: without them, those after them are of no use.
        for block in reversed(blocks):
            seen[block] = None
            seen.move_to_end(block)
        while len(seen) > REMEMBERED:
            seen.popitem(last=False)


def _blocks(prompt: bytes) -> list[int]:
    """Return a number for each whole block; it stands for the block and for all before it."""
    numbers = []
    number = 0
    for begin in range(0, min(len(prompt) - BLOCK + 1, MOST_BLOCKS * BLOCK), BLOCK):
        number = hash((number, prompt[begin : begin + BLOCK]))
        numbers.append(number)
    return numbers
