"""What those parts of the picture share that take note of events."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from .catalogue import Catalogue
from .fleet import Fleet
from .planning.planner import Planner
from .planning.queue import PlanningQueue
from .recovery import Recovery
from .settling import Settling


@frozen
class Parts:
    """The parts of one picture.

    Attributes:
        fleet: The nodes.
        catalogue: The deployments.
        planner: Decides for these.
        recovery: Decides about what was not ordered.
        settling: What is waited for after the start.
        queue: Gets the deployments that are to be planned.
        wall: Returns a time of the head's clock in seconds since the epoch.
    """

    fleet: Fleet
    catalogue: Catalogue
    planner: Planner
    recovery: Recovery
    settling: Settling
    queue: PlanningQueue
    wall: Callable[[float], float]
