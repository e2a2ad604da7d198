"""Keeps what is decided again and again from filling the journal. Pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from attrs import define, evolve

from .noted import Noted

REPEAT_AFTER: Final = 600.0
"""Seconds after which the same entry about the same thing is noted again."""

BURST: Final = 2_000
"""Entries about one thing that are noted, however fast they come."""

RATE: Final = 1.0
"""Entries about one thing that are noted each second, on top of those."""

MOST_SUBJECTS: Final = 20_000
"""Of how many deployments and nodes it is remembered what was noted; those of which it was last."""


@define(eq=False)
class _Recent:
    """What was noted lately about one thing.

    Attributes:
        last: What was noted last.
        at: When.
        same: How often it came again since.
        left: How many more may be noted at once.
        refilled: Until when ``left`` was raised.
        dropped: How many were left out since ``left`` is 0.
    """

    last: Noted
    at: float
    same: int = 0
    left: float = BURST
    refilled: float = 0.0
    dropped: int = 0


class Repeats:
    """Says which entries are noted.

    An entry that is the same as the one before it about the same thing is not, within ``REPEAT_AFTER``. Of
    entries about one thing, ``BURST`` are noted at once and ``RATE`` each second; the rest is counted.
    """

    def __init__(self) -> None:
        self._recent: OrderedDict[str, _Recent] = OrderedDict()

    def pass_on(self, noted: Noted, now: float) -> list[Noted]:
        """Return what is to be noted for an entry: it, perhaps after one that counts what was left out.

        Args:
            noted: What was decided.
            now: Seconds on any clock that does not go back.
        """
        recent = self._recent.get(noted.subject)
        if recent is None:
            recent = self._recent[noted.subject] = _Recent(noted, now, left=BURST - 1, refilled=now)
            if len(self._recent) > MOST_SUBJECTS:
                self._recent.popitem(last=False)
            return [noted]
        self._recent.move_to_end(noted.subject)
        if noted == recent.last and now < recent.at + REPEAT_AFTER:
            recent.same += 1
            return []
        recent.left = min(BURST, recent.left + (now - recent.refilled) * RATE)
        recent.refilled = now
        if recent.left < 1:
            recent.dropped += 1
            return []
        recent.left -= 1
        same, dropped = recent.same, recent.dropped
        again = noted == recent.last
        recent.last, recent.at, recent.same, recent.dropped = noted, now, 0, 0
        passed = [_left_out(noted, dropped)] if dropped else []
        if again:  # the same for a long time: it says how often
            noted = evolve(noted, sentence=f"{noted.sentence} (the same was decided {same + 1} times since)")
        return [*passed, noted]


def _left_out(noted: Noted, count: int) -> Noted:
    sentence = f"{count} entries about {noted.subject} were left out here: there were too many"
    return Noted(noted.subject, "journal.limited", sentence)
