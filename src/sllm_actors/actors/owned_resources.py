"""What an actor may own, none of which outlives it: jobs, timers, replies, monitors, children.

Made when it is first needed: most actors own nothing, and an idle one is to be small.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from .activity import Background
from .asking import Reply
from .errors import ActorGone, StartFailed
from .exits import MonitorId
from .jobs import Job
from .reference import ActorRef
from .specs import Spec
from .timers import Timer

if TYPE_CHECKING:
    from .actor_cell import ActorCell
    from .cell import Cell
    from .supervisor import SupervisorCell


class OwnedResources:
    """What one actor owns.

    Attributes:
        jobs: Background work that runs.
        timers: Timers that have not fired, or whose message is not handled yet.
        replies: Answers that the actor has taken over and not sent.
        watching: The actor's monitors.
        children: The actor's own supervisor, once it has started a child.
    """

    __slots__ = ("_cell", "children", "jobs", "replies", "timers", "watching")

    def __init__(self, cell: ActorCell) -> None:
        self._cell = cell
        self.jobs: set[Job] = set()
        self.timers: set[Timer] = set()
        self.replies: set[Reply] = set()
        self.watching: dict[MonitorId, Cell | None] = {}  # the target, where it lives here
        self.children: SupervisorCell | None = None

    @property
    def label(self) -> str:
        """The owner, as ``node/number``."""
        return self._cell.label

    def reply_later(self) -> Reply:
        """See ``Context.reply_later``."""
        port, self._cell.port = self._cell.port, None
        reply = Reply(self, port)
        if port is not None:
            self.replies.add(reply)
        return reply

    def start_job(self, func: Callable[..., Awaitable[Any]], args: tuple[Any, ...], name: str | None) -> None:
        """See ``Context.start_soon``."""
        cell = self._cell
        if cell.ending:
            raise ActorGone(f"{cell} is ending: it can start no background work")
        answers = cell.port is None and bool(self.replies)
        job = Job(self, Background(cell, cell.context.metadata, answers=answers))
        self.jobs.add(job)
        cell.system.run_job(job, func, args, name or f"{cell}: {getattr(func, '__qualname__', func)}")

    def job_ended(self, job: Job, error: Exception | None) -> None:
        """Background work is over; ``error`` is what it raised."""
        self.jobs.discard(job)
        self._cell.job_ended(error)

    def start_timer(self, delay: float, message: Any) -> Timer:
        """See ``Context.after``."""
        timer = Timer(self._cell, message)
        if self._cell.ending:
            timer.cancel()
        else:
            self.timers.add(timer)
            self._cell.system.deadlines.add(timer, delay)
        return timer

    async def start_child(self, spec: Spec) -> ActorRef:
        """See ``Context.start_child``."""
        if self._cell.ending:
            raise StartFailed(f"child {spec.id!r}: {self._cell} is ending")
        if self.children is None:
            self.children = self._cell.system.open_supervisor(self._cell)
        return await self.children.start_child(spec)

    async def stop_child(self, child_id: str) -> None:
        """See ``Context.stop_child``."""
        if self.children is None:
            raise StartFailed(f"child {child_id!r}: there is no such child")
        await self.children.stop_child(child_id)

    def cancel_jobs(self) -> bool:
        """Cancel the background work; False when there is none."""
        for job in self.jobs:
            job.scope.cancel()
        return bool(self.jobs)

    def cancel_timers(self) -> None:
        """Cancel every timer."""
        for timer in list(self.timers):
            timer.cancel()

    def settle(self) -> None:
        """The actor has ended: answer its open replies with ``ActorGone``, and end its monitors."""
        for reply in list(self.replies):
            reply.abandon(f"{self._cell} ended without an answer")
        self._cell.system.monitors.unwatch_all(self.watching)
