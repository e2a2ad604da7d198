"""The newest entries of the journal, in memory: numbered here, and enough for most questions. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from sllm_actors.observe.terminal_text import one_line
from sllm_actors.serving.store.journal_filter import JournalFilter
from sllm_actors.serving.store.records import JournalEntry

from .noted import Noted
from .repeats import Repeats

RECENT: Final = 10_000
"""Entries that are kept in memory: as many as may wait for the store, so that each is here or there."""

SLACK: Final = 1_000
"""Entries by which there may be more, before the oldest are dropped together."""

LONGEST_SENTENCE: Final = 1_000
"""Characters of a sentence; what is longer is cut."""

SHOWN: Final = 8
"""Entries that are shown of a deployment beside what it is."""

MICRO: Final = 1_000_000


@attrs.frozen
class JournalPage:
    """What there is for a question in memory.

    Attributes:
        entries: The entries, in the order of their numbers.
        more: Whether there are more than were wanted behind them.
        until: The number up to which they are all that is wanted, if ``older`` is False.
        older: Whether entries that are in the store only may belong before these.
    """

    entries: tuple[JournalEntry, ...]
    more: bool
    until: int
    older: bool


class Journal:
    """The newest entries.

    An entry is numbered by the time at which it was noted, in microseconds since the epoch, or with one more
    than the entry before it has. So numbers rise over all lives of the head, also where entries were lost.

    Args:
        newest: The newest entries of the store, in the order of their numbers.
        wall: Seconds since the epoch.
        whole: Whether the store has no older ones.

    Attributes:
        last: The highest number that was given out.
        kept_after: All entries with higher numbers are in memory.
    """

    def __init__(self, newest: Sequence[JournalEntry], wall: float, *, whole: bool = False) -> None:
        self._entries = list(newest)
        self._numbers = [each.number for each in newest]
        self._repeats = Repeats()
        self.last = max(int(wall * MICRO), *self._numbers, 0)
        self.kept_after = 0 if whole else newest[0].number - 1 if newest else self.last

    def note(self, noted: Iterable[Noted], wall: float, now: float) -> list[JournalEntry]:
        """Add what was decided, and return it as it is to be kept; see ``Repeats`` for what is left out.

        Args:
            noted: What was decided, in this order.
            wall: Seconds since the epoch.
            now: Seconds on a clock that does not go back.
        """
        added = []
        for one in noted:
            for each in self._repeats.pass_on(one, now):
                self.last = max(self.last + 1, int(wall * MICRO))
                values = attrs.asdict(each, recurse=False) | {"sentence": _fit(each.sentence)}
                added.append(JournalEntry(at=wall, number=self.last, **values))
        self._entries += added
        self._numbers += [each.number for each in added]
        surplus = len(self._entries) - RECENT
        if surplus > SLACK:
            self.kept_after = self._numbers[surplus - 1]
            del self._entries[:surplus]
            del self._numbers[:surplus]
        return added

    def page(self, limit: int, after: int | None, wanted: JournalFilter) -> JournalPage:
        """Return the first entries behind ``after`` that are wanted; with None the newest ones.

        Args:
            limit: The most entries.
            after: A number; one that is higher than ``last`` counts as that.
            wanted: Lets entries pass.
        """
        if after is None:
            found = self._newest(limit, wanted)
            older = self.kept_after > 0 and len(found) < limit
            return JournalPage(tuple(found), more=False, until=self.last, older=older)
        after = min(after, self.last)
        found = []
        for place in range(bisect_right(self._numbers, after), len(self._entries)):
            if wanted.passes(self._entries[place]):
                if len(found) == limit:
                    return JournalPage(tuple(found), True, found[-1].number, older=after < self.kept_after)
                found.append(self._entries[place])
        return JournalPage(tuple(found), False, self.last, older=after < self.kept_after)

    def about(self, subject: str) -> list[JournalEntry]:
        """Return the last ``SHOWN`` entries about a deployment that are in memory, in order."""
        return self._newest(SHOWN, JournalFilter(subject))

    def _newest(self, limit: int, wanted: JournalFilter) -> list[JournalEntry]:
        found: list[JournalEntry] = []
        for each in reversed(self._entries):
            if len(found) == limit:
                break
            if wanted.passes(each):
                found.append(each)
        return found[::-1]


def joined(limit: int, after: int | None, stored: Sequence[JournalEntry], page: JournalPage) -> JournalPage:
    """Return a page that begins with entries of the store.

    Args:
        limit: The most entries.
        after: As for ``Journal.page``, which gave ``page``.
        stored: Entries that are wanted, up to the ``kept_after`` of that time: the newest ``limit`` ones if
            ``after`` is None, else the first ``limit + 1`` ones behind it.
        page: What there was in memory.
    """
    entries = (*stored, *page.entries)
    if after is None:
        return JournalPage(entries[-limit:], more=False, until=page.until, older=False)
    if len(entries) > limit or (len(entries) == limit and page.more):
        return JournalPage(entries[:limit], True, entries[limit - 1].number, older=False)
    return JournalPage(entries, page.more, page.until, older=False)


def _fit(sentence: str) -> str:
    text = one_line(sentence)
    return text if len(text) <= LONGEST_SENTENCE else f"{text[: LONGEST_SENTENCE - 1]}…"
