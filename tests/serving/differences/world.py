"""A publisher, a follower and a network between them that loses things, for the model of streams."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from sllm_actors.serving.differences.follower import MOST_PATIENCE, Changes, Follower, Published
from sllm_actors.serving.differences.publisher import Publisher

from .kit import ITEMS, AskItems, Item, Name

Table: TypeAlias = dict[Name, Item]
ItemsFollower: TypeAlias = Follower[Name, Item]
ItemsPublisher: TypeAlias = Publisher[Name, Item]


class World:
    """Checks at each step what a follower promises; every violation is an ``AssertionError``.

    The value of an item rises with each ``put`` of the whole run, so that an item from before is told from
    one that came later.
    """

    def __init__(
        self, publisher: Callable[[int], ItemsPublisher], follower: Callable[[Iterable[Name]], ItemsFollower]
    ) -> None:
        self._make_publisher = publisher
        self._make_follower = follower
        self.life = 1
        self.publisher = publisher(1)
        self.follower = follower(())
        self.coming: list[Published[Name, Item]] = []  # to the follower
        self.asked: list[AskItems] = []  # to the publisher
        self.table: Table = {}  # the follower's
        self.values = 0
        self.published: set[Item] = set()
        self._sent: Table = {}  # the publisher's table at its last difference
        self._tables: dict[tuple[int, int], Table] = {(1, 0): {}}
        self._apply(self.follower.begin())

    # ---- the publisher

    def put(self, name: str) -> None:
        self.values += 1
        new = Item(Name(name), self.values)
        self.published.add(new)
        self.publisher.put(new)

    def flush(self) -> None:
        for difference in self.publisher.flush():
            self._sent = {**self._sent, **{each.name: each for each in difference.put}}
            for key in difference.removed:
                self._sent.pop(key, None)
            self._tables[difference.life, difference.number] = self._sent
            self.coming.append(difference)

    def beat(self) -> None:
        self.coming.append(self.publisher.beat())

    def answer(self) -> None:
        if self.asked:
            question = self.asked.pop(0)
            self.flush()
            self.coming.append(self.publisher.page(question.after))

    def restart_publisher(self, keeps: int) -> None:
        """Start another publisher, which puts the first so many entries of the former one in its table."""
        kept = sorted(self._sent.items())[:keeps]
        self.life += 1
        self.publisher = self._make_publisher(self.life)
        self._sent = {}
        self._tables[self.life, 0] = {}
        for _, each in kept:
            self.publisher.put(each)

    # ---- the follower

    def deliver(self) -> None:
        if self.coming:
            self._apply(self.follower.take(self.coming.pop(0)))

    def restart_follower(self) -> None:
        self.follower = self._make_follower(())
        self.table = {}
        self._apply(self.follower.begin())

    def replace_follower(self, *, begun: bool) -> None:
        """Let another follower go on with the table; one that has not begun asks at the first beat."""
        self.follower = self._make_follower(self.table)
        if begun:
            self._apply(self.follower.begin())

    def begin_life(self) -> None:
        """Let the publisher begin a new life with the table that it has."""
        self.life += 1
        self.publisher.begin_life(self.life)
        self._sent = {key: entry for key, (entry, _) in self.publisher._table.items()}
        self._tables[self.life, 0] = self._sent

    def link_up(self) -> None:
        self.coming.clear()
        self.asked.clear()
        self._apply(self.follower.begin())

    def _apply(self, changes: Changes[Name, Item]) -> None:
        assert changes.refused == ""
        for each in changes.put:
            assert each in self.published
            known = self.table.get(each.name)
            assert known is None or known.value <= each.value, "an older entry came after a newer one"
            self.table[each.name] = each
        for key in changes.removed:
            assert key in self.table, "a key is removed that the follower never had"
            del self.table[key]
        if isinstance(changes.ask, AskItems):
            self.asked.append(changes.ask)
        if self.follower.complete:
            position = self.follower.position
            assert position is not None
            assert self.table == self._tables.get(position), f"not the table of {position}"

    def settle(self) -> None:
        """Lose nothing any more: the tables become equal."""
        self.flush()
        for _ in range(MOST_PATIENCE + 1):
            self.beat()
            for _ in range(1000):
                if not (self.coming or self.asked):
                    break
                self.deliver()
                self.answer()
            assert not self.coming, "pages and questions go to and fro for ever"
            if self.follower.complete:
                break
        assert self.follower.complete
        assert self.table == {key: self.publisher.get(key) for key in self.table}
        assert len(self.table) == len(self.publisher)


def plain_publisher(life: int) -> ItemsPublisher:
    return Publisher(ITEMS, "owner", life, most_entries=2)


def plain_follower(known: Iterable[Name]) -> ItemsFollower:
    return Follower(ITEMS, "me", most_keys=1000, known=known)
