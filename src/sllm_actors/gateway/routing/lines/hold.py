"""A request that waits for a replica of one deployment. Pure."""

from __future__ import annotations

from enum import Enum
from typing import Final, TypeAlias

from attrs import define, field

from sllm_actors.api_error import ApiError
from sllm_actors.engines.identity import ReplicaId
from sllm_actors.gateway.routing.asked import Asked, User
from sllm_actors.gateway.routing.route import Upstream

Choice: TypeAlias = tuple[frozenset[ReplicaId], ReplicaId | None]
"""Where a request may go: to none of these; and to this one only, unless it is None."""

ANYWHERE: Final[Choice] = (frozenset(), None)


class HoldState(Enum):
    """``WAITING``: for a replica; ``DECIDED``: its end is not told yet; ``OVER``: it is told, or the request
    has left."""

    WAITING = "waiting"
    DECIDED = "decided"
    OVER = "over"


@define(eq=False)
class Hold:
    """One request that waits. Times are in seconds by one monotonic clock.

    Attributes:
        asked: What it asks.
        user: Who is told how the wait ends.
        number: Rises from hold to hold.
        began: When the request began to wait; earlier than this hold if it has waited before.
        latest: When the wait ends at the latest, whatever the deployment allows.
        notice_by: Until when a replica that it was tried on in vain may still be reported as ready: the
            report may only be late. After that it waits for no replica that it was tried on. None if it was
            tried nowhere.
        error: What it is refused with when its time is over; None: an error that says so.
        state: Where it is in its life.
        due: When it is to be looked at next; kept by the balancer.
        choice: Where it may go.
        end: While DECIDED: the replica that it goes to, or the error that it is refused with.
    """

    asked: Asked
    user: User
    number: int
    began: float
    latest: float
    notice_by: float | None = None
    error: ApiError | None = None
    state: HoldState = field(default=HoldState.WAITING, init=False)
    due: float = field(default=0.0, init=False)
    end: Upstream | ApiError | None = field(default=None, init=False)
    choice: Choice = field(init=False)

    def __attrs_post_init__(self) -> None:
        asked = self.asked
        if asked.stored is None and not asked.tried:
            self.choice = ANYWHERE
        else:
            self.choice = (asked.tried, asked.holder)
