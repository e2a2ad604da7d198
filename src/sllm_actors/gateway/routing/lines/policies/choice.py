"""The policies by the names that deployment documents have for them. Pure."""

from __future__ import annotations

import random

from .p2c import PowerOfTwo
from .policy import Policy
from .prefix import PrefixAffinity
from .round_robin import RoundRobin
from .session import SessionAffinity


def policy_named(name: str, rng: random.Random) -> Policy:
    """Return a policy that has seen no request yet.

    Args:
        name: Of the policy. One that is not known, as a head of a later version may have it, means ``p2c``.
        rng: The source of its draws.
    """
    match name:
        case "round-robin":
            return RoundRobin()
        case "session":
            return SessionAffinity(rng)
        case "prefix":
            return PrefixAffinity(rng)
        case _:
            return PowerOfTwo(rng)
