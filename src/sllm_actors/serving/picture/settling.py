"""What a head waits for after its start, before it decides about what was deployed before."""

from __future__ import annotations

from sllm_actors.serving.store.records import StoredState

from .fleet import WORKER

SETTLE_TIME = 10.0
"""Seconds that a head which has just started waits for workers that it knows."""


class Settling:
    """Waits until each worker of the store has reported all its replicas, or ``settle_time`` is over.

    A head that does not know the running engines yet must neither stop them nor start them a second time.
    With a store that is fresh, that time begins with the first report: until then nothing is known of what
    runs. Without any deployment there is nothing to wait for but the workers of the store.

    Args:
        state: What the store held.
        now: Seconds on the head's clock.
        settle_time: See ``SETTLE_TIME``.

    Attributes:
        awaited: Workers of the store that have not reported since the head started.
        over: Whether what was deployed before is decided about.
    """

    def __init__(self, state: StoredState, now: float, settle_time: float) -> None:
        self.awaited = {record.id for record in state.nodes if record.role == WORKER}
        self.over = False
        self._settle_time = settle_time
        self._waits_for_all = not (state.fresh and state.deployments)
        self._ends_at = None if state.fresh else now + settle_time
        self._blank_until = now + settle_time if state.fresh else now
        self._reported = False

    def reported(self, node: str, now: float) -> None:
        """Take note that a worker has reported all its replicas."""
        self.awaited.discard(node)
        self._reported = True
        if self._ends_at is None:
            self._ends_at = now + self._settle_time

    def ends(self, now: float) -> bool:
        """Return whether there is nothing more to wait for; the caller then sets ``over``."""
        if self.over:
            return False
        everybody = self._waits_for_all and not self.awaited
        return everybody or (self._ends_at is not None and now >= self._ends_at)

    def due(self) -> float | None:
        """Return when the wait ends though nothing happens, in seconds on the head's clock, or None."""
        return None if self.over else self._ends_at

    def blank_until(self, *, strangers: bool) -> float:
        """Return until when workers may run what a fresh store does not know.

        Args:
            strangers: Whether workers have reported any deployment that the head does not know.
        """
        return self._blank_until if strangers or not self._reported else float("-inf")
