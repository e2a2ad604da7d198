"""The follower's side of a stream: applies differences in order, and notices when it has missed one. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Generic, TypeAlias

from attrs import frozen

from .messages import AskPage, Beat, Difference, E, K, Page, Stream

MOST_KEYS: Final = 2**17
"""Entries that a publisher may have, unless the follower is told otherwise."""

PATIENCE: Final = 2
"""Beats after which a page that has not come is asked for again: the first may have been on its way."""

MOST_PATIENCE: Final = 16
"""Beats between two such questions at most; each one doubles the number, until a page comes."""

Published: TypeAlias = Difference[K, E] | Page[K, E] | Beat
"""What a publisher sends."""


@frozen
class Changes(Generic[K, E]):
    """What a message means for the follower's table, and what to send to the publisher.

    Attributes:
        put: Entries to put in the table, each in place of the one with its key.
        removed: Keys whose entries are to be removed; all of them are in the table.
        ask: To be sent to the publisher, or None.
        whole: Whether this was the last page: with ``put`` and ``removed`` applied, the table is the one
            that the publisher had.
        refused: Why the publisher's message was not taken, in one sentence for the log; "" if it was.
    """

    put: tuple[E, ...] = ()
    removed: tuple[K, ...] = ()
    ask: AskPage[K] | None = None
    whole: bool = False
    refused: str = ""


class Follower(Generic[K, E]):
    """Follows one publisher. It keeps the keys of the table; whoever uses it keeps the entries.

    The user applies the ``put`` and ``removed`` of every ``Changes``, in order, and sends its ``ask``. Then:

    * Each entry in the table is one that the publisher had, and for each key, entries come in the order in
      which the publisher had them, within one life of the publisher (some may be left out).
    * While ``complete``, the table is what the publisher's was at the last difference that came.
    * From a ``begin``, a gap, or a beat that tells of one, until the next ``Changes.whole``, the table is
      between two states: keys up to the last page that came are as in the publisher's table, at the last
      difference that came; keys above it are as they were before (a key that is gone may stay until the last
      page). So an entry that the publisher has had all the time is in the table all the time.
    * When nothing is lost any more, one beat and the pages that it leads to make the table equal to the
      publisher's; a question or page that was lost costs at most ``MOST_PATIENCE`` beats more.

    A publisher that sends more than ``most_keys`` entries, or pages out of order, is refused: the table stays
    as it is, and the whole is asked for again ``MOST_PATIENCE`` beats later. Whatever is sent, at most four
    times ``most_keys`` keys are kept.

    Args:
        stream: The stream that is followed.
        node: The node that the follower lives on.
        most_keys: Entries that the publisher may have.
        known: Keys that are in the table already, from an earlier follower of it or from disk: those that the
            publisher does not have are removed with the whole.

    Attributes:
        complete: Whether the follower has the whole, and has missed nothing that it knows of.
    """

    def __init__(
        self, stream: Stream[K, E], node: str, *, most_keys: int = MOST_KEYS, known: Iterable[K] = ()
    ) -> None:
        self.stream = stream
        self.node = node
        self.complete = False
        self._most_keys = most_keys
        # Where the publisher is: nothing older is taken. Without a first page, None stands for any life.
        self._life: int | None = None
        self._number = 0
        self._placed = False  # the first page has come: from here on, numbers must have no gap
        self._cursor: K | None = None  # the outstanding page begins after this key
        self._loaded = 0
        self._keys: set[K] = set()  # confirmed by this load, or since
        self._old: set[K] = set(known)  # in the table from before this load, and not confirmed by it yet
        self._patience = PATIENCE
        self._waited = PATIENCE - 1  # the first beat asks, should ``begin`` not have been called

    @property
    def position(self) -> tuple[int, int] | None:
        """Life and number of the last difference that the table holds, or None while no page has come."""
        return (self._life, self._number) if self._placed and self._life is not None else None

    def begin(self) -> Changes[K, E]:
        """Ask for the whole: after the start of the follower's actor, and whenever the link has come up."""
        self._life, self._number = None, 0
        self._patience = PATIENCE
        return self._load()

    def take(self, message: Published[K, E]) -> Changes[K, E]:
        """Take what the publisher sent. What is old, comes twice, or is of another stream changes nothing."""
        stream = self.stream
        if isinstance(message, stream.difference):
            return self._difference(message)
        if isinstance(message, stream.page):
            return self._page(message)
        if isinstance(message, Beat) and message.stream == stream.name:
            return self._beat(message)
        return Changes()

    def _difference(self, difference: Difference[K, E]) -> Changes[K, E]:
        if not self._placed or difference.life != self._life or difference.number <= self._number:
            return Changes()
        gap = difference.number != self._number + 1
        self._number = difference.number
        if gap:
            return self._load()
        put = tuple(entry for entry in difference.put if self._covers(self.stream.key_of(entry)))
        keys = {self.stream.key_of(entry) for entry in put}
        if len(self._keys) + len(keys - self._keys) > self._most_keys:
            return self._refuse(f"more than {self._most_keys} entries")
        removed = tuple(
            key for key in difference.removed if self._covers(key) and (key in self._keys or key in self._old)
        )
        self._keys |= keys
        self._keys.difference_update(removed)
        self._old.difference_update(keys, removed)
        return Changes(put, removed)

    def _covers(self, key: K) -> bool:
        """Tell whether what changed for the key is to be applied: if not, a later page will have it."""
        return self.complete or (self._cursor is not None and not self._cursor < key)

    def _page(self, page: Page[K, E]) -> Changes[K, E]:
        if self.complete or page.after != self._cursor or self._life not in (None, page.life):
            return Changes()
        if page.number < self._number:
            return Changes()
        if self._placed and page.number > self._number:
            self._number = page.number
            return self._load()
        keys = [self.stream.key_of(entry) for entry in page.entries]
        self._loaded += len(keys)
        if max(self._loaded, len(self._keys) + len(keys)) > self._most_keys:
            return self._refuse(f"more than {self._most_keys} entries")
        if not self._rise(keys) or (page.more and not keys):
            return self._refuse("a page that is empty or not in the order of its keys")
        self._life, self._number, self._placed = page.life, page.number, True
        self._patience, self._waited = PATIENCE, 0
        self._keys.update(keys)
        self._old.difference_update(keys)
        if page.more:
            self._cursor = keys[-1]
            return Changes(page.entries, ask=self._ask())
        removed = tuple(sorted(self._old))
        self._old = set()
        self.complete = True
        return Changes(page.entries, removed, whole=True)

    def _rise(self, keys: list[K]) -> bool:
        before = self._cursor
        for key in keys:
            if before is not None and not before < key:
                return False
            before = key
        return True

    def _beat(self, beat: Beat) -> Changes[K, E]:
        here = (beat.life, beat.number) == (self._life, self._number)
        self._life, self._number = beat.life, beat.number
        if self._placed and not here:
            return self._load()
        if self.complete:
            return Changes()
        self._waited += 1
        if self._waited < self._patience:
            return Changes()
        self._waited = 0
        self._patience = min(2 * self._patience, MOST_PATIENCE)
        return Changes(ask=self._ask())

    def _load(self) -> Changes[K, E]:
        removed = self._start_over()
        return Changes(removed=removed, ask=self._ask())

    def _refuse(self, what: str) -> Changes[K, E]:
        removed = self._start_over()
        self._patience = MOST_PATIENCE
        sentence = f"the publisher of stream {self.stream.name!r} sent {what}: this was not taken"
        return Changes(removed=removed, refused=sentence)

    def _start_over(self) -> tuple[K, ...]:
        """Return the keys that are to be removed because too many loads in a row came to nothing."""
        removed: tuple[K, ...] = ()
        if len(self._old) + len(self._keys) > 3 * self._most_keys:
            removed, self._old = tuple(sorted(self._old)), set()
        self._old |= self._keys
        self._keys = set()
        self._placed = self.complete = False
        self._cursor = None
        self._loaded = self._waited = 0
        return removed

    def _ask(self) -> AskPage[K]:
        return self.stream.ask(self.node, self._cursor)
