"""The following actor's side: a follower, and the publisher that it asks."""

from __future__ import annotations

from typing import Generic

from sllm_actors.actors import ActorRef

from .follower import Changes, Follower, Published
from .messages import E, K


class Subscription(Generic[K, E]):
    """Follows one publisher for an actor, and sends it what the follower asks.

    All methods are for that actor's own turns. The actor applies the ``Changes`` to its table.

    Args:
        follower: Decides.
        publisher: The publishing actor, best by its name on its node: a name follows restarts.
    """

    def __init__(self, follower: Follower[K, E], publisher: ActorRef) -> None:
        self.follower = follower
        self._publisher = publisher

    def begin(self) -> Changes[K, E]:
        """Ask for the whole: when the actor has started, and whenever the link has come up."""
        return self._asking(self.follower.begin())

    def take(self, message: Published[K, E]) -> Changes[K, E]:
        """Take what the publisher sent, and return what it means for the actor's table."""
        return self._asking(self.follower.take(message))

    def _asking(self, changes: Changes[K, E]) -> Changes[K, E]:
        if changes.ask is not None:
            self._publisher.tell(changes.ask)
        return changes
