"""Whether waiting for a fork server that still imports is sooner than a plain start; pure."""

from __future__ import annotations

from attrs import frozen

PLAIN = 3.0
"""How often a plain start takes the import time of a fork server: its processes import one after the other.

For vLLM on a CPU 3.4 to 4.5 times were measured.
"""

USUAL = 15.0
"""Seconds that a fork server's import is taken to last where none is on record."""

TELLING = 0.1
"""The share of the modules, 0 to 1, from which on the pace so far predicts the whole import."""

STALLED = 30.0
"""Seconds without a further module, after which no engine waits for a fork server any more."""

LONGEST = 120.0
"""The most seconds that an engine waits, whatever is expected."""


@frozen
class Importing:
    """How far a fork server has come with its imports.

    Attributes:
        elapsed: Seconds since it began.
        quiet: Seconds since it last reported a further module.
        modules: How many modules it has imported.
        count: How many it will have in the end, or 0 where that is not known.
        seconds: How many seconds the last such import took on this worker, or 0 where none is on record.
    """

    elapsed: float
    quiet: float
    modules: int = 0
    count: int = 0
    seconds: float = 0.0

    @property
    def share(self) -> float:
        """The share of the modules that is imported, from 0 to 1; 0 where ``count`` is not known."""
        return min(1.0, self.modules / self.count) if self.count else 0.0


def remaining(importing: Importing) -> float:
    """Return how many seconds the import is expected to go on.

    From a share of ``TELLING`` on, its pace decides; before, how long the last import took. An import that
    takes longer than the last one is expected to take as long again as it has taken already.
    """
    if importing.share >= TELLING:
        return importing.elapsed * (1 - importing.share) / importing.share
    usual = importing.seconds or USUAL
    return usual - importing.elapsed if importing.elapsed < usual else importing.elapsed


def saved(importing: Importing) -> float:
    """Return how many seconds a fork is expected to save, compared with a plain start now."""
    if importing.share >= TELLING:
        return PLAIN * importing.elapsed / importing.share
    return PLAIN * (importing.seconds or USUAL)


def is_worth_waiting(importing: Importing, waited: float, longest: float = LONGEST) -> bool:
    """Decide whether an engine goes on waiting.

    Args:
        importing: The import that it waits for.
        waited: Seconds that it has waited already.
        longest: The most seconds that it may wait; never more than ``LONGEST``.
    """
    if waited >= min(longest, LONGEST) or importing.quiet >= STALLED:
        return False
    return remaining(importing) <= saved(importing)
