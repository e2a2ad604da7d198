"""One replica that a worker was ordered to run, and what is being done about it. Pure."""

from __future__ import annotations

from enum import Enum

from attrs import define

from sllm_actors.engines.messages import InspectSource, ReplicaOrder

from .crashes import Crash


class Phase(Enum):
    """What is being done about a replica.

    ``QUEUED``: it waits for its check; ``CHECKING``: it is being checked; ``RUNNING``: its actor runs;
    ``ENDING``: its actor was told to stop; ``RESTING``: its actor has ended, and is started again later;
    ``REFUSED``: it cannot run here.
    """

    QUEUED = "queued"
    CHECKING = "checking"
    RUNNING = "running"
    ENDING = "ending"
    RESTING = "resting"
    REFUSED = "refused"


@define(eq=False)
class Assignment:
    """One replica that this worker was ordered to run.

    Attributes:
        order: What it is, or is to be.
        phase: What is being done about it.
        following: What it is to be once it has ended; None if it was not ordered again.
        number: That of its check; a result of an earlier one does not count.
        started_at: When its actor was started.
        again_at: When it is to be started again, while it is RESTING.
        crash: The last failure of its actor, or None.
        lifted: Whether what kept it from running is gone since it was REFUSED.
        idle: What was ordered of it *if idle*, as the last order has it: to stop, or to sleep at a level; and
            which of several such orders that was.
        ordered: Whether there is an order about it still.
        patience: While it is ENDING: seconds that its requests get for that; None: its drain timeout.
    """

    order: ReplicaOrder
    phase: Phase = Phase.QUEUED
    following: ReplicaOrder | None = None
    number: int = 0
    started_at: float = 0.0
    again_at: float = 0.0
    crash: Crash | None = None
    lifted: bool = False
    idle: tuple[bool, int | None, int] = (False, None, 0)
    ordered: bool = True
    patience: float | None = None

    @property
    def takes_slot(self) -> bool:
        """Whether its engine counts among those of the worker: a server of somebody else does not."""
        return self.order.backend != "external"

    @property
    def has_slot(self) -> bool:
        """Whether it has one of the worker's slots: what rests keeps its slot, what was refused has none."""
        return self.takes_slot and self.phase in (Phase.RUNNING, Phase.ENDING, Phase.RESTING)

    @property
    def is_needed(self) -> bool:
        """Whether it is started again when it has ended."""
        stops, level, _ = self.idle
        return not stops and level is None


def question_of(order: ReplicaOrder) -> InspectSource:
    """Return the question whether an order can be carried out."""
    return InspectSource(
        backend=order.backend,
        source=order.source,
        settings=order.settings,
        num_gpus=order.num_gpus,
        env=order.env,
        secret_env=order.secret_env,
    )
