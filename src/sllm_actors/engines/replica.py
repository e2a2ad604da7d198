"""What becomes of one replica: a pure state machine.

``PENDING -> STARTING -> READY -> DRAINING -> STOPPED``, or ``FAILED`` and then STARTING again; back to
PENDING while a start has to wait for something of the machine. Its rules:

- An end that nobody asked for is a failure, whatever the exit code.
- A replica that was READY is started again at once, the first time. After that, and when a start fails, it
  is FAILED for a time that doubles from ``FIRST_DELAY`` up to ``LONGEST_DELAY``, and then it is started
  again, for ever: giving up is for whoever ordered it.
- Only having been READY for ``HEALTHY_UPTIME`` makes the failures forgotten, not a start that succeeded.

An event of an engine life that is over already changes nothing.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import evolve, frozen

from .messages import ReplicaState

FIRST_DELAY = 1.0
LONGEST_DELAY = 60.0
HEALTHY_UPTIME = 60.0
JITTER = 0.25
"""A delay is shorter than its bound by at most this part of it."""


@frozen
class Replica:
    """What is known of it.

    Attributes:
        attempt: The engine life that runs, or ran last; 0 before the first.
        failures: In a row; see ``HEALTHY_UPTIME``.
        delays: How often it was FAILED since then.
        ready_at: When it became READY.
    """

    state: ReplicaState = ReplicaState.PENDING
    attempt: int = 0
    failures: int = 0
    delays: int = 0
    ready_at: float = 0.0
    address: str = ""
    pid: int = 0
    progress: str = ""
    reason: str = ""
    exit_status: str = ""
    log_tail: tuple[str, ...] = ()
    retry_in: float | None = None


# ---- what happens


@frozen
class Begin:
    """It was ordered."""


@frozen
class Launched:
    """An engine life has its number."""

    attempt: int


@frozen
class Delayed:
    """It has to wait for something of the machine."""

    attempt: int
    reason: str


@frozen
class Admitted:
    """It has to wait no longer."""

    attempt: int


@frozen
class Started:
    """Its process runs."""

    attempt: int
    pid: int


@frozen
class Progressed:
    """It does something else on its way to READY."""

    attempt: int
    progress: str


@frozen
class Answered:
    """It is ready for requests."""

    attempt: int
    address: str


@frozen
class Ended:
    """It is over, and nobody asked for that.

    Attributes:
        chance: Between 0 and 1, drawn by whoever says this: for the jitter of a delay.
    """

    attempt: int
    reason: str
    exit_status: str = ""
    log_tail: tuple[str, ...] = ()
    chance: float = 0.0


@frozen
class RetryDue:
    """The delay is over."""


@frozen
class StopAsked:
    """It is not wanted any more."""

    drain: bool
    reason: str = ""


@frozen
class DrainOver:
    """Nobody uses it any more, or the time for that is over."""


@frozen
class Cleared:
    """What was to be ended has ended: nothing of it is left."""


Event: TypeAlias = (
    Begin
    | Launched
    | Delayed
    | Admitted
    | Started
    | Progressed
    | Answered
    | Ended
    | RetryDue
    | StopAsked
    | DrainOver
    | Cleared
)

# ---- what is to be done about it


@frozen
class StartEngine:
    """Begin another engine life, once nothing of the last is left; say ``Launched`` first."""


@frozen
class EndEngine:
    """End the engine life, or the wait for the next; then say ``Cleared``."""


@frozen
class Report:
    """Tell the owner."""


@frozen
class AwaitDrained:
    """Say ``DrainOver`` when the drain timeout is over."""


@frozen
class AwaitRetry:
    """Say ``RetryDue`` after so many seconds."""

    delay: float


@frozen
class Finish:
    """Nothing more will happen."""


Effect: TypeAlias = StartEngine | EndEngine | Report | AwaitDrained | AwaitRetry | Finish
Step: TypeAlias = tuple[Replica, tuple[Effect, ...]]

_LIVE = (ReplicaState.PENDING, ReplicaState.STARTING, ReplicaState.READY, ReplicaState.ASLEEP)


def step(replica: Replica, event: Event, now: float) -> Step:
    """Return what becomes of a replica, and what is to be done, in this order."""
    match event:
        case Begin() if replica.state is ReplicaState.PENDING and not replica.attempt:
            return _start(replica)
        case RetryDue() if replica.state is ReplicaState.FAILED:
            return _start(replica)
        case Launched(attempt) if replica.state is ReplicaState.STARTING:
            return evolve(replica, attempt=attempt, pid=0, progress="starting the engine"), (Report(),)
        case Delayed(number, reason) if number == replica.attempt and replica.state is ReplicaState.STARTING:
            waiting = evolve(replica, state=ReplicaState.PENDING, progress=reason)
            return waiting, (Report(),)
        case Admitted(attempt) if attempt == replica.attempt and replica.state is ReplicaState.PENDING:
            starting = evolve(replica, state=ReplicaState.STARTING, progress="starting the engine")
            return starting, (Report(),)
        case Ended(attempt=attempt) if attempt == replica.attempt and replica.state in _LIVE:
            return _fail(replica, event, now)
        case Started() | Progressed() | Answered() if event.attempt == replica.attempt:
            return _advance(replica, event, now)
        case StopAsked():
            return _stop(replica, event)
        case Ended(attempt=attempt) if attempt == replica.attempt and _waits_for_drain(replica):
            return evolve(replica, address=""), (Report(), EndEngine())
        case DrainOver() if _waits_for_drain(replica):
            return evolve(replica, address=""), (Report(), EndEngine())
        case Cleared() if replica.state is ReplicaState.DRAINING:
            return evolve(replica, state=ReplicaState.STOPPED, address="", pid=0), (Report(), Finish())
    return replica, ()


def _waits_for_drain(replica: Replica) -> bool:
    """Say whether requests may still be in flight there: only until then a DRAINING one has an address."""
    return replica.state is ReplicaState.DRAINING and replica.address != ""


def _start(replica: Replica) -> Step:
    starting = evolve(
        replica,
        state=ReplicaState.STARTING,
        address="",
        pid=0,
        progress="waiting for its turn",
        retry_in=None,
    )
    return starting, (Report(), StartEngine())


def _advance(replica: Replica, event: Started | Progressed | Answered, now: float) -> Step:
    if replica.state is not ReplicaState.STARTING:
        return replica, ()
    match event:
        case Started(pid=pid):
            return evolve(replica, pid=pid), (Report(),)
        case Progressed(progress=progress):
            return evolve(replica, progress=progress), (Report(),)
        case Answered(address=address):
            ready = evolve(replica, state=ReplicaState.READY, address=address, progress="", ready_at=now)
            return evolve(ready, log_tail=()), (Report(),)


def _fail(replica: Replica, ended: Ended, now: float) -> Step:
    was_ready = replica.state in (ReplicaState.READY, ReplicaState.ASLEEP)
    if was_ready and now - replica.ready_at >= HEALTHY_UPTIME:
        replica = evolve(replica, failures=0, delays=0)
    replica = evolve(
        replica,
        failures=replica.failures + 1,
        reason=ended.reason,
        exit_status=ended.exit_status,
        log_tail=ended.log_tail,
        address="",
        pid=0,
        progress="",
    )
    if was_ready and replica.failures == 1:
        return _start(replica)
    delay = retry_delay(replica.delays, ended.chance)
    failed = evolve(replica, state=ReplicaState.FAILED, delays=replica.delays + 1, retry_in=delay)
    return failed, (Report(), AwaitRetry(delay))


def retry_delay(delays: int, chance: float) -> float:
    """Return how long to wait before a start, after so many waits in this run of failures."""
    bound = LONGEST_DELAY if delays > 16 else min(LONGEST_DELAY, FIRST_DELAY * 2.0**delays)
    return bound * (1.0 - JITTER * chance)


def _stop(replica: Replica, asked: StopAsked) -> Step:
    if replica.state is ReplicaState.STOPPED:
        return replica, ()
    if replica.state is ReplicaState.DRAINING:  # asked again: only haste is new
        if asked.drain or not _waits_for_drain(replica):
            return replica, ()
        return evolve(replica, address=""), (Report(), EndEngine())
    serving = replica.state in (ReplicaState.READY, ReplicaState.ASLEEP)
    waits = serving and asked.drain
    draining = evolve(
        replica,
        state=ReplicaState.DRAINING,
        address=replica.address if waits else "",
        progress="",
        reason=asked.reason,
        retry_in=None,
    )
    return draining, (Report(), AwaitDrained() if waits else EndEngine())
