"""The policies by the names that deployment documents have for them. Pure."""

from __future__ import annotations

import random

from .p2c import PowerOfTwo
from .policy import Policy
from .round_robin import RoundRobin


def policy_named(name: str, rng: random.Random) -> Policy:
    """Return a policy that has seen no request yet.

    Args:
        name: Of the policy. One that is not known, as a head of a later version may have it, means ``p2c``.
        rng: The source of its draws.
    """
    if name == "round-robin":
        return RoundRobin()
    return PowerOfTwo(rng)
