"""The publishing actor's side: who follows a table, and when each follower hears where it is."""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from typing import Any, Generic

from sllm_actors.actors import ActorRef

from .messages import AskPage, E, K
from .publisher import Publisher

TICKS = 10
"""Ticks of ``Beats`` in which each follower gets one beat."""

BEAT_INTERVAL = 1.0
"""Seconds between two beats to one follower."""

TICK_INTERVAL = BEAT_INTERVAL / TICKS
"""Seconds between two calls of ``Beats.tick``."""


class Beats:
    """Sends the beats of all feeds of one actor, to a slice of the followers at a time.

    The actor calls ``tick`` every ``TICK_INTERVAL`` seconds. In ``TICKS`` calls each follower of each feed
    gets at least one beat, and no call sends more than a ``TICKS``-th of them (rounded up).
    """

    def __init__(self) -> None:
        self._turns: OrderedDict[tuple[Feed[Any, Any], str], ActorRef] = OrderedDict()

    def add(self, feed: Feed[Any, Any], node: str, ref: ActorRef) -> None:
        """Let a follower have beats of that feed, in place of what was added for that node before."""
        self._turns[feed, node] = ref

    def remove(self, feed: Feed[Any, Any], node: str) -> None:
        """Send that node no more beats of that feed."""
        self._turns.pop((feed, node), None)

    def tick(self) -> None:
        """Send a beat to the followers that have waited longest for one."""
        for turn in list(islice(self._turns, -(-len(self._turns) // TICKS))):
            self._turns[turn].tell(turn[0].publisher.beat())
            self._turns.move_to_end(turn)


class Feed(Generic[K, E]):
    """A publisher and its followers, for the actor that owns the table.

    All methods are for that actor's own turns: what it sends arrives in the order in which it was sent.

    Args:
        publisher: The table. The actor changes it, and calls ``publish`` after that.
        beats: Sends its beats.
    """

    def __init__(self, publisher: Publisher[K, E], beats: Beats) -> None:
        self.publisher = publisher
        self._beats = beats
        self._followers: dict[str, ActorRef] = {}

    @property
    def followers(self) -> frozenset[str]:
        """The nodes that follow."""
        return frozenset(self._followers)

    def follow(self, node: str, ref: ActorRef) -> None:
        """Let the actor at ``ref`` follow, best a name on its node: when the link to the node has come up.

        It is sent a beat at once, and asks for the whole itself.
        """
        self._followers[node] = ref
        self._beats.add(self, node, ref)
        ref.tell(self.publisher.beat())

    def unfollow(self, node: str) -> None:
        """Send that node nothing more: when the link to it is lost."""
        self._followers.pop(node, None)
        self._beats.remove(self, node)

    def publish(self) -> None:
        """Send what has changed since the last call to all followers."""
        for difference in self.publisher.flush():
            for ref in self._followers.values():
                ref.tell(difference)

    def answer(self, question: AskPage[K]) -> None:
        """Send a page to the follower that asked for it; to one that is not known, nothing."""
        ref = self._followers.get(question.node)
        if ref is not None:
            self.publish()
            ref.tell(self.publisher.page(question.after))
