"""What follows from the orders of the head, from checks, and from the ends of replicas. Pure.

A replica that is ordered to run is first checked: can it run here at all? If not, it is refused, reported as
unfit, and not tried again until it is ordered anew. One that is ordered to stop drains and stops. One that is
ordered to stop *if idle* is told so, and runs on if it declines: what follows is up to the head. One that is
ordered to sleep is told so while it runs, but never started for it. Where there is no order any more, what
there is stays as it is.
"""

from __future__ import annotations

from typing import Final

from attrs import evolve

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import InspectSource, ReplicaOrder, ReplicaReport, ReplicaState
from sllm_actors.serving.messages import Order

from .assignment import Assignment, Phase, question_of
from .crashes import after_crash
from .effects import (
    ChangeTier,
    Check,
    Effect,
    Forget,
    PassOn,
    Refuse,
    Retire,
    Say,
    SayGone,
    Start,
    Welcome,
)

MAX_CHECKS: Final = 8
"""The most replicas that are checked at a time; others wait, in the order in which they were ordered."""

RETRY_INTERVAL: Final = 1.0
"""Seconds before a replica that was ordered again while it ended, or that ended by itself, is started."""

CHECKING: Final = "waiting to be checked"
"""The progress of a replica that has not been started yet."""

ENDED: Final = "ended, and starting again"
"""The progress of a replica that ended in good order, and is to run still or again."""


