"""The owner's side of a stream: a table that numbers its changes. Pure: a shell sends what it returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Generic

from sortedcontainers import SortedDict

from .messages import Beat, Difference, E, K, Page, Stream, encoded_size

MOST_BYTES: Final = 256 * 1024
"""Bytes of keys and entries in one difference or page at most."""

MOST_ENTRIES: Final = 256
"""Keys and entries in one difference or page at most: reading one holds the loop for a few milliseconds."""


class Publisher(Generic[K, E]):
    """A table whose changes are numbered.

    A shell sends each difference to every follower as soon as ``flush`` has returned it, before any later
    page or beat; each ``AskPage`` is answered with ``page``; each follower gets ``beat`` once a second.

    ``put`` and ``remove`` cost comparisons only for a key that comes or goes, by the logarithm of the table's
    size; ``flush`` costs by what has changed, ``page`` by what is on the page.

    Args:
        stream: The stream that the table is published on.
        node: The node that the publisher lives on.
        life: Must differ from that of each earlier publisher of this stream and node, unless it never sent
            anything: followers take two publishers of the same life for one.
        size: Returns how many bytes a key or an entry takes on the wire.
        most_bytes: Bytes of keys and entries in one difference or page at most.
        most_entries: Keys and entries in one difference or page at most.

    Attributes:
        number: The number of the last difference; 0 before the first.
    """

    def __init__(
        self,
        stream: Stream[K, E],
        node: str,
        life: int,
        *,
        size: Callable[[Any], int] = encoded_size,
        most_bytes: int = MOST_BYTES,
        most_entries: int = MOST_ENTRIES,
    ) -> None:
        self.stream = stream
        self.node = node
        self.life = life
        self.number = 0
        self._size = size
        self._most_bytes = most_bytes
        self._most_entries = most_entries
        self._table = SortedDict()  # key -> (entry, size)
        self._changed: dict[K, None] = {}

    def begin_life(self, life: int) -> None:
        """Begin a new life with the same table: followers will ask for the whole. See ``life`` above."""
        self.life, self.number = life, 0
        self._changed.clear()

    def __len__(self) -> int:
        return len(self._table)

    def __contains__(self, key: K) -> bool:
        return key in self._table

    def get(self, key: K) -> E | None:
        """Return the entry of that key, or None."""
        found: tuple[E, int] | None = self._table.get(key)
        return None if found is None else found[0]

    def entries(self) -> dict[K, E]:
        """Return the table."""
        return {key: entry for key, (entry, _) in self._table.items()}

    @property
    def changed(self) -> bool:
        """Whether ``flush`` would return something."""
        return bool(self._changed)

    def put(self, entry: E) -> bool:
        """Put an entry in the table, in place of the one with its key; False if that one is equal to it.

        Raises:
            ValueError: The entry is larger than a page. The table keeps what it has.
        """
        key = self.stream.key_of(entry)
        known = self._table.get(key)
        if known is not None and known[0] == entry:
            return False
        size = self._size(entry)
        if size > self._most_bytes:
            raise ValueError(
                f"the entry {key} of stream {self.stream.name!r} takes {size} bytes on the wire, more than"
                f" the {self._most_bytes} of a page: make it smaller"
            )
        self._table[key] = (entry, size)
        self._changed[key] = None
        return True

    def remove(self, key: K) -> bool:
        """Remove the entry of that key from the table; False if there is none."""
        if self._table.pop(key, None) is None:
            return False
        self._changed[key] = None
        return True

    def flush(self) -> tuple[Difference[K, E], ...]:
        """Return what has changed since the last call, in the order in which keys changed first.

        A key that changed several times goes once, as it is now; one that came and went goes as removed.
        """
        differences: list[Difference[K, E]] = []
        put: list[E] = []
        removed: list[K] = []
        room = self._most_bytes
        for key in self._changed:
            entry, size = self._table.get(key) or (None, self._size(key))
            if len(put) + len(removed) >= self._most_entries or (size > room and (put or removed)):
                differences.append(self._number(put, removed))
                put, removed, room = [], [], self._most_bytes
            room -= size
            if entry is None:
                removed.append(key)
            else:
                put.append(entry)
        if put or removed:
            differences.append(self._number(put, removed))
        self._changed.clear()
        return tuple(differences)

    def beat(self) -> Beat:
        """Return where the publisher is."""
        return Beat(self.stream.name, self.node, self.life, self.number)

    def page(self, after: K | None) -> Page[K, E]:
        """Return the entries with the lowest keys that are greater than ``after``, or with the lowest of all.

        The page holds changes, too, that ``flush`` has not returned yet: call that first, to have a page that
        is exact for its number.
        """
        entries: list[E] = []
        room = self._most_bytes
        more = False
        for key in self._table.irange(after, inclusive=(False, True)):
            entry, size = self._table[key]
            if size > room or len(entries) >= self._most_entries:
                more = True
                break
            room -= size
            entries.append(entry)
        return self.stream.page(self.node, self.life, self.number, after, tuple(entries), more)

    def _number(self, put: list[E], removed: list[K]) -> Difference[K, E]:
        self.number += 1
        return self.stream.difference(self.node, self.life, self.number, tuple(put), tuple(removed))
