"""A replica as a place where requests are under way. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import define, field

from sllm_actors.engines.identity import ReplicaId
from sllm_actors.gateway.routing.asked import User
from sllm_actors.gateway.routing.route import Upstream

from .circuit import CLOSED, Circuit, CircuitState

UNLIMITED: Final = 2**40
"""The ``limit`` of a replica that takes as many requests at a time as come."""


@define(eq=False)
class Place:
    """One engine life, and the requests of this gateway there.

    Attributes:
        upstream: The engine, as its worker reported it last.
        deployment: The deployment's id.
        limit: How many requests of this gateway it may have at a time.
        ready: Whether it takes requests.
        load: How many requests are under way there.
        room: How many more it takes now. At most 0 where ``ready`` is false.
        users: The requests under way, each with the time when it began.
        told: Those of ``users`` that have been told that the replica is lost.
        circuit: Whether requests may go there, by how those before have ended.
        probe: While the circuit is half open: the request that tries the replica, if one does.
        idle_calls: To be called when none is under way any more.
    """

    upstream: Upstream
    deployment: str
    limit: int = UNLIMITED
    ready: bool = False
    load: int = 0
    room: int = 0
    users: dict[User, float] = field(factory=dict, init=False)
    told: set[User] = field(factory=set, init=False)
    circuit: Circuit = field(factory=Circuit, init=False)
    probe: User | None = field(default=None, init=False)
    idle_calls: list[Callable[[], None]] = field(factory=list, init=False)
    id: ReplicaId = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.id = self.upstream.id

    def begin(self, user: User, now: float) -> None:
        """Count a request."""
        self.users[user] = now
        self.load += 1
        self.room -= 1
        if self.circuit.state is not CLOSED:
            self.probe = user
            self.room = 0

    def end(self, user: User) -> float:
        """Count a request no more, and return when it began."""
        began = self.users.pop(user)
        self.load -= 1
        if self.ready and self.probe is None and self.circuit.state is CLOSED:
            self.room += 1
            self.told.discard(user)
            return began
        if user is self.probe:
            self.probe = None
        self.told.discard(user)
        self.reckon()
        return began

    def reckon(self) -> None:
        """Bring ``room`` up to date: what it depends on has changed."""
        state = self.circuit.state
        if not self.ready or state is CircuitState.OPEN:
            self.room = 0
        elif state is CLOSED:
            self.room = self.limit - self.load
        else:
            self.room = 0 if self.probe is not None else min(1, self.limit - self.load)