class Assignments:
    """The replicas that this worker was ordered to run, and has not stopped yet.

    It never runs more engines than it has slots, whoever orders them: one too many is refused, as what cannot
    run here is, and when a slot is free again, it says that it may accept what it refused.

    Args:
        max_checks: See ``MAX_CHECKS``.
        slots: The most engines at a time, or None for no limit.

    Attributes:
        stops: The replicas that are not to be started: of which there is an order to stop, whether they are
            here or not, or one to sleep, and they are not here.
    """

    def __init__(self, max_checks: int = MAX_CHECKS, slots: int | None = None) -> None:
        self._max_checks = max_checks
        self._slots = slots
        self._crowded: dict[ReplicaKey, None] = {}  # refused for want of a slot
        self._all: dict[ReplicaKey, Assignment] = {}
        self._queue: dict[ReplicaKey, None] = {}
        self._resting: dict[ReplicaKey, None] = {}
        self.stops: dict[ReplicaKey, None] = {}
        self._checks = 0  # under way, also for replicas that are gone since
        self._last_number = 0

    def phase(self, key: ReplicaKey) -> Phase | None:
        """Return what is being done about a replica, or None where it is not assigned."""
        known = self._all.get(key)
        return None if known is None else known.phase

    def document(self, key: ReplicaKey) -> str:
        """Return the document of a replica's deployment; "" if it is not assigned."""
        known = self._all.get(key)
        return "" if known is None else known.order.document

    def due(self) -> float | None:
        """Return when to call ``wake`` next, or None."""
        return min((self._all[key].again_at for key in self._resting), default=None)

    # ---- events

    def take(self, order: Order) -> list[Effect]:
        """Take an order of the head; one that came before changes nothing."""
        known = self._all.get(order.key)
        if known is not None:
            known.ordered = True
        runs = known is not None and known.phase is Phase.RUNNING
        if order.run is None or (order.sleep is not None and not runs):
            told, self.stops[order.key] = order.key in self.stops, None
            if known is None:
                return [] if told else [SayGone(order.key)]
            return self._stop(order.key, known, order)
        self.stops.pop(order.key, None)
        if known is None:
            self._all[order.key] = known = Assignment(order.run, idle=(False, None, order.turn))
            return self._enqueue(order.key, known)
        return self._change_tier(known, order) + self._change(order.key, known, order.run)

    def withdrawn(self, key: ReplicaKey) -> list[Effect]:
        """Take note that there is no order about a replica any more: what there is stays as it is."""
        self.stops.pop(key, None)
        known = self._all.get(key)
        if known is None:
            return [Forget(key)]
        known.ordered = False
        return []

    def checked(self, key: ReplicaKey, number: int, problem: str, now: float) -> list[Effect]:
        """Take the result of a check: "" if the replica can run here, else why not."""
        self._checks -= 1
        known = self._all.get(key)
        if known is None or known.phase is not Phase.CHECKING or known.number != number:
            return self._next_checks()
        if not problem and not self._has_slot_for(key, known):
            known.phase, known.crash = Phase.REFUSED, None
            self._crowded[key] = None
            reason = f"all its slots, {self._slots}, have engines (no_room)"
            refused = evolve(_report(known.order, ReplicaState.FAILED), reason=reason, unfit=True)
            return [Say(refused), *self._next_checks()]
        if not problem:
            known.phase, known.started_at = Phase.RUNNING, now
            return [Start(known.order), *self._next_checks()]
        known.phase, known.crash = Phase.REFUSED, None
        refused = evolve(_report(known.order, ReplicaState.FAILED), reason=problem, unfit=True)
        return [Say(refused), Refuse(question_of(known.order), problem), *self._next_checks()]

    def ended(self, key: ReplicaKey, failure: str, *, now: float, chance: float) -> list[Effect]:
        """Go on when a replica's actor has ended, or could not be started.

        Args:
            key: The replica.
            failure: Why it failed; "" if it ended in good order.
            now: Seconds on a monotonic clock.
            chance: Between 0 and 1, drawn by the caller: for the jitter of the pause.
        """
        known = self._all.get(key)
        if known is None or known.phase not in (Phase.RUNNING, Phase.ENDING):
            return []
        if known.phase is Phase.ENDING:
            if known.following is None:
                del self._all[key]
                return [self._gone(key), *self._room_again()]
            known.order, known.following = known.following, None
        elif not known.is_needed:
            del self._all[key]
            if known.ordered:
                self.stops[key] = None  # that it has ended is told until there is another order
            return [self._gone(key), *self._room_again()]
        known.phase = Phase.RESTING
        self._resting[key] = None
        if not failure:
            known.crash, known.again_at = None, now + RETRY_INTERVAL
            return [Say(evolve(_report(known.order, ReplicaState.PENDING), progress=ENDED))]
        uptime = now - known.started_at
        known.crash = after_crash(known.crash, failure, uptime=uptime, now=now, chance=chance)
        known.again_at = known.crash.again_at
        failed = evolve(
            _report(known.order, ReplicaState.FAILED),
            reason=known.crash.reason,
            retry_in=known.again_at - now,
            failures=known.crash.failures,
        )
        return [Say(failed)]

    def wake(self, now: float) -> list[Effect]:
        """Go on with the replicas whose pause is over."""
        effects = []
        for key in [key for key in self._resting if self._all[key].again_at <= now]:
            effects += self._enqueue(key, self._all[key])
        return effects

    def lifted(self, question: InspectSource) -> None:
        """Take note that what was refused under that question can run now.

        If the head stops a replica that was refused for it, it may not have heard of that in time.
        """
        for known in self._all.values():
            if known.phase is Phase.REFUSED and question_of(known.order) == question:
                known.lifted = True

    # ---- inside

    def _change_tier(self, known: Assignment, order: Order) -> list[Effect]:
        before, known.idle = known.idle, (False, order.sleep, order.turn)
        if known.phase is not Phase.RUNNING or known.idle == before:
            return []
        return [ChangeTier(order.key, order.sleep, order.patience)]

    def _change(self, key: ReplicaKey, known: Assignment, order: ReplicaOrder) -> list[Effect]:
        if known.phase is Phase.ENDING:
            known.following = order
            return []
        if known.order == order:
            return []
        known.order = order
        if known.phase is Phase.RUNNING:
            return [PassOn(order)]
        if known.phase in (Phase.CHECKING, Phase.REFUSED):
            return self._enqueue(key, known)
        return []

    def _stop(self, key: ReplicaKey, known: Assignment, order: Order) -> list[Effect]:
        if known.phase is Phase.ENDING:
            known.following = None
            hastier = known.patience is not None and order.patience is None
            known.patience = order.patience if hastier else known.patience
            return [Retire(key, order.stop)] if hastier else []
        if known.phase is Phase.RUNNING and order.if_idle:
            before, known.idle = known.idle, (True, None, order.turn)
            return [] if known.idle == before else [Retire(key, order.stop, if_idle=True)]
        if known.phase is Phase.RUNNING:
            known.phase, known.patience = Phase.ENDING, order.patience
            return [Retire(key, order.stop, patience=order.patience)]
        del self._all[key]
        self._queue.pop(key, None)
        self._resting.pop(key, None)
        self._crowded.pop(key, None)
        gone = self._gone(key)
        return [gone, Welcome()] if known.lifted else [gone, *self._room_again()]

    def _has_slot_for(self, key: ReplicaKey, known: Assignment) -> bool:
        if self._slots is None or not known.takes_slot:
            return True
        others = (each for other, each in self._all.items() if other != key)
        return sum(each.has_slot for each in others) < self._slots

    def _room_again(self) -> list[Effect]:
        """Return what is to be said, if a replica that was refused for want of a slot would find one now."""
        first = next(iter(self._crowded), None)
        if first is None or not self._has_slot_for(first, self._all[first]):
            return []
        for key in self._crowded:
            self._all[key].lifted = True
        self._crowded.clear()
        return [Welcome()]

    def _gone(self, key: ReplicaKey) -> Effect:
        return SayGone(key) if key in self.stops else Forget(key)

    def _enqueue(self, key: ReplicaKey, known: Assignment) -> list[Effect]:
        known.phase, known.lifted = Phase.QUEUED, False
        self._crowded.pop(key, None)
        self._resting.pop(key, None)
        self._queue[key] = None
        waiting = evolve(_report(known.order, ReplicaState.PENDING), progress=CHECKING)
        if known.crash is not None:
            waiting = evolve(waiting, reason=known.crash.reason, failures=known.crash.failures)
        return [Say(waiting), *self._next_checks()]

    def _next_checks(self) -> list[Effect]:
        effects: list[Effect] = []
        while self._queue and self._checks < self._max_checks:
            key = next(iter(self._queue))
            del self._queue[key]
            known = self._all[key]
            self._checks += 1
            self._last_number += 1
            known.phase, known.number = Phase.CHECKING, self._last_number
            effects.append(Check(key, known.number, question_of(known.order)))
        return effects


def _report(order: ReplicaOrder, state: ReplicaState) -> ReplicaReport:
    return ReplicaReport(
        order.key.attempt(0),
        state,
        gpus=order.num_gpus,
        fingerprint=order.fingerprint,
        gpu_share=order.gpu_memory,
    )
