"""Which bounds for the number of replicas hold at a time, by the schedules of a deployment. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define

from sllm_actors.serving.deployment.schedule import Schedule


@define(eq=False)
class Calendar:
    """Knows which of some schedules holds, and reckons it anew only when that changes.

    Of several that hold at a time the last one of the list counts. Times are in seconds since the epoch.

    Attributes:
        schedules: The schedules.
        until: When another one may hold; None: never.
    """

    schedules: Sequence[Schedule] = ()
    until: float | None = None
    _holds: Schedule | None = None
    _known: bool = False

    def at(self, schedules: Sequence[Schedule], when: float) -> Schedule | None:
        """Return which of these schedules holds at a time, which is not earlier than the time before."""
        known = self._known and schedules is self.schedules
        if not schedules:
            self.schedules, self.until, self._holds = schedules, None, None
        elif not known or (self.until is not None and when >= self.until):
            self._reckon(schedules, when)
        return self._holds

    def _reckon(self, schedules: Sequence[Schedule], when: float) -> None:
        self.schedules, self._holds, self._known = schedules, None, True
        changes: list[float] = []
        for schedule in schedules:
            begun = schedule.last_start(when)
            if when < begun + schedule.duration:
                self._holds = schedule
                changes.append(begun + schedule.duration)
            changes.append(schedule.next_start(when))
        self.until = min(changes)
