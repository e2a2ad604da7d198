"""A publisher numbers what changes, in bounded pieces, at the cost of what changes."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define

from sllm_actors.serving.differences.messages import Stream
from sllm_actors.serving.differences.publisher import Publisher

from .kit import ITEMS, AskItems, Item, ItemsDifference, ItemsPage, Name, item, names, publisher_of


def test_what_changed_since_the_last_flush_goes_once_as_it_is_now() -> None:
    publisher = publisher_of(item("a", 1), item("b", 1))
    for each in (item("b", 2), item("c", 1), item("b", 3)):
        assert publisher.put(each)
    assert publisher.remove(Name("a"))
    (difference,) = publisher.flush()
    assert difference == ItemsDifference("owner", 1, 2, (item("b", 3), item("c", 1)), names("a"))
    assert publisher.flush() == ()


def test_the_table_is_there_to_be_looked_at() -> None:
    publisher = publisher_of(item("a", 1), item("b", 1))
    publisher.put(item("b", 2))
    assert publisher.entries() == {Name("a"): item("a", 1), Name("b"): item("b", 2)}


def test_what_changes_nothing_is_not_sent() -> None:
    publisher = publisher_of(item("a", 1))
    assert not publisher.put(item("a", 1))
    assert not publisher.remove(Name("b"))
    assert publisher.flush() == ()
    assert publisher.beat().number == 1


def test_what_came_and_went_goes_as_removed() -> None:
    publisher = publisher_of()
    publisher.put(item("a"))
    publisher.page(None)  # a follower may have it from here
    publisher.remove(Name("a"))
    assert publisher.flush() == (ItemsDifference("owner", 1, 1, (), names("a")),)


def test_it_is_known_whether_anything_waits_for_a_flush() -> None:
    publisher = publisher_of()
    seen = [publisher.changed]
    publisher.put(item("a"))
    seen.append(publisher.changed)
    publisher.flush()
    assert [*seen, publisher.changed] == [False, True, False]


def test_numbers_rise_by_one_over_the_pieces_of_a_large_change() -> None:
    publisher = publisher_of(item("z"))
    for name in "abcd":
        publisher.put(item(name))
    publisher.remove(Name("z"))
    first, second = publisher.flush()
    assert (first.number, [each.name.text for each in first.put]) == (2, ["a", "b", "c"])
    assert (second.number, second.put, second.removed) == (3, (item("d"),), names("z"))
    assert publisher.beat().number == publisher.number == 3


def test_a_new_life_has_the_same_table_and_numbers_from_the_first() -> None:
    publisher = publisher_of(item("a"), item("b"))
    publisher.put(item("c"))
    publisher.remove(Name("a"))
    publisher.begin_life(7)
    assert (publisher.beat().life, publisher.beat().number) == (7, 0)
    assert publisher.flush() == (), "whoever follows has none of it yet, and asks for all"
    assert publisher.page(None) == ItemsPage("owner", 7, 0, None, (item("b"), item("c")))
    publisher.put(item("d"))
    assert publisher.flush() == (ItemsDifference("owner", 7, 1, (item("d"),)),)


def weighing(bytes_each: int) -> Publisher[Name, Item]:
    return Publisher(ITEMS, "owner", 1, size=lambda _: bytes_each, most_bytes=100)


def test_differences_and_pages_are_bounded_in_bytes() -> None:
    publisher = weighing(40)
    for name in "abcde":
        publisher.put(item(name))
    assert [len(each.put) for each in publisher.flush()] == [2, 2, 1]
    page = publisher.page(None)
    assert (len(page.entries), page.more) == (2, True)


def test_removed_keys_count_into_the_bytes_of_a_difference() -> None:
    publisher = weighing(40)
    for name in "abcde":
        publisher.put(item(name))
    publisher.flush()
    for name in "abcde":
        publisher.remove(Name(name))
    assert [len(each.removed) for each in publisher.flush()] == [2, 2, 1]


def test_an_entry_that_no_page_can_hold_is_refused_by_name_and_size() -> None:
    publisher = weighing(101)
    with pytest.raises(ValueError, match=r"'a'.*'items' takes 101 bytes.*more than the 100 of a page"):
        publisher.put(item("a"))
    assert Name("a") not in publisher
    assert publisher.flush() == ()


def test_pages_go_through_the_table_in_the_order_of_keys() -> None:
    publisher = publisher_of(*(item(name) for name in "gbfdace"))
    publisher.remove(Name("d"))
    first = publisher.page(None)
    assert first == ItemsPage("owner", 1, 3, None, (item("a"), item("b"), item("c")), more=True)
    second = publisher.page(Name("c"))
    assert second == ItemsPage("owner", 1, 3, Name("c"), (item("e"), item("f"), item("g")), more=False)
    assert publisher.page(Name("g")).entries == ()
    assert publisher.page(Name("bb")).entries[0] == item("c")


def test_the_table_can_be_read() -> None:
    publisher = publisher_of(item("a", 5))
    assert publisher.get(Name("a")) == item("a", 5)
    assert publisher.get(Name("b")) is None
    assert (len(publisher), Name("a") in publisher) == (1, True)


@define(eq=False, order=False)
class CountingKey:
    """Counts what is done with keys."""

    number: int
    done = 0

    def __lt__(self, other: Any) -> bool:
        CountingKey.done += 1
        return bool(self.number < other.number)

    def __eq__(self, other: object) -> bool:
        CountingKey.done += 1
        return isinstance(other, CountingKey) and self.number == other.number

    def __hash__(self) -> int:
        CountingKey.done += 1
        return hash(self.number)


def operations(size: int, act: str) -> int:
    """Count the operations on keys of an act, on a table of that size."""
    stream: Any = Stream("counting", lambda entry: entry[0], ItemsDifference, ItemsPage, AskItems)
    publisher: Publisher[Any, Any] = Publisher(stream, "owner", 1, size=lambda _: 1)
    for number in range(size):
        publisher.put((CountingKey(2 * number), 0))
    publisher.flush()
    CountingKey.done = 0
    match act:
        case "change":
            publisher.put((CountingKey(size), 1))
            publisher.flush()
        case "come":
            publisher.put((CountingKey(size + 1), 1))
            publisher.flush()
        case "go":
            publisher.remove(CountingKey(size))
            publisher.flush()
        case "page":
            publisher.page(CountingKey(size))
    return CountingKey.done


def test_a_changed_entry_costs_the_same_in_any_table() -> None:
    assert operations(100, "change") == operations(20_000, "change") <= 10


@pytest.mark.slow
@pytest.mark.parametrize("act", ["come", "go", "page"])
def test_a_key_that_comes_or_goes_and_a_page_cost_by_the_logarithm_of_the_table(act: str) -> None:
    page = 2 * 256 if act == "page" else 0
    assert operations(20_000, act) <= operations(1_000, act) + 20
    assert operations(20_000, act) <= page + 50
