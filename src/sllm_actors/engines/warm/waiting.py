"""Whether waiting for a fork server that still imports is sooner than a plain start; pure."""

from __future__ import annotations

from attrs import frozen

PLAIN = 3.0
"""What a plain start spends on imports, in imports of a fork server: its processes do them in turn.

For vLLM on a CPU it was 3.4 to 4.5.
"""

USUAL = 15.0
"""Seconds that an import is taken to last where none is on record."""

TELLING = 0.1
"""The part of an import after which its pace says how long the whole will take."""

STALLED = 30.0
"""Seconds without a further module, after which nobody waits for a server any more."""

LONGEST = 120.0
"""Seconds that an engine waits at most, whatever is expected."""


@frozen
class Importing:
    """How far a fork server has come.

    Attributes:
        elapsed: Seconds since it began.
        quiet: Seconds since it last told of a further module.
        modules: How many it has.
        count: How many it will have, or 0 where that is not known.
        seconds: How long the last import of the same engine took here, or 0 where none is on record.
    """

    elapsed: float
    quiet: float
    modules: int = 0
    count: int = 0
    seconds: float = 0.0

    @property
    def share(self) -> float:
        """How much of it is done, from 0 to 1; 0 where that cannot be told."""
        return min(1.0, self.modules / self.count) if self.count else 0.0


def remaining(importing: Importing) -> float:
    """Return how many seconds the import is expected to go on.

    Its pace decides, once that can be told; before, how long the last one took. One that takes longer than
    that is expected to take as long again as it has taken already.
    """
    if importing.share >= TELLING:
        return importing.elapsed * (1 - importing.share) / importing.share
    usual = importing.seconds or USUAL
    return usual - importing.elapsed if importing.elapsed < usual else importing.elapsed


def saved(importing: Importing) -> float:
    """Return how many seconds a fork saves, compared with a plain start at the pace of this import."""
    if importing.share >= TELLING:
        return PLAIN * importing.elapsed / importing.share
    return PLAIN * (importing.seconds or USUAL)


def is_worth_waiting(importing: Importing, waited: float, longest: float = LONGEST) -> bool:
    """Decide whether an engine goes on waiting.

    Args:
        importing: What it waits for.
        waited: Seconds that it has waited already.
        longest: Seconds that it may wait; ``LONGEST`` holds as well.
    """
    if waited >= min(longest, LONGEST) or importing.quiet >= STALLED:
        return False
    return remaining(importing) <= saved(importing)
