"""What goes between the owner of a table and those who follow it.

A stream declares a subclass of ``Difference``, ``Page`` and ``AskPage`` with its types, registers them in the
catalog of its room, and names them in a ``Stream``::

    @CATALOG.message("serving.orders_difference", senders={"head"}, names_sender="node")
    @frozen
    class OrdersDifference(Difference[ReplicaKey, ReplicaOrder]):
        ...

``Beat`` is one class for all streams. All are sent as tells, never as answers to an ask: the mechanism rests
on messages of one sender arriving in the order in which they were sent.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final, Generic, Protocol, TypeVar

from attrs import frozen

from sllm_actors.actors import Catalog
from sllm_actors.transport.codec import pack, wire_converter

CATALOG = Catalog()


class Key(Hashable, Protocol):
    """The key of an entry: text, a number, or a frozen attrs class with ``order=True``."""

    def __lt__(self, other: Any, /) -> bool: ...


K = TypeVar("K", bound=Key)
E = TypeVar("E")


@frozen
class Difference(Generic[K, E]):
    """What has changed since the difference before it; no key is both in ``put`` and in ``removed``.

    Attributes:
        node: The node of the publisher.
        life: The publisher's life, as in ``Beat``.
        number: One more than that of the difference before it; the first of a life has 1.
        put: Entries that are new or have changed.
        removed: Keys whose entries are gone. A follower may never have had one of them.
    """

    node: str
    life: int
    number: int
    put: tuple[E, ...] = ()
    removed: tuple[K, ...] = ()


@frozen
class Page(Generic[K, E]):
    """A part of the whole table: the answer to ``AskPage``.

    Attributes:
        node: The node of the publisher.
        life: The publisher's life, as in ``Beat``.
        number: The number of the last difference when the page was made. What the page holds beyond it
            comes again in the next difference.
        after: The key that the page begins after, as it was asked for; None for the first page.
        entries: The entries, in the order of their keys.
        more: Whether entries follow after the last of ``entries``.
    """

    node: str
    life: int
    number: int
    after: K | None = None
    entries: tuple[E, ...] = ()
    more: bool = False


@frozen
class AskPage(Generic[K]):
    """From a follower: send the entries whose keys are greater than ``after``, as many as a page holds.

    Attributes:
        node: The node of the follower.
        after: The last key of the page before; None asks for the first page.
    """

    node: str
    after: K | None = None


@CATALOG.message("serving.beat", senders={"head", "worker", "gateway"}, names_sender="node")
@frozen
class Beat:
    """Where a publisher is: sent to each follower about once a second, whether or not anything changes.

    Attributes:
        stream: The name of the stream.
        node: The node of the publisher.
        life: Differs between any two lives of the publisher; its order means nothing here.
        number: The number of the last difference; 0 before the first.
    """

    stream: str
    node: str
    life: int
    number: int


@frozen
class Stream(Generic[K, E]):
    """The declaration of a stream.

    Attributes:
        name: Its name in beats.
        key_of: Returns the key of an entry.
        difference: Its own subclass of ``Difference``.
        page: Its own subclass of ``Page``.
        ask: Its own subclass of ``AskPage``.
    """

    name: str
    key_of: Callable[[E], K]
    difference: type[Difference[K, E]]
    page: type[Page[K, E]]
    ask: type[AskPage[K]]


_CONVERTER: Final = wire_converter()


def encoded_size(value: Any) -> int:
    """Return how many bytes a key or an entry takes on the wire; exact for what holds no ``ActorRef``.

    Raises:
        UnknownMessage: The value cannot be sent.
    """
    return len(pack(_CONVERTER.unstructure(value)))
