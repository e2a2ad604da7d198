"""Session affinity: the requests of a session go to one replica, as long as that is not overloaded. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from sllm_actors.engines.identity import ReplicaId
from sllm_actors.gateway.routing.asked import Asked

from .p2c import PowerOfTwo
from .policy import C, takes

SPARE: Final = 1.25
"""How many times the mean load a replica may have before its sessions go elsewhere."""

ALWAYS: Final = 8
"""A replica with fewer requests than this is not overloaded, whatever the others have."""

_MASK: Final = 2**64 - 1


class SessionAffinity:
    """Chooses by rendezvous hashing with bounded loads (Thaler and Ravishankar, 1998; Mirrokni et al., 2018).

    All gateways send a session to the same replica, and a replica that comes or goes moves only the sessions
    that it gets or had. A session whose replica has no room, or over ``SPARE`` times the mean load, goes to
    the next in an order of its own. Requests of no session are spread by the power of two choices.

    Args:
        rng: The source of draws for requests of no session.
    """

    def __init__(self, rng: random.Random) -> None:
        self._others = PowerOfTwo(rng)
        self._seeds: dict[ReplicaId, int] = {}

    def choose(self, candidates: Sequence[C], asked: Asked) -> C | None:
        """See ``Policy``."""
        if asked.affinity is None:
            return self._others.choose(candidates, asked)
        key = _number(asked.affinity)
        bound = max(ALWAYS, SPARE * (sum(each.load for each in candidates) + 1) / max(1, len(candidates)))
        found: C | None = None
        best = (False, -1)
        for each in candidates:
            if takes(each, asked):
                rank = (each.load < bound, self._weight(key, each.id))
                if rank > best:
                    found, best = each, rank
        return found

    def keep(self, replicas: frozenset[ReplicaId]) -> None:
        """See ``Policy``."""
        self._seeds = {each: seed for each, seed in self._seeds.items() if each in replicas}

    def _weight(self, key: int, replica: ReplicaId) -> int:
        seed = self._seeds.get(replica)
        if seed is None:
            # A replica that is started again keeps its sessions: its number is what stays.
            seed = self._seeds[replica] = _number(str(replica.key).encode())
        mixed = ((key ^ seed) * 0x9E3779B97F4A7C15) & _MASK
        mixed = ((mixed ^ (mixed >> 32)) * 0xD6E8FEB86659FD93) & _MASK
        return mixed ^ (mixed >> 32)


def _number(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest())
