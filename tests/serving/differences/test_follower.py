"""A follower applies what comes in order, and asks for the whole when it may have missed something."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from attrs import evolve

from sllm_actors.serving.differences.follower import MOST_PATIENCE, PATIENCE, Changes, Follower
from sllm_actors.serving.differences.messages import Beat
from sllm_actors.serving.differences.publisher import Publisher

from .kit import ITEMS, AskItems, Item, ItemsDifference, ItemsPage, Name, item, names, publisher_of

NOTHING: Changes[Name, Item] = Changes()
WHOLE = AskItems("me")


def follower(most_keys: int = 100) -> Follower[Name, Item]:
    return Follower(ITEMS, "me", most_keys=most_keys)


def pages_of(publisher: Publisher[Name, Item]) -> Iterator[Any]:
    after = None
    while True:
        page = publisher.page(after)
        yield page
        if not page.more:
            return
        after = page.entries[-1].name


def following(publisher: Publisher[Name, Item], most_keys: int = 100) -> Follower[Name, Item]:
    """Return a follower that has the whole."""
    me = follower(most_keys)
    me.begin()
    for page in pages_of(publisher):
        me.take(page)
    assert me.complete
    return me


def change(publisher: Publisher[Name, Item], *items: Item) -> Any:
    for each in items:
        publisher.put(each)
    (difference,) = publisher.flush()
    return difference


def test_the_whole_is_asked_for_page_by_page() -> None:
    publisher = publisher_of(*map(item, "abcde"))
    me = follower()
    assert me.begin() == Changes(ask=WHOLE)
    assert (me.complete, me.position) == (False, None)
    first, second = pages_of(publisher)
    assert me.take(first) == Changes(first.entries, ask=AskItems("me", Name("c")))
    assert me.take(second) == Changes(second.entries, whole=True)
    assert (me.complete, me.position) == (True, (1, 2))


def test_an_empty_table_is_a_whole_too() -> None:
    me = follower()
    me.begin()
    assert me.take(publisher_of().page(None)) == Changes(whole=True)


def test_differences_are_applied_in_order() -> None:
    publisher = publisher_of(item("a"))
    me = following(publisher)
    assert me.take(change(publisher, item("a", 1), item("b"))) == Changes((item("a", 1), item("b")))
    publisher.remove(Name("a"))
    publisher.put(item("c"))
    publisher.remove(Name("c"))
    assert me.take(*publisher.flush()) == Changes(removed=names("a"))  # c never came
    assert me.take(publisher.beat()) == NOTHING
    assert me.position == (1, 3)


def test_a_difference_that_comes_twice_changes_nothing() -> None:
    publisher = publisher_of(item("a"))
    me = following(publisher)
    first, second = change(publisher, item("a", 1)), change(publisher, item("a", 2))
    me.take(first)
    me.take(second)
    assert me.take(first) == me.take(second) == NOTHING
    assert me.complete


def test_a_gap_leads_to_the_whole() -> None:
    publisher = publisher_of(item("a"))
    me = following(publisher)
    change(publisher, item("b"))  # lost
    late = change(publisher, item("c"))
    assert me.take(late) == Changes(ask=WHOLE)
    assert not me.complete
    assert me.take(late) == NOTHING
    assert me.take(publisher.page(None)) == Changes((item("a"), item("b"), item("c")), whole=True)


def test_a_beat_tells_of_a_last_difference_that_was_lost() -> None:
    publisher = publisher_of(item("a"))
    me = following(publisher)
    change(publisher, item("b"))  # lost
    assert me.take(publisher.beat()) == Changes(ask=WHOLE)
    assert me.take(publisher.page(None)) == Changes((item("a"), item("b")), whole=True)


def test_a_beat_tells_of_a_restarted_publisher() -> None:
    me = following(publisher_of(item("a"), item("b"), life=1))
    after = publisher_of(item("b", 1), life=2)
    assert me.take(change(after, item("c"))) == NOTHING  # of a life that it does not know
    assert me.take(after.beat()) == Changes(ask=WHOLE)
    assert me.take(after.page(None)) == Changes((item("b", 1), item("c")), names("a"), whole=True)


def test_a_publisher_that_begins_again_with_the_same_life_is_believed() -> None:
    publisher = publisher_of(item("a"))
    me = following(publisher)
    me.take(change(publisher, item("b")))
    again = publisher_of(item("c"))
    assert me.take(again.beat()) == Changes(ask=WHOLE)
    assert me.take(again.page(None)) == Changes((item("c"),), names("a", "b"), whole=True)


def test_a_new_link_leads_to_the_whole_whoever_publishes_now() -> None:
    me = following(publisher_of(item("a"), life=1))
    assert me.begin() == Changes(ask=WHOLE)
    assert me.take(publisher_of(item("b"), life=2).page(None)) == Changes(
        (item("b"),), names("a"), whole=True
    )


def test_while_loading_a_difference_counts_up_to_the_last_page_and_the_rest_comes_in_later_ones() -> None:
    publisher = publisher_of(*map(item, "abcde"), most_entries=4)
    me = following(publisher)
    me.begin()
    assert me.take(change(publisher, item("a", 1))) == NOTHING  # nothing is loaded yet
    me.take(publisher.page(None))
    publisher.put(item("c", 2))
    publisher.put(item("f", 2))
    publisher.remove(Name("b"))
    publisher.remove(Name("e"))
    assert me.take(*publisher.flush()) == Changes((item("c", 2),), names("b"))
    assert me.take(publisher.page(Name("d"))) == Changes((item("f", 2),), names("e"), whole=True)


def test_a_key_from_before_that_a_page_has_passed_by_can_be_removed_by_a_difference() -> None:
    me = following(publisher_of(item("a"), item("z"), life=1))
    after = publisher_of(*map(item, "bcde"), life=2)
    me.begin()
    me.take(after.page(None))
    after.put(item("a"))
    after.remove(Name("a"))
    assert me.take(*after.flush()) == Changes(removed=names("a"))
    assert me.take(after.page(Name("d"))) == Changes((item("e"),), names("z"), whole=True)


def test_a_difference_that_is_lost_while_loading_begins_the_load_again() -> None:
    publisher = publisher_of(*map(item, "abcde"))
    me = follower()
    me.begin()
    me.take(publisher.page(None))
    change(publisher, item("a", 1))  # lost
    assert me.take(publisher.page(Name("c"))) == Changes(ask=WHOLE)
    assert me.take(publisher.page(None)).put[0] == item("a", 1)
    change(publisher, item("a", 2))  # lost
    assert me.take(change(publisher, item("b", 2))) == Changes(ask=WHOLE)


def test_a_page_that_is_old_or_was_not_asked_for_changes_nothing() -> None:
    publisher = publisher_of(*map(item, "abcde"))
    old = publisher.page(None)
    me = following(publisher)
    assert me.take(old) == NOTHING  # complete
    change(publisher, item("b", 1))  # lost
    me.take(publisher.beat())
    assert me.take(old) == NOTHING  # older than what the beat told of
    assert me.take(publisher.page(Name("c"))) == NOTHING  # another cursor
    assert me.take(evolve(publisher.page(None), life=2)) == NOTHING  # another life
    assert me.take(publisher.page(None)).ask == AskItems("me", Name("c"))
    assert me.take(publisher.page(None)) == NOTHING  # twice


def test_a_page_that_does_not_come_is_asked_for_again_ever_more_rarely() -> None:
    publisher = publisher_of(*map(item, "abcde"))
    me = follower()
    me.begin()
    me.take(publisher.page(None))
    again: Changes[Name, Item] = Changes(ask=AskItems("me", Name("c")))
    beats = [number for number in range(1, 101) if me.take(publisher.beat()) == again]
    assert beats[:4] == [PATIENCE, 3 * PATIENCE, 7 * PATIENCE, 7 * PATIENCE + MOST_PATIENCE]
    assert beats[-1] - beats[-2] == MOST_PATIENCE
    assert me.take(publisher.page(Name("c"))).whole


def test_one_that_never_began_asks_at_the_first_beat() -> None:
    assert follower().take(publisher_of().beat()) == Changes(ask=WHOLE)


def test_what_is_known_from_before_stays_until_the_whole_and_goes_if_it_is_gone() -> None:
    publisher = publisher_of(*map(item, "abcde"))
    me = Follower(ITEMS, "me", known=names("b", "d", "x"))
    assert me.begin() == Changes(ask=WHOLE)
    first, second = pages_of(publisher)
    assert me.take(first) == Changes(first.entries, ask=AskItems("me", Name("c")))
    publisher.remove(Name("b"))
    publisher.remove(Name("d"))
    assert me.take(*publisher.flush()) == Changes(removed=names("b")), "a later page tells of d"
    assert me.take(publisher.page(Name("c"))) == Changes((item("e"),), names("d", "x"), whole=True)
    assert second.entries == (item("d"), item("e"))


def test_one_that_knows_more_than_it_may_forgets_it_when_it_begins() -> None:
    me = Follower(ITEMS, "me", most_keys=2, known=map(Name, "gfedcba"))
    assert me.begin() == Changes(removed=names(*"abcdefg"), ask=WHOLE)
    assert me.take(publisher_of(item("a")).page(None)) == Changes((item("a"),), whole=True)


def test_a_publisher_that_begins_a_new_life_is_asked_for_the_whole() -> None:
    publisher = publisher_of(item("a"), item("b"))
    me = following(publisher)
    publisher.put(item("c"))
    publisher.remove(Name("a"))
    publisher.begin_life(2)
    assert me.take(publisher.beat()) == Changes(ask=WHOLE)
    assert me.take(publisher.page(None)) == Changes((item("b"), item("c")), names("a"), whole=True)
    assert me.position == (2, 0)


def test_messages_of_another_stream_change_nothing() -> None:
    me = following(publisher_of(item("a")))
    strange: Any = AskItems("me")
    assert me.take(strange) == NOTHING
    assert me.take(Beat("other", "owner", 5, 5)) == NOTHING


def test_a_page_that_was_made_ahead_of_its_number_does_no_harm() -> None:
    publisher = publisher_of(item("a"))
    me = follower()
    me.begin()
    publisher.put(item("b"))
    assert me.take(publisher.page(None)).put == (item("a"), item("b"))
    publisher.remove(Name("b"))
    assert me.take(*publisher.flush()) == Changes(removed=names("b"))


def test_a_publisher_that_has_too_much_is_refused_and_asked_again_much_later() -> None:
    publisher = publisher_of(*map(item, "abcd"), most_entries=10)
    me = following(publisher, most_keys=4)
    refused = me.take(change(publisher, item("e")))
    assert (refused.put, refused.ask) == ((), None)
    assert refused.refused == ("the publisher of stream 'items' sent more than 4 entries: this was not taken")
    assert not me.complete
    publisher.remove(Name("a"))
    publisher.flush()
    asks = [me.take(publisher.beat()).ask for _ in range(MOST_PATIENCE)]
    assert asks == [None] * (MOST_PATIENCE - 1) + [WHOLE]
    assert me.take(publisher.page(None)) == Changes(tuple(map(item, "bcde")), names("a"), whole=True)


@pytest.mark.parametrize(
    "page",
    [
        ItemsPage("owner", 1, 1, None, (), more=True),
        ItemsPage("owner", 1, 1, None, (item("b"), item("a"))),
        ItemsPage("owner", 1, 1, None, (item("a"), item("a")), more=True),
    ],
)
def test_a_page_that_leads_nowhere_or_is_out_of_order_is_refused(page: ItemsPage) -> None:
    me = follower()
    me.begin()
    changes = me.take(page)
    assert changes == Changes(refused=changes.refused)
    assert "empty or not in the order of its keys" in changes.refused


def test_a_page_that_goes_back_behind_its_cursor_is_refused() -> None:
    me = follower()
    me.begin()
    me.take(ItemsPage("owner", 1, 1, None, (item("c"),), more=True))
    assert me.take(ItemsPage("owner", 1, 1, Name("c"), (item("b"),), more=True)).refused


def test_a_publisher_that_lies_costs_no_memory() -> None:
    me = follower(most_keys=10)
    me.begin()
    have: set[Name] = set()
    refused = 0
    for life in range(50):
        me.take(Beat("items", "owner", life, 0))
        after = None
        for number in range(100):
            keys = [f"{life:03} {number:03} {each}" for each in range(3)]
            changes = me.take(ItemsPage("owner", life, 0, after, tuple(map(item, keys)), more=True))
            have |= {each.name for each in changes.put}
            have -= set(changes.removed)
            after = Name(keys[-1])
            if changes.refused:
                refused += 1
                break
    assert refused == 50
    assert len(have) <= 4 * 10
    assert len(me._keys) + len(me._old) == len(have)


def test_churn_that_only_a_load_sees_is_bounded_too() -> None:
    me = follower(most_keys=10)
    me.begin()
    me.take(ItemsPage("owner", 1, 0, None, tuple(map(item, "abcdefghi")), more=True))
    me.take(ItemsDifference("owner", 1, 1, (), names(*"abcdefghi")))
    refused = me.take(ItemsPage("owner", 1, 1, Name("i"), (item("j"), item("k")), more=True))
    assert refused.refused
