"""How a replica that has requests under way left the routes. Pure."""

from __future__ import annotations

from attrs import frozen

from sllm_actors.engines import life_end
from sllm_actors.engines.identity import ReplicaId
from sllm_actors.engines.messages import ReplicaReport


@frozen
class Lost:
    """A replica has left the routes, other than to drain or to sleep, while a request was under way there.

    Attributes:
        reason: Why, in a few words for a person and the log.
        died: Whether its engine ended by itself while the link to its worker stood. False where that is not
            known: the link is lost, or the worker ended the engine.
    """

    reason: str
    died: bool = False


def loss_of(life: ReplicaId, report: ReplicaReport | None) -> Lost | None:
    """Return how an engine life was lost, or None if it goes on.

    It goes on while it is READY, and while it is DRAINING or ASLEEP: then requests may still end there.

    Args:
        life: The engine life where the request is under way.
        report: What its worker says of that replica now, which may be about a later life; None if the worker
            has that replica no longer.
    """
    if report is None:
        return Lost("its replica was stopped")
    if not life_end.is_over(life, report):
        return None
    return Lost(report.reason or report.exit_status or "its engine ended", life_end.died(life, report))


def link_lost(reason: str) -> Lost:
    """Return the loss of every replica of a worker whose link is lost, for a ``reason`` in a few words."""
    return Lost(f"the link to its worker is lost ({reason})")
