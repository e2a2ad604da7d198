"""Background work of an actor: tasks that begin with ``Context.start_soon`` and never outlive it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import anyio

from .activity import Background, current

if TYPE_CHECKING:
    from .owned_resources import OwnedResources


class Job:
    """One background task of an actor, which ends only after it."""

    __slots__ = ("_background", "_owner", "scope")

    def __init__(self, owner: OwnedResources, background: Background) -> None:
        self._owner = owner
        self._background = background
        self.scope = anyio.CancelScope()

    async def run(self, func: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> None:
        """Run the work, and tell its owner when it is over.

        An ``Exception`` of the work ends its actor, never the task group that the job runs in.
        """
        current.set(self._background)
        failure: Exception | None = None
        with self.scope:
            try:
                await func(*args)
            except Exception as error:  # noqa: BLE001 - reported as the actor's failure
                failure = error
            except BaseExceptionGroup as group:  # of a task group that was cancelled, and then failed
                failure, cancellation = group.split(Exception)
                if cancellation is not None:
                    raise cancellation from None
        self._owner.job_ended(self, failure)
