"""What a report tells of an engine life: whether it is over, and whether the engine ended by itself. Pure."""

from __future__ import annotations

from .identity import ReplicaId
from .messages import ReplicaReport, ReplicaState

_SERVING = (ReplicaState.READY, ReplicaState.ASLEEP, ReplicaState.DRAINING)
"""The states in which an engine life goes on, and may have requests in flight."""


UNKNOWN_EXIT = "unknown"
"""The exit status of an engine whose end nobody saw, since its leash was killed."""


def is_over(life: ReplicaId, report: ReplicaReport) -> bool:
    """Return whether an engine life that was READY has ended.

    Args:
        life: The engine life.
        report: What its worker says of that replica now; it may be about a later life.
    """
    return report.id != life or report.state not in _SERVING


def died(life: ReplicaId, report: ReplicaReport) -> bool:
    """Return whether an engine life that was READY has ended although nobody ended it: its process is gone.

    An engine that was stopped, or that its worker ended since it hung or failed its health checks, has not
    died; nor has one whose leash was killed, or a server that somebody else runs. The arguments are those of
    ``is_over``.
    """
    return is_over(life, report) and report.exit_status not in ("", UNKNOWN_EXIT)
