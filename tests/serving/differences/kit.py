"""The stream that the tests of this folder publish: items by name, in pages of three."""

from __future__ import annotations

from attrs import frozen

from sllm_actors.actors import Catalog
from sllm_actors.serving.differences.messages import CATALOG as DIFFERENCES
from sllm_actors.serving.differences.messages import AskPage, Difference, Page, Stream
from sllm_actors.serving.differences.publisher import Publisher

CATALOG = Catalog(DIFFERENCES)


@frozen(order=True)
class Name:
    text: str


@frozen
class Item:
    name: Name
    value: int = 0


@CATALOG.message("test.items_difference")
@frozen
class ItemsDifference(Difference[Name, Item]):
    pass


@CATALOG.message("test.items_page")
@frozen
class ItemsPage(Page[Name, Item]):
    pass


@CATALOG.message("test.ask_items")
@frozen
class AskItems(AskPage[Name]):
    pass


ITEMS = Stream("items", lambda item: item.name, ItemsDifference, ItemsPage, AskItems)


def item(name: str, value: int = 0) -> Item:
    return Item(Name(name), value)


def names(*texts: str) -> tuple[Name, ...]:
    return tuple(map(Name, texts))


def publisher_of(*items: Item, life: int = 1, most_entries: int = 3) -> Publisher[Name, Item]:
    """Return a publisher that has published these items."""
    publisher = Publisher(ITEMS, "owner", life, most_entries=most_entries)
    for each in items:
        publisher.put(each)
    publisher.flush()
    return publisher
