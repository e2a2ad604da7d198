"""How much memory of each GPU a replica takes whose deployment says ``gpu_memory: auto``. Pure."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from sllm_actors.engines.gpu_figures import GpuFigures
from sllm_actors.models.byte_size import shown_bytes

BESIDE: Final = 2 * 2**30
"""Bytes that an engine has beside weights and KV cache, whatever the model: what the driver keeps for it,
what it computes with, and the graphs that it has recorded."""

BESIDE_WEIGHTS: Final = 0.1
"""The part of the weights that it has on top of that: larger models compute with more."""

LONG: Final = 8192
"""The most tokens that are reckoned for each of several requests; for one, a whole context is."""

SPARE: Final = 1.1
"""What an engine was seen to need without its KV cache counts so many times: another GPU may need more."""

STEP: Final = 64 * 2**20
"""Estimates are whole multiples of so many bytes."""

MOST_RAISED: Final = 2.0
"""What did not suffice is raised to so many times the estimate at most: beyond that, the cause is another."""


@frozen
class Seen:
    """What engines of one revision have shown.

    Attributes:
        used: Bytes of each GPU that one had without its KV cache; 0 where that was not seen.
        least: Bytes of each GPU that the next one gets at least, since fewer did not suffice; 0 for none.
    """

    used: int = 0
    least: int = 0


@frozen
class GpuEstimate:
    """Bytes of each of its GPUs that a replica takes, and what they are made of.

    Attributes:
        weights: For the model's weights.
        beside: For what is neither weights nor KV cache.
        measured: Whether that was seen of an engine that ran.
        cache: For the KV cache.
        requests: So many requests of ``tokens`` tokens fit there; 0 where the model does not say.
        tokens: See there.
        least: Bytes that it takes in any case, since fewer did not suffice.
    """

    weights: int
    beside: int
    measured: bool
    cache: int
    requests: int
    tokens: int
    least: int

    @property
    def memory(self) -> int:
        """All of it together."""
        return max(_stepped(self.weights + self.beside + self.cache), self.least)

    @property
    def sentence(self) -> str:
        """What it is made of, in a few words for a person."""
        parts = [f"{shown_bytes(self.weights)} for weights"]
        parts.append(f"{shown_bytes(self.beside)} beside them{' (measured)' if self.measured else ''}")
        if self.requests:
            each = shown_bytes(self.cache // self.requests)
            requests = f"{self.requests} request{'s' if self.requests > 1 else ''}"
            parts.append(f"{each} for each of {requests} of {self.tokens} tokens")
        else:
            parts.append(f"{shown_bytes(self.cache)} for the KV cache, of which the model says nothing")
        made = " + ".join(parts)
        enough = self.least <= _stepped(self.weights + self.beside + self.cache)
        return made if enough else f"{made}, and more since that did not suffice"


def estimate(figures: GpuFigures, target: int, seen: Seen) -> GpuEstimate:
    """Reckon what a replica takes of each GPU.

    The KV cache has room for ``target`` requests of the whole context, or of ``LONG`` tokens where that is
    longer: engines hand the cache out in blocks as tokens come, so that a few long requests find room among
    short ones. It always has room for one request of the whole context, without which vLLM does not start.
    Where the model says too little, the cache gets as many bytes as the weights have.

    An engine fills whatever it is given with KV cache, so what it has says nothing about what it needs. What
    it says of the rest does: its share without the KV cache is what the next one gets for weights and all
    beside them. An engine that did not start for want of memory says that the estimate was too low.

    It never falls when weights, context or target rise.

    Args:
        figures: Of the model, for each GPU.
        target: How many requests at a time a replica is to have.
        seen: What engines of this revision have shown.
    """
    weights, beside = figures.weights, BESIDE + int(figures.weights * BESIDE_WEIGHTS)
    if seen.used:
        needed = int(seen.used * SPARE)
        weights = min(weights, needed)
        beside = needed - weights
    requests, tokens = target, min(figures.context, LONG)
    if requests * tokens <= figures.context:
        requests, tokens = 1, figures.context
    cache = requests * tokens * figures.token
    if not cache:
        requests, tokens, cache = 0, 0, figures.weights
    return GpuEstimate(weights, beside, bool(seen.used), cache, requests, tokens, seen.least)


def raised(before: GpuEstimate, share: int, short: int) -> int:
    """Return the bytes that the next engine gets at least, since one did not start; 0: no more than before.

    Args:
        before: What is estimated for it.
        share: Bytes of each GPU that the engine had.
        short: Bytes that it says it lacked.
    """
    most = int(MOST_RAISED * (before.weights + before.beside + before.cache))
    least = _stepped(min(most, share + short))
    return least if least > before.memory else 0


def _stepped(size: int) -> int:
    return -(-size // STEP) * STEP
